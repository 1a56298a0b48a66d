"""Padded tensors with labels: what a model gets of masked sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, DrawnKind, RaggedBatch
from mslm_cli.masking.delivery import IGNORED, padded_batches

PAD = 7


def batch_of(lengths: list[int]) -> RaggedBatch:
    n, n_tokens = len(lengths), sum(lengths)
    return RaggedBatch(
        np.cumsum([0, *lengths]),
        np.arange(100, 100 + n_tokens, dtype=np.int32),
        np.arange(n_tokens, dtype=np.int32),
        np.empty((0, 2), dtype=np.int32),
        np.zeros(n + 1, dtype=np.int64),
        np.empty(0, dtype=np.int32),
        np.zeros(n + 1, dtype=np.int64),
        np.arange(n),
    )


@given(st.lists(st.integers(0, 6), max_size=9), st.integers(1, 4), st.data())
def test_padding_is_never_masked_and_every_token_is_in_its_place(
    lengths: list[int], batch_size: int, data: st.DataObject
) -> None:
    batch = batch_of(lengths)
    kinds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=sum(lengths), max_size=sum(lengths))), dtype=int)
    parts = (DrawnKind(np.flatnonzero(kinds == k), np.flatnonzero(kinds == k), k) for k in (DS_TERM, GENERIC))
    corrupted = np.where(kinds > 0, 4, batch.input_ids).astype(np.int32)
    found = list(padded_batches(batch, Drawn(len(corrupted), tuple(parts)), corrupted, batch_size, PAD))
    assert [len(p.input_ids) for p in found] == [
        len(lengths[i : i + batch_size]) for i in range(0, len(lengths), batch_size)
    ]
    row = 0
    for padded in found:
        here = lengths[row : row + len(padded.input_ids)]
        assert {array.shape for array in padded} == {(len(here), max(here))}
        assert {array.dtype for array in padded} == {np.dtype(np.int64)}
        for ids, mask, labels in zip(*padded, strict=True):
            n, tokens = lengths[row], slice(batch.offsets[row], batch.offsets[row + 1])
            assert mask.tolist() == [1] * n + [0] * (max(here) - n)
            assert ids.tolist() == corrupted[tokens].tolist() + [PAD] * (max(here) - n)
            expected = np.where(kinds[tokens] > 0, batch.input_ids[tokens], IGNORED).tolist()
            assert labels.tolist() == expected + [IGNORED] * (max(here) - n)
            row += 1


def test_labels_are_those_that_pytorch_ignores() -> None:
    torch = pytest.importorskip("torch")
    assert torch.nn.CrossEntropyLoss().ignore_index == IGNORED
