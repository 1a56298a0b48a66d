"""What libraries read from the environment when they are loaded; what is set there already stays."""

import os

_DEFAULTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # threads that spin while they wait make training several times slower where other work shares the cores
    "OMP_WAIT_POLICY": "PASSIVE",
    # a matrix product keeps memory for every shape that it has met; those of text are new in almost every batch
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "LRU_CACHE_CAPACITY": "16",
}


def set_defaults() -> None:
    """Set them for this process; to be called before torch is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks, of those that torchrun started to work together."""
    return os.environ.get("RANK", "0") == "0"
