"""Padded batches of masked sequences, as model input."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mslm_cli.masking.batch import Drawn, Int32, Int64, RaggedBatch

IGNORED = -100
"""The label of a token that is not predicted, as in PyTorch."""


class PaddedMasks(NamedTuple):
    """Sequences padded to the longest: int64 [n, longest] each.

    input_ids: as the model gets them. attention_mask: 1 for a token, 0 for padding.
    labels: the id to predict, ``IGNORED`` elsewhere.
    """

    input_ids: Int64
    attention_mask: Int64
    labels: Int64


def padded_batches(
    batch: RaggedBatch, drawn: Drawn, corrupted: Int32, batch_size: int, pad_id: int
) -> Iterator[PaddedMasks]:
    """The sequences of ``batch`` in order, ``batch_size`` at a time."""
    lengths = np.diff(batch.offsets)
    flat_labels = np.full(len(corrupted), IGNORED, dtype=np.int32)
    for part in drawn.parts:
        flat_labels[part.tokens] = batch.input_ids[part.tokens]
    firsts = np.arange(0, len(lengths), batch_size)
    bounds = np.append(batch.offsets[firsts], batch.offsets[-1]).tolist()
    widths = np.maximum.reduceat(lengths, firsts).tolist() if len(lengths) else []
    # whether a position is inside a row, by row length: a lookup is cheaper than a comparison
    is_inside = np.tri(lengths.max(initial=0) + 1, lengths.max(initial=0), -1, dtype=np.bool_)
    for number, width in enumerate(widths):
        tokens = slice(bounds[number], bounds[number + 1])
        inside = is_inside[lengths[number * batch_size : (number + 1) * batch_size], :width]
        input_ids, attention_mask, labels = padded = np.empty((3, *inside.shape), dtype=np.int64)
        padded[0] = pad_id
        input_ids[inside] = corrupted[tokens]
        padded[1] = inside
        padded[2] = IGNORED
        labels[inside] = flat_labels[tokens]
        yield PaddedMasks(input_ids, attention_mask, labels)
