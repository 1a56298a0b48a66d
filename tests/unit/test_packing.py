"""Packed sequences do not see each other, and have the gradients that they have alone."""

import copy

import numpy as np
import pytest
import torch
from encoders import deterministic, selection
from numpy.typing import NDArray
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from mslm_cli.training import batching, packing
from mslm_cli.training.batching import ModelBatch, pad
from mslm_cli.training.device import prepare_model
from mslm_cli.training.last_layer import last_layer_at
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_at

LENGTHS = [7, 19, 1, 12]
CPU = torch.device("cpu")
PACKABLE = ["bert", "roberta", "electra", "xlm-r"]
WANTED = torch.tensor([0, 3, 8, 25, 26, 30, 38])


@pytest.fixture(params=PACKABLE)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return copy.deepcopy(deterministic(request.param))


@pytest.fixture
def sequences() -> list[NDArray[np.int32]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 25, n).astype(np.int32) for n in LENGTHS]


def by_starts(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``model`` use packed attention, with a loop over the sequences in place of the kernel."""

    def varlen(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        query_starts: torch.Tensor,
        key_starts: torch.Tensor,
        longest: int,
        dropout: float,
        scaling: float,
    ) -> torch.Tensor:
        mixed = []
        assert longest == max(LENGTHS)
        for q, q_end, k, k_end in zip(query_starts, query_starts[1:], key_starts, key_starts[1:], strict=False):
            heads = [t.transpose(0, 1) for t in (query[q:q_end], key[k:k_end], value[k:k_end])]
            scores = (heads[0] @ heads[1].transpose(1, 2) * scaling).softmax(-1)
            mixed.append((scores @ heads[2]).transpose(0, 1))
        return torch.cat(mixed)

    monkeypatch.setattr(packing, "_varlen", varlen)
    AttentionInterface.register("mslm_packed", packing.packed_attention)
    AttentionMaskInterface.register("mslm_packed", sdpa_mask)
    model.set_attn_implementation("mslm_packed")


def states(model: PreTrainedModel, batch: ModelBatch) -> torch.Tensor:
    hidden: torch.Tensor = model.base_model(**batch.inputs).last_hidden_state
    return hidden[0]


def alone(model: PreTrainedModel, sequences: list[NDArray[np.int32]]) -> torch.Tensor:
    return torch.cat([states(model, pad(*flat([s]), 0).mapped(torch.from_numpy)) for s in sequences])


def flat(sequences: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The sequences end to end, and their lengths."""
    return np.concatenate(sequences), np.array([len(s) for s in sequences])


def pack(model: PreTrainedModel, sequences: list[NDArray[np.int32]], *, with_mask: bool) -> ModelBatch:
    first = packing.first_position(model)
    return batching.pack(*flat(sequences), first, with_mask=with_mask).mapped(torch.from_numpy)


@pytest.mark.parametrize("with_mask", [True, False])
def test_packed_sequences_have_the_same_output_as_alone(
    model: PreTrainedModel, sequences: list[NDArray[np.int32]], monkeypatch: pytest.MonkeyPatch, with_mask: bool
) -> None:
    expected = alone(model, sequences)
    if not with_mask:
        by_starts(model, monkeypatch)
    batch = pack(model, sequences, with_mask=with_mask)
    assert (batch.lengths.tolist(), batch.begins.tolist()) == (LENGTHS, [0, 7, 26, 27])
    torch.testing.assert_close(states(model, batch), expected, rtol=1e-5, atol=1e-5)
    with last_layer_at(model.base_model, selection(batch, WANTED)) as is_thin:
        assert is_thin
        torch.testing.assert_close(states(model, batch), expected[WANTED], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("with_mask", [True, False])
def test_a_change_in_one_sequence_does_not_affect_the_others(
    model: PreTrainedModel, sequences: list[NDArray[np.int32]], monkeypatch: pytest.MonkeyPatch, with_mask: bool
) -> None:
    if not with_mask:
        by_starts(model, monkeypatch)
    before = states(model, pack(model, sequences, with_mask=with_mask))
    sequences[1] = 29 - sequences[1]
    after = states(model, pack(model, sequences, with_mask=with_mask))
    inside = slice(7, 26)
    assert not torch.isclose(before[inside], after[inside]).all(-1).any(), "each position of it sees the change"
    torch.testing.assert_close(before[:7], after[:7], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(before[26:], after[26:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("is_placed", [True, False])
def test_gradients_are_those_of_the_padded_batch(
    model: PreTrainedModel, sequences: list[NDArray[np.int32]], is_placed: bool
) -> None:
    targets, weights = torch.arange(10, 17), torch.tensor([1.0, 2, 1, 1, 2, 2, 1])
    padded = pad(*flat(sequences), model.config.pad_token_id).mapped(torch.from_numpy)
    packed = pack(model, sequences, with_mask=True)
    row = np.searchsorted(packed.begins, WANTED.numpy(), side="right") - 1
    there = torch.from_numpy(padded.begins[row] + WANTED.numpy() - packed.begins[row])
    plain = copy.deepcopy(model)
    logits = plain(**padded.inputs).logits.flatten(0, 1)[there]
    ((functional.cross_entropy(logits, targets, reduction="none") * weights).sum() / 10).backward()
    if is_placed:
        prepare_model(model, torch.device("cpu"))
    weighted_cross_entropy(logits_at(model, packed, selection(packed, WANTED)), targets, weights, 10.0)[0].backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_on_a_cpu_sequences_are_padded(model: PreTrainedModel, sequences: list[NDArray[np.int32]]) -> None:
    collate_fn = packing.make_collator(model, 0, torch.bfloat16)
    assert collate_fn(*flat(sequences)).inputs["input_ids"].shape == (4, 19)


def test_a_broken_kernel_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not work here" in packing.packed_attention_problem(torch.device("cpu"))

    def blind(query: torch.Tensor, *_: object) -> torch.Tensor:
        return query * 1.0

    monkeypatch.setattr(packing, "_varlen", blind)
    assert "wrong" in packing.packed_attention_problem(torch.device("cpu"))
