"""Several processes that share every optimizer step: what each takes, and what they sum up.

Without ``torch.distributed`` a process is the only one, takes everything, and sums up alone. What is taken and what
is divided by are those of the whole step, so its gradient does not depend on the number of processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed


def n_ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own(sequences: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of a step's ``sequences`` that this process computes; neighbours, which are of like length, go apart."""
    return sequences[distributed.get_rank() :: n_ranks()] if distributed.is_initialized() else sequences


def total(number: float) -> float:
    """The sum of ``number`` over all processes."""
    if n_ranks() == 1:
        return number
    summed = torch.tensor(number, dtype=torch.float64)
    distributed.all_reduce(summed)
    return float(summed)


def sum_gradients(parameters: Sequence[torch.nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
    """The sum of ``loss`` over all processes; in place, each gradient becomes the sum over all processes, too.

    A parameter that has no gradient in any process keeps none.
    """
    if n_ranks() == 1:
        return loss
    has_gradient = torch.tensor([p.grad is not None for p in parameters], dtype=loss.dtype, device=loss.device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([loss.reshape(1), has_gradient, *(g.reshape(-1) for g in gradients)])
    distributed.all_reduce(flat)
    begin = 1 + len(parameters)
    for parameter, has_any in zip(parameters, flat[1:begin].tolist(), strict=True):
        end = begin + parameter.numel()
        parameter.grad = flat[begin:end].view_as(parameter) if has_any else None
        begin = end
    return flat[0]
