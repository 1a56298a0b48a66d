"""The random generators of this process: Python, numpy, torch, and the CUDA device in use."""

import random
from typing import Any

import numpy as np
import torch


def seed(number: int) -> None:
    """Seed all generators."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The states of all generators: tensors by name, and JSON values."""
    tensors = {"rng.cpu": torch.get_rng_state()}
    if _uses_cuda():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    return tensors, {"python": [version, list(words), gauss], "numpy": [name, np.asarray(keys).tolist(), *rest]}


def restore(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Restore the states returned by ``state``.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: the states are invalid.
    """
    version, words, gauss = values["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(values["numpy"]))
    torch.set_rng_state(tensors["rng.cpu"])
    if _uses_cuda() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _uses_cuda() -> bool:
    """Whether this process uses a GPU; asking a GPU for its state would start one for a run on the CPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch leaves it untyped
