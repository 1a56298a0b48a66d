"""Masked sequences side by side, as a model takes them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mslm_cli.masking.batch import Drawn, Int32, Int64, RaggedBatch

IGNORED = -100
"""The label of a token that is not predicted, as in PyTorch."""


class PaddedMasks(NamedTuple):
    """Sequences padded to the longest of them: int64 [n, longest] each.

    input_ids: as the model gets them. attention_mask: 1 for a token, 0 for padding.
    labels: the id to predict, ``IGNORED`` where nothing is.
    """

    input_ids: Int64
    attention_mask: Int64
    labels: Int64


def padded_batches(
    batch: RaggedBatch, drawn: Drawn, corrupted: Int32, batch_size: int, pad_id: int
) -> Iterator[PaddedMasks]:
    """The sequences of ``batch`` in their order, ``batch_size`` at a time."""
    lengths = np.diff(batch.offsets)
    flat_labels = np.full(len(corrupted), IGNORED, dtype=np.int32)
    for part in drawn.parts:
        flat_labels[part.tokens] = batch.input_ids[part.tokens]
    columns = np.arange(lengths.max(initial=0))
    for first in range(0, len(lengths), batch_size):
        here = lengths[first : first + batch_size]
        tokens = slice(batch.offsets[first], batch.offsets[first + len(here)])
        inside = columns[: here.max()] < here[:, None]
        input_ids = np.full(inside.shape, pad_id, dtype=np.int64)
        input_ids[inside] = corrupted[tokens]
        labels = np.full(inside.shape, IGNORED, dtype=np.int64)
        labels[inside] = flat_labels[tokens]
        yield PaddedMasks(input_ids, inside.astype(np.int64), labels)
