"""Where work over many items runs: in this process, in worker processes, on a cluster."""
