"""Which sequences make an optimizer step, and how a step is cut into forward passes.

The recipe is ``tokens_per_step``; ``batch_tokens`` only says how much fits into one
forward pass and changes nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]
_UPDATES_PER_POOL = 64


def plan_steps(lengths: Indices, tokens_per_step: int, *, seed: int, epoch: int) -> list[Indices]:
    """The sequences of each optimizer step of one epoch, a seeded permutation of all of them.

    Sequences are shuffled, sorted by length within pools of many steps, cut into steps of
    at least ``tokens_per_step`` real tokens (the last of a pool may have fewer), and the
    steps are shuffled: steps hold sequences of like length, so little is padded.

    Args:
        lengths: int64 [n], tokens of each sequence, special ones included.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    steps: list[Indices] = []
    for pool in _cut(order, lengths, tokens_per_step * _UPDATES_PER_POOL):
        by_length = pool[np.argsort(lengths[pool], kind="stable")]
        steps += _cut(by_length, lengths, tokens_per_step)
    return [steps[i] for i in rng.permutation(len(steps))]


def _cut(order: Indices, lengths: Indices, budget: int) -> list[Indices]:
    """Consecutive runs of ``order``, each with at least ``budget`` tokens, except perhaps the last."""
    if not len(order):
        return []
    filled = np.cumsum(lengths[order])
    run = np.maximum(filled - 1, 0) // budget
    return np.split(order, np.flatnonzero(np.diff(run)) + 1)


def plan_forward_passes(sequences: Indices, lengths: Indices, batch_tokens: int) -> list[Indices]:
    """``sequences`` cut into groups of at most ``batch_tokens`` tokens, padding included.

    A sequence longer than the budget goes alone.
    """
    ordered = sequences[np.argsort(lengths[sequences], kind="stable")]
    groups: list[list[int]] = [[]]
    for i in ordered.tolist():
        if groups[-1] and int(lengths[i]) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(i)
    return [np.array(g, dtype=np.int64) for g in groups if g]


def max_tokens_per_microbatch(batch_tokens: str, tokens_per_step: int, device: torch.device) -> int:
    """The most tokens of a forward pass that ``batch_tokens`` stands for.

    ``auto`` is what is fast on a CPU, where what a short pass works on stays in the caches and little memory is needed;
    on CUDA a whole step, from which the training loop comes down to what fits.
    """
    if batch_tokens != "auto":
        return int(batch_tokens)
    return 1024 if device.type == "cpu" else 2 * tokens_per_step


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """``array`` as a tensor on ``device``; to CUDA it is copied while other work goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@dataclass(frozen=True)
class ModelBatch:
    """Sequences as one batch for an encoder.

    ``inputs``: the arguments of its forward pass. ``lengths``: of each sequence. ``begins``: int64 [n], where each
    begins in the batch, flattened.
    """

    inputs: Mapping[str, Any]
    lengths: Sequence[int]
    begins: Indices


def pad(sequences: Sequence[NDArray[np.int32]], pad_id: int, device: torch.device) -> ModelBatch:
    """``sequences`` (int32, of any lengths) side by side, padded to the longest, on ``device``."""
    lengths = np.array([len(s) for s in sequences])
    inside = np.arange(lengths.max())[None, :] < lengths[:, None]
    input_ids = np.full(inside.shape, pad_id, dtype=np.int64)
    input_ids[inside] = np.concatenate(sequences)
    inputs = {"input_ids": to_device(input_ids, device)}
    if not inside.all():
        inputs["attention_mask"] = to_device(inside.astype(np.int64), device)
    return ModelBatch(inputs, lengths.tolist(), np.arange(len(lengths)) * inside.shape[1])
