"""Where work runs: only ``executor`` decides.

``map_in_order`` gives the same results in the same order on each, so no output depends on where the work ran.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mslm_cli.execution.work import Executor, ThisProcess
from mslm_cli.execution.workers import WorkerProcesses


@contextmanager
def executor(workers: int, ray: str | None = None) -> Iterator[Executor]:
    """Yield the executor for this number of processes, or for the cluster at the address ``ray``.

    Raises:
        UnavailableError: Ray is not installed, or the cluster cannot be reached.
    """
    if ray is not None:
        from mslm_cli.execution.ray_cluster import RayCluster

        with RayCluster(ray) as cluster:
            yield cluster
    elif workers == 1:
        yield ThisProcess()
    else:
        with (
            tempfile.TemporaryDirectory(prefix="mslm-") as folder,
            closing(WorkerProcesses(workers, Path(folder))) as processes,
        ):
            yield processes
