"""Environment variables that libraries read when they are loaded."""

import os

_DEFAULTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # spinning threads make training several times slower if other work shares the cores
    "OMP_WAIT_POLICY": "PASSIVE",
    # oneDNN caches memory for every matrix shape, and text gives new shapes in almost every batch
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "LRU_CACHE_CAPACITY": "16",
}


def set_defaults() -> None:
    """Set the defaults for variables that are not set; call it before torch is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def is_first_process() -> bool:
    """Whether this is torchrun's process 0, which writes and prints; true without torchrun."""
    return os.environ.get("RANK", "0") == "0"
