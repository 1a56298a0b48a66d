"""Which sequences make an optimizer step, how a step is split into microbatches, and how a microbatch is laid out.

The recipe is ``tokens_per_step``; ``batch_tokens`` only says how much fits into one
forward pass and changes nothing else. All of it works on flat arrays of numpy: sequence i is
``[offsets[i], offsets[i + 1])`` of them. ``to_device`` alone makes tensors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Array: TypeAlias = Any
"""An array of numpy while a microbatch is built, a tensor once it is on its device."""

_STEPS_PER_POOL = 64


def plan_steps(lengths: Indices, tokens_per_step: int, *, seed: int, epoch: int) -> list[Indices]:
    """The sequences of each optimizer step of one epoch, a seeded permutation of all of them.

    Sequences are shuffled, sorted by length within pools of many steps, cut into steps of
    at least ``tokens_per_step`` real tokens (the last of a pool may have fewer), and the
    steps are shuffled: the sequences of a step have similar lengths, so there is little padding.

    Args:
        lengths: int64 [n], tokens of each sequence, special ones included.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    steps: list[Indices] = []
    for pool in _cut(order, lengths, tokens_per_step * _STEPS_PER_POOL):
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


def plan_forward_passes(sequences: Indices, lengths: Indices, max_tokens: int) -> list[Indices]:
    """``sequences``, shortest first, split into groups of at most ``max_tokens`` tokens, padding included.

    A sequence longer than the budget forms a group of its own.
    """
    ordered = sequences[np.argsort(lengths[sequences], kind="stable")]
    return [ordered[first:last] for first, last in split_rows(lengths[ordered], max_tokens)]


def split_rows(lengths: Indices, max_tokens: int) -> list[tuple[int, int]]:
    """Rows [first, last) of each group of at most ``max_tokens`` tokens, padding included, or of one row.

    Args:
        lengths: int64 [n], of each row, ascending.
    """
    groups = []
    first, n_rows = 0, len(lengths)
    while first < n_rows:
        n_most = max(1, max_tokens // max(1, int(lengths[first])))  # rows to come are no shorter than this one
        padded = lengths[first : first + n_most] * np.arange(1, min(n_most, n_rows - first) + 1)
        last = first + max(1, int(np.searchsorted(padded, max_tokens, side="right")))
        groups.append((first, last))
        first = last
    return groups


def max_tokens_per_microbatch(batch_tokens: str, tokens_per_step: int, device: torch.device) -> int:
    """The most tokens in one forward pass that ``batch_tokens`` stands for.

    ``auto`` is what is fast: on a CPU a short pass, whose data stay in the caches and which needs little memory; on
    CUDA a whole step, which the training loop reduces to what fits.
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

    inputs: the arguments of its forward pass. lengths: int64 [n], of each sequence. begins: int64 [n], where each
    sequence begins in the flattened batch.
    """

    inputs: Mapping[str, Array]
    lengths: Indices
    begins: Indices

    def to(self, device: torch.device) -> "ModelBatch":
        """The same with its inputs on ``device``."""
        inputs = {k: to_device(v, device) if isinstance(v, np.ndarray) else v for k, v in self.inputs.items()}
        return replace(self, inputs=inputs)


Collator = Callable[[NDArray[np.int32], Indices], ModelBatch]
"""Lays out sequences (their ids end to end, int32 [T]; their lengths, int64 [n]) as a batch in numpy arrays."""


def pad(input_ids: NDArray[np.int32], lengths: Indices, pad_id: int) -> ModelBatch:
    """The sequences one below the other, padded to the longest: a ``Collator`` with ``pad_id``.

    ``input_ids`` and, where anything is padded, ``attention_mask``: int64 [n, longest].
    """
    n_rows, longest = len(lengths), int(lengths.max())
    begins = np.arange(n_rows) * longest
    if len(input_ids) == n_rows * longest:
        return ModelBatch({"input_ids": input_ids.astype(np.int64).reshape(n_rows, longest)}, lengths, begins)
    inside = np.arange(longest) < lengths[:, None]
    padded = np.full(inside.shape, pad_id, dtype=np.int64)
    padded[inside] = input_ids
    return ModelBatch({"input_ids": padded, "attention_mask": inside.astype(np.int64)}, lengths, begins)


class Targets(NamedTuple):
    """What a microbatch has to predict.

    positions: int64 [n], in the flattened batch. classes: int64 [n]. weights: float32 [n].
    total_weight: the sum of the weights of the whole optimizer step, over all processes.
    """

    positions: Array
    classes: Array
    weights: Array
    total_weight: float

    def to(self, device: torch.device) -> "Targets":
        """The same on ``device``."""
        positions, classes, weights = (to_device(array, device) for array in self[:3])
        return Targets(positions, classes, weights, self.total_weight)


@dataclass(frozen=True)
class RaggedTargets:
    """What all sequences of a step have to predict; those of sequence i are ``[offsets[i], offsets[i + 1])``.

    offsets: int64 [n + 1], from 0. positions: int64 [P], places in the flat arrays of the sequences, ascending.
    classes: int64 [P]. weights: float32 [P]. total_weight: of the whole step, over all processes.
    """

    offsets: Indices
    positions: Indices
    classes: Indices
    weights: NDArray[np.float32]
    total_weight: float

    def part(self, first: int, last: int) -> slice:
        """Where the targets of the sequences [first, last) are."""
        return slice(int(self.offsets[first]), int(self.offsets[last]))

    def spread(self, first: int, last: int, of_each: Indices) -> Indices:
        """A number of each of the sequences [first, last), repeated for each of its targets: int64."""
        return np.repeat(of_each, np.diff(self.offsets[first : last + 1]))

    def rows(self, first: int, last: int, shift: Indices) -> Targets:
        """Those of the sequences [first, last).

        Args:
            shift: int64 [last - first], what to add to the places of each sequence.
        """
        part = self.part(first, last)
        positions = self.positions[part] + self.spread(first, last, shift)
        return Targets(positions, self.classes[part], self.weights[part], self.total_weight)
