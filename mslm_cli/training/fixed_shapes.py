"""Packed batches in few shapes, so that a CUDA graph recorded for one of them serves many steps.

Sizes are rounded up: by tokens that belong to a sequence of their own, by sequences without tokens, and by targets of
weight 0 at those tokens. They change no gradient.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.training.batching import Indices, ModelBatch, Targets, pack
from mslm_cli.training.selection import Selection

_TOKENS, _SEQUENCES, _TARGETS = 256, 256, 128


def pack_fixed(
    input_ids: NDArray[np.int32], lengths: Indices, first_position: int = 0, *, with_mask: bool = False
) -> ModelBatch:
    """As ``batching.pack``, with at least one more token, in a shape that many batches have."""
    n_tokens = len(input_ids)
    size = _up(n_tokens + 1, _TOKENS)
    filled = np.concatenate([input_ids, np.zeros(size - n_tokens, np.int32)])
    batch = pack(filled, np.append(lengths, size - n_tokens), first_position, with_mask=with_mask)
    inputs: dict[str, Any] = dict(batch.inputs)
    inputs["position_ids"][0, n_tokens:] = first_position  # an encoder may have fewer positions than there are tokens
    if not with_mask:
        starts = inputs["sequence_starts"]
        inputs["sequence_starts"] = _filled(starts, 1 + _up(len(starts) - 1, _SEQUENCES), size)
        inputs["longest_sequence"] = _up(int(inputs["longest_sequence"]), _TOKENS)
    return ModelBatch(inputs, lengths, batch.begins[:-1], has_fixed_shape=True)


def fix_targets(batch: ModelBatch, selection: Selection, targets: Targets) -> tuple[Selection, Targets]:
    """The selection of a batch of ``pack_fixed`` and its targets, with more of them, at its last token.

    The weights are divided by the total, which is 1 then: the same number in every step.
    """
    n = len(selection.wanted)
    size = _up(n, _TARGETS)
    last = batch.inputs["input_ids"].shape[1] - 1
    others = np.arange(n, size)
    starts = selection.query_starts
    if starts is not None:
        n_sequences = len(batch.lengths)  # the one after them has the other queries
        starts = np.where(np.arange(len(starts)) > n_sequences, size, starts).astype(np.int32)
    fixed = Selection(
        wanted=_filled(selection.wanted, size, last),
        index=np.concatenate([selection.index, others]),
        n_positions=selection.n_positions + len(others),
        rows=_filled(selection.rows, size, 0),
        slots=np.concatenate([selection.slots, others]),
        width=size,
        query_starts=starts,
        has_fixed_shape=True,
    )
    weights = (targets.weights / targets.total_weight).astype(np.float32)
    n_targets = len(targets.classes) + len(others)
    classes, weights = _filled(targets.classes, n_targets, 0), _filled(weights, n_targets, 0)
    return fixed, targets._replace(classes=classes, weights=weights, total_weight=1.0)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _filled(array: NDArray[Any], size: int, value: int) -> NDArray[Any]:
    return np.concatenate([array, np.full(size - len(array), value, array.dtype)])
