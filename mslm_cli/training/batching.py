"""Division of sequences into optimizer steps and microbatches, and collation of microbatches.

``tokens_per_step`` is part of the recipe; ``batch_tokens`` only limits a forward pass and changes nothing else.
Everything works on flat numpy arrays, where sequence i is ``[offsets[i], offsets[i + 1])``; only ``on_device`` makes
tensors.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Array: TypeAlias = Any
"""A numpy array while a microbatch is built, then a tensor on its device."""

_STEPS_PER_POOL = 64
_LEAST_FILL = 0.95


def plan_steps(lengths: Indices, tokens_per_step: int, *, seed: int, epoch: int) -> list[Indices]:
    """The sequences of each optimizer step in one epoch: a seeded permutation of all sequences.

    Sequences are shuffled, sorted by length within pools of many steps and cut into steps; then the steps are shuffled.
    So the sequences in a step have similar lengths and need little padding. Every step but one has at least 95 % of
    ``tokens_per_step`` non-padding tokens, and less than one sequence more than ``tokens_per_step``.

    Args:
        lengths: int64 [n], tokens in each sequence, including special tokens.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    steps: list[Indices] = []
    rest = order[:0]
    for pool in _cut(order, lengths, tokens_per_step * _STEPS_PER_POOL):
        pool = np.concatenate([rest, pool])
        *full, rest = _cut(pool[np.argsort(lengths[pool], kind="stable")], lengths, tokens_per_step)
        if lengths[rest].sum() >= _LEAST_FILL * tokens_per_step:
            full, rest = [*full, rest], rest[:0]
        steps += full
    if len(rest):
        steps.append(rest)
    return [steps[i] for i in rng.permutation(len(steps))]


def _cut(order: Indices, lengths: Indices, budget: int) -> list[Indices]:
    """Consecutive runs of ``order``, each as near to ``budget`` tokens as it can be with 95 % of them.

    The last run may have fewer.
    """
    filled = np.concatenate([[0], np.cumsum(lengths[order])])
    bounds = [0]
    while bounds[-1] < len(order):
        wanted = filled[bounds[-1]] + budget
        end = min(len(order), int(np.searchsorted(filled, wanted)))
        is_nearer = wanted - filled[end - 1] < filled[end] - wanted
        if is_nearer and filled[end - 1] - filled[bounds[-1]] >= _LEAST_FILL * budget:
            end -= 1
        bounds.append(end)
    return [order[first:last] for first, last in itertools.pairwise(bounds)]


def plan_forward_passes(sequences: Indices, lengths: Indices, max_tokens: int) -> list[Indices]:
    """``sequences``, shortest first, in groups of at most ``max_tokens`` tokens, including padding.

    A longer sequence forms its own group.
    """
    ordered = sequences[np.argsort(lengths[sequences], kind="stable")]
    return [ordered[first:last] for first, last in split_rows(lengths[ordered], max_tokens)]


