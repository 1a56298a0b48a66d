"""Data parallelism: each process computes a part of every optimizer step, and gradients are summed.

Without ``torch.distributed``, a single process computes everything. Losses are divided by the total weight of the step,
so the gradient does not depend on the number of processes.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

_Json = TypeVar("_Json")


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join torchrun's process group within the block; without torchrun, do nothing.

    Args:
        device: as in the options; on CUDA each process uses the device with its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    has_cuda = torch.cuda.is_available() and device != "cpu"
    if has_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if has_cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this is process 0, which writes files."""
    return rank() == 0


def from_first(make: Callable[[], _Json]) -> _Json:
    """The result of ``make``, a JSON value, in all processes; only process 0 calls it."""
    if n_ranks() == 1:
        return make()
    text = json.dumps(make()).encode() if is_first() else b""
    size = torch.tensor(len(text))
    distributed.broadcast(size, 0)
    content = torch.frombuffer(bytearray(text or int(size)), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    made: _Json = json.loads(content.numpy().tobytes())
    return made


def n_ranks() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_share(sequences: NDArray[np.int64]) -> NDArray[np.int64]:
    """This process's part of a step's ``sequences``; adjacent (similar-length) ones go to different processes."""
    return sequences if n_ranks() == 1 else sequences[rank() :: n_ranks()]


def total(number: float) -> float:
    """The sum of ``number`` over all processes."""
    return totals([number])[0]


def totals(numbers: Sequence[float]) -> list[float]:
    """The sums of each of ``numbers`` over all processes."""
    if n_ranks() == 1:
        return list(numbers)
    summed = torch.tensor(numbers, dtype=torch.float64)
    distributed.all_reduce(summed)
    added: list[float] = summed.tolist()
    return added
