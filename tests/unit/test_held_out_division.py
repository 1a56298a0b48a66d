"""Sequences that are held out from adaptation: which ones, that they are never trained on, and their loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from mslm_cli import models
from mslm_cli.config import AdaptConfig, PreprocessConfig
from mslm_cli.masking.recipe import open_masks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training import rng
from mslm_cli.training.adaptation import AdaptationData
from mslm_cli.training.held_out import MAX_HELD_OUT, MIN_HELD_OUT, HeldOut, divide
from mslm_cli.training.masked import MaskedData, Objectives
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.packing import make_collator

WEIGHTS = kind_weights("ratio:3", 1, 1)


def documents(sizes: list[int]) -> NDArray[np.int32]:
    """The document of each sequence, for documents with so many sequences."""
    return np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)


@given(st.lists(st.integers(1, 200), max_size=60), st.floats(0.01, 0.9))
def test_the_division_is_disjoint_complete_bounded_and_always_the_same(sizes: list[int], share: float) -> None:
    doc = documents(sizes)
    division = divide(doc, share)
    again = divide(doc, share)
    assert division.measured.tolist() == again.measured.tolist()
    if int(share * len(doc)) < MIN_HELD_OUT:
        assert not division.is_apart
        assert division.training.tolist() == list(range(len(doc)))
        assert len(division.measured) == len(doc)
        return
    assert division.is_apart
    assert sorted([*division.training, *division.measured]) == list(range(len(doc)))
    n_wanted = int(share * len(doc))
    assert 0.8 * n_wanted <= len(division.measured) <= n_wanted


@given(st.lists(st.integers(1, 3), min_size=300, max_size=400))
def test_short_documents_are_held_out_whole(sizes: list[int]) -> None:
    doc = documents(sizes)
    division = divide(doc, 0.1)
    assert not set(doc[division.measured]) & set(doc[division.training])


def test_a_long_document_is_held_out_in_runs_of_neighbours() -> None:
    division = divide(documents([4000]), 0.05)
    held_out = np.sort(division.measured)
    assert len(held_out) == 200
    assert np.count_nonzero(np.diff(held_out) > 1) <= 10


def test_at_most_5000_are_held_out_and_a_share_of_0_holds_out_none() -> None:
    doc = documents([5] * 60_000)
    assert len(divide(doc, 0.05).measured) == MAX_HELD_OUT
    nothing = divide(doc, 0.0)
    assert (len(nothing.training), len(nothing.measured)) == (len(doc), 0)


@given(st.integers(0, 20_000))
def test_fewer_are_measured_where_the_run_is_short(max_tokens: int) -> None:
    lengths = np.random.default_rng(0).integers(20, 128, 1000)
    division = divide(documents([1] * 1000), 0.3)
    limited = division.limited(lengths, max_tokens)
    assert limited.measured.tolist() == division.measured[: len(limited.measured)].tolist()
    assert len(limited.measured) == MIN_HELD_OUT or lengths[limited.measured].sum() <= max_tokens
    assert limited.training.tolist() == division.training.tolist()


@pytest.fixture(scope="module")
def shards(chain: Path) -> Path:
    return chain / "shards"


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_no_epoch_trains_on_a_held_out_sequence(shards: Path, tiny_masked_lm: Path, share: float) -> None:
    reader = ShardReader(shards)
    model, _ = load_masked_lm(tiny_masked_lm, allow_pickle=False, seed=0)
    masks = open_masks(reader, PreprocessConfig(), models.load_tokenizer(tiny_masked_lm))
    division = divide(reader.doc, share)
    assert division.is_apart
    data = AdaptationData(masks, division.training, make_collator(model, 0, torch.float32))
    for epoch in range(4):
        steps = data.steps(AdaptConfig(tokens_per_step=64), epoch)
        assert np.sort(np.concatenate(steps)).tolist() == division.training.tolist()


@pytest.mark.parametrize("max_tokens", [16, 300])
def test_the_loss_is_that_of_the_plain_formula_and_nothing_else_changes(
    shards: Path, tiny_masked_lm: Path, max_tokens: int
) -> None:
    reader = ShardReader(shards)
    model, _ = load_masked_lm(tiny_masked_lm, allow_pickle=False, seed=0)
    model.train()
    model.base_model.train(False)
    modes = [module.training for module in model.modules()]
    rng.seed(7)
    before = torch.get_rng_state()
    sequences = np.array([3, 41, 7, 22])
    collate_fn = make_collator(model, 0, torch.float32)
    data = MaskedData(reader, WEIGHTS, Objectives(), collate_fn, torch.device("cpu"))
    found = HeldOut(data, reader.epoch(0), sequences, max_tokens, torch.float32).measure(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(p.grad is not None for p in model.parameters())

    model.train(False)
    sums: dict[int, list[float]] = {1: [], 2: []}
    for i in sequences.tolist():
        ids, mask = reader[i].input_ids.copy(), reader.epoch(0)[i]
        ids[mask.positions] = mask.replacements
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0]
        for position, kind in zip(mask.positions.tolist(), mask.kinds.tolist(), strict=True):
            target = torch.tensor(int(reader[i].input_ids[position]))
            sums[kind].append(float(cross_entropy(logits[position], target)))
    assert found["n_sequences"] == 4
    for kind, name in ((1, "generic"), (2, "ds_term")):
        assert found[name]["n"] == len(sums[kind]) > 0
        assert found[name]["loss"] == pytest.approx(np.mean(sums[kind]), abs=1e-4)
    weight = len(sums[1]) + 3 * len(sums[2])
    assert found["loss"] == pytest.approx((sum(sums[1]) + 3 * sum(sums[2])) / weight, abs=1e-4)
