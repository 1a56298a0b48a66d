"""The objectives beside masked language modelling: their heads, and an encoder adapted with them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import Result

from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training.batching import pad
from mslm_cli.training.heads import SpanBoundaryHead, embeddings_of, runs
from mslm_cli.training.masked import MaskedData, Objectives

Mslm = Callable[..., Result]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), max_size=5))
def test_neighbours_are_just_outside_of_the_whole_run(masked: list[list[bool]]) -> None:
    # special tokens at both ends, as everywhere
    masked = [[False, *sequence, False] for sequence in masked]
    pairs = [(r, p) for r, sequence in enumerate(masked) for p, is_masked in enumerate(sequence) if is_masked]
    row, positions = (np.array([pair[k] for pair in pairs], dtype=t) for k, t in ((0, np.int64), (1, np.int32)))
    found = runs(row, positions, np.array([len(sequence) for sequence in masked]))
    for (r, p), left, right, place in zip(pairs, *(array.tolist() for array in found), strict=True):
        assert not masked[r][left]
        assert not masked[r][right]
        assert left < p < right
        assert all(masked[r][left + 1 : right])
        assert place == p - left - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_fits_every_family(family: str) -> None:
    model, _ = FAMILIES[family](["the patients with heart failure were treated"])
    head = SpanBoundaryHead.of(model, 3)
    states = torch.randn(4, model.config.hidden_size)
    logits = head(states, states, torch.tensor([0, 1, 29, 500]), embeddings_of(model))
    assert logits.shape == (4, model.config.vocab_size)
    assert torch.equal(head.first.weight, SpanBoundaryHead.of(model, 3).first.weight)
    swapped = head(states, -states, torch.tensor([0, 0, 30, 29]), embeddings_of(model))
    assert not torch.equal(logits[1], swapped[1])


@pytest.mark.parametrize("objective", ["--sbo", "--detect"])
def test_an_encoder_is_adapted_with_it_and_saved_without_its_head(workplace: Path, mslm: Mslm, objective: str) -> None:
    training = ["--model", "encoder", "--epochs", 2, "--tokens-per-step", 256, "--head-warmup-steps", 3]
    for name, weight in (("with", 0.5), ("without", 0)):
        made = mslm("adapt", "shards", *training, "--threads", 1, objective, weight, "-o", name)
        assert made.exit_code == 0, made.stderr
    one, other = (load_file(Path(name, "model.safetensors")) for name in ("with", "without"))
    assert one.keys() == other.keys()
    assert any(not one[name].equal(other[name]) for name in one)
    logs = [[json.loads(x) for x in Path(n, "metrics.jsonl").read_text().splitlines()] for n in ("with", "without")]
    assert logs[0][0]["loss"] > logs[1][0]["loss"] + 0.2, "it is part of the loss from the first step on"
    assert logs[0][0]["generic"]["n"] == logs[1][0]["generic"]["n"]


def test_the_span_boundary_objective_needs_spans(workplace: Path, mslm: Mslm) -> None:
    masking = ["--model", "encoder", "--max-length", 64, "--strategy", "word"]
    assert mslm("preprocess", "text.txt", *masking, "-o", "words").exit_code == 0
    refused = mslm("adapt", "words", "--model", "encoder", "--sbo", 0.1, "-o", "adapted-words")
    assert refused.exit_code == 2
    assert "strategy word has none" in refused.stderr


def test_the_detection_objective_needs_mentions(workplace: Path, mslm: Mslm) -> None:
    masking = ["--model", "encoder", "--max-length", 64, "--strategy", "word"]
    assert mslm("preprocess", "text.txt", *masking, "-o", "words").exit_code == 0
    refused = mslm("adapt", "words", "--model", "encoder", "--detect", 0.1, "-o", "adapted-words")
    assert refused.exit_code == 2
    assert "--lexicon" in refused.stderr


def test_masked_tokens_are_not_to_be_detected(chain: Path) -> None:
    reader = ShardReader(chain / "shards")
    sequences = np.arange(20)
    uniform = kind_weights("uniform", 1, 1)
    data = MaskedData(reader, uniform, Objectives(detect=1.0), partial(pad, pad_id=0), torch.device("cpu"))
    (batch,) = data.update(reader.epoch(0), sequences).microbatches(100_000)
    assert batch.detection is not None
    assert batch.neighbours is None, "nobody asked for them"
    positions, classes, weights, n_all = batch.detection
    assert n_all == weights.sum() == len(positions) == len(set(positions.tolist()))
    assert not set(positions.tolist()) & set(batch.targets.positions.tolist())
    n_ordinary = sum(int((reader[i].word_ids >= 0).sum()) for i in sequences)
    assert len(positions) + len(batch.targets.positions) == n_ordinary
    n_mentions = sum(len(reader[i].spans) for i in sequences)
    n_masked = sum(int(np.isin(reader[i].spans[:, 0], reader.epoch(0)[i].positions).sum()) for i in sequences)
    assert int((classes == 1).sum()) == n_mentions - n_masked
    assert int((classes == 2).sum()) > 0