def split_rows(lengths: Indices, max_tokens: int) -> list[tuple[int, int]]:
    """Rows [first, last) of groups with at most ``max_tokens`` tokens, including padding, or a single row.

    Args:
        lengths: int64 [n], the length of each row, ascending.
    """
    groups = []
    first, n_rows = 0, len(lengths)
    while first < n_rows:
        n_max = max(1, max_tokens // max(1, int(lengths[first])))  # later rows are at least as long
        padded = lengths[first : first + n_max] * np.arange(1, min(n_max, n_rows - first) + 1)
        last = first + max(1, int(np.searchsorted(padded, max_tokens, side="right")))
        groups.append((first, last))
        first = last
    return groups


def max_tokens_per_microbatch(batch_tokens: str, tokens_per_step: int, device: torch.device) -> int:
    """The maximum number of tokens in a forward pass, from the option ``batch_tokens``.

    ``auto`` chooses for speed: on CPU a short pass, which fits in the caches; on CUDA a whole step, which the training
    loop splits further if memory runs out.
    """
    if batch_tokens != "auto":
        return int(batch_tokens)
    return 1024 if device.type == "cpu" else 2 * tokens_per_step


Convert: TypeAlias = Callable[[Any], Any]


class HasArrays(Protocol):
    """Something with numpy arrays, some of which belong on the device."""

    def mapped(self, convert: Convert) -> Self:
        """A copy in which ``convert`` was applied to the arrays that belong on the device, always in the same order."""


Movable = TypeVar("Movable", bound=HasArrays)
_ALIGNED = 16


def on_device(value: Movable, device: torch.device) -> Movable:
    """``value`` with tensors on ``device`` in place of its arrays.

    They get to CUDA in a single copy, which waits for no computation, nor does the host wait for it.
    """
    if device.type == "cpu":
        return value.mapped(torch.from_numpy)
    arrays: list[NDArray[Any]] = []
    value.mapped(arrays.append)
    moved = iter(copied_together(arrays, device))
    return value.mapped(lambda _: next(moved))


def copied_together(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[torch.Tensor]:
    """The ``arrays`` as tensors on ``device``, views of a single one."""
    starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)]).tolist()
    is_cuda = device.type == "cuda"
    staged = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=is_cuda)
    target = staged.numpy()
    for array, start in zip(arrays, starts, strict=False):
        target[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    copied = _copied_on_own_stream(staged, device) if is_cuda else staged
    return [
        copied[start : start + array.nbytes].view(torch.from_numpy(array[:0]).dtype).view(array.shape)
        for array, start in zip(arrays, starts, strict=False)
    ]


def _copied_on_own_stream(staged: torch.Tensor, device: torch.device) -> torch.Tensor:
    computing, copying = torch.cuda.current_stream(device), _copy_stream(device)
    with torch.cuda.stream(copying):
        copied = staged.to(device, non_blocking=True)
    computing.wait_stream(copying)
    copied.record_stream(computing)
    return copied


@lru_cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return stream


@dataclass(frozen=True)
class ModelBatch:
    """A batch of sequences for an encoder.

    inputs: arguments of its forward pass. lengths: int64 [n], the length of each sequence. begins: int64 [n], the
    start of each sequence in the flattened batch. has_fixed_shape: it is from ``fixed_shapes.pack_fixed``.
    """

    inputs: Mapping[str, Array]
    lengths: Indices
    begins: Indices
    has_fixed_shape: bool = False

    @property
    def graph_key(self) -> object:
        """What a graph of a pass depends on beside the arrays."""
        return tuple(v for v in self.inputs.values() if isinstance(v, int))

    def mapped(self, convert: Convert) -> "ModelBatch":
        """A copy with ``convert`` applied to the inputs that are arrays."""
        inputs = {k: v if isinstance(v, int) else convert(v) for k, v in self.inputs.items()}
        return replace(self, inputs=inputs)


Collator = Callable[[NDArray[np.int32], Indices], ModelBatch]
"""Collates sequences (concatenated ids, int32 [T]; lengths, int64 [n]) into a batch of numpy arrays."""


def pad(input_ids: NDArray[np.int32], lengths: Indices, pad_id: int) -> ModelBatch:
    """A batch with one sequence per row, padded to the longest: a ``Collator`` for a given ``pad_id``.

    ``input_ids`` and, if there is any padding, ``attention_mask``: int64 [n, longest].
    """
    n_rows, longest = len(lengths), int(lengths.max())
    begins = np.arange(n_rows) * longest
    if len(input_ids) == n_rows * longest:
        return ModelBatch({"input_ids": input_ids.astype(np.int64).reshape(n_rows, longest)}, lengths, begins)
    inside = np.arange(longest) < lengths[:, None]
    padded = np.full(inside.shape, pad_id, dtype=np.int64)
    padded[inside] = input_ids
    return ModelBatch({"input_ids": padded, "attention_mask": inside.astype(np.int64)}, lengths, begins)


def pack(
    input_ids: NDArray[np.int32], lengths: Indices, first_position: int = 0, *, with_mask: bool = False
) -> ModelBatch:
    """A batch with all sequences in one row, for BERT-like models; position ids restart in each: a ``Collator``.

    ``input_ids``, ``position_ids``: int64 [1, T]. ``sequence_starts``: int32 [n + 1], and ``longest_sequence``, for
    ``packing.packed_attention``; or ``attention_mask``: bool [1, 1, T, T], true where attention is allowed.

    Args:
        with_mask: separate sequences by a mask, for any attention, instead of by their starts.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1] - first_position, lengths)
    inputs: dict[str, Any] = {"input_ids": input_ids.astype(np.int64)[None], "position_ids": positions[None]}
    if with_mask:
        number = np.repeat(np.arange(len(lengths)), lengths)
        inputs["attention_mask"] = (number[:, None] == number[None, :])[None, None]
    else:
        inputs["sequence_starts"] = starts.astype(np.int32)
        inputs["longest_sequence"] = int(lengths.max())
    return ModelBatch(inputs, lengths, starts[:-1])


class Targets(NamedTuple):
    """The prediction targets of a microbatch.

    positions: int64 [n], in the flattened batch; in numpy, for a ``Selection``. classes: int64 [n].
    weights: float32 [n]. total_weight: the sum of weights over the whole optimizer step and all processes.
    """

    positions: Indices
    classes: Array
    weights: Array
    total_weight: float

    def mapped(self, convert: Convert) -> "Targets":
        """A copy with ``convert`` applied to classes and weights."""
        return self._replace(classes=convert(self.classes), weights=convert(self.weights))


@dataclass(frozen=True)
class RaggedTargets:
    """The prediction targets of a step; those of sequence i are ``[offsets[i], offsets[i + 1])``.

    offsets: int64 [n + 1], from 0. positions: int64 [P], indices into the sequences' flat arrays, ascending.
    classes: int64 [P]. weights: float32 [P]. total_weight: over the whole step and all processes.
    """

    offsets: Indices
    positions: Indices
    classes: Indices
    weights: NDArray[np.float32]
    total_weight: float

    def part(self, first: int, last: int) -> slice:
        """The slice of targets of the sequences [first, last)."""
        return slice(int(self.offsets[first]), int(self.offsets[last]))

    def spread(self, first: int, last: int, of_each: Indices) -> Indices:
        """Repeat a value of each of the sequences [first, last) for each of its targets: int64."""
        return np.repeat(of_each, np.diff(self.offsets[first : last + 1]))

    def rows(self, first: int, last: int, shift: Indices) -> Targets:
        """The targets of the sequences [first, last).

        Args:
            shift: int64 [last - first], added to the positions of each sequence.
        """
        part = self.part(first, last)
        positions = self.positions[part] + self.spread(first, last, shift)
        return Targets(positions, self.classes[part], self.weights[part], self.total_weight)
