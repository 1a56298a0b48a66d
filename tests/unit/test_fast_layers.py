"""What is made faster than plain transformers gives what plain transformers gives, in every family of encoders."""

import copy
from pathlib import Path

import pytest
import torch
from encoders import FAMILIES, deterministic, model_batch, selection
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from mslm_cli.training import attention, dropout
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.device import prepare_model
from mslm_cli.training.last_layer import last_layer_at
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_and_states_at, logits_at

LENGTHS = [23, 9, 17, 23]
POSITIONS = torch.tensor([1, 2, 20, 24, 47, 60, 70, 91])
TARGETS, WEIGHTS = torch.arange(10, 18), torch.tensor([1.0, 2, 2, 1, 1, 2, 1, 2])
THIN = {"bert", "roberta", "electra", "distilbert", "xlm-r"}


def without_dropout(family: str) -> PreTrainedModel:
    """A model of the family, the same in every call."""
    return copy.deepcopy(deterministic(family))


def padded(model: PreTrainedModel) -> ModelBatch:
    """Four sequences, two of them shorter."""
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, 25, mask.shape, generator=generator)
    return model_batch(ids.where(mask == 1, model.config.pad_token_id), mask)


def plain_gradients(model: PreTrainedModel, batch: ModelBatch) -> dict[str, torch.Tensor]:
    logits = model(**batch.inputs).logits.flatten(0, 1)[POSITIONS]
    loss = (functional.cross_entropy(logits, TARGETS, reduction="none") * WEIGHTS).sum() / WEIGHTS.sum()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_plain_model(family: str) -> None:
    expected = plain_gradients(plain := without_dropout(family), padded(plain))
    model = without_dropout(family)
    prepare_model(model, torch.device("cpu"))
    for _ in range(2):  # the second time there are gradients to add to
        batch = padded(model)
        logits = logits_at(model, batch, selection(batch, POSITIONS))
        share, _ = weighted_cross_entropy(logits, TARGETS, WEIGHTS, float(WEIGHTS.sum()))
        share.backward()
    found = {name: p.grad / 2 for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    whole, difference = (
        torch.cat([t.flatten() for t in tensors])
        for tensors in (expected.values(), [found[name] - expected[name] for name in expected])
    )
    assert float(difference.norm() / whole.norm()) < 1e-5
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) < 1e-4 * float(gradient.norm()) + 1e-7, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_at_some_positions_is_the_whole_one_there(family: str) -> None:
    model = without_dropout(family)
    batch, encoder = padded(model), model.base_model
    whole = encoder(**batch.inputs).last_hidden_state.flatten(0, 1)
    with last_layer_at(encoder, selection(batch, POSITIONS)) as is_thin:
        thin = encoder(**batch.inputs).last_hidden_state
    assert is_thin == (family in THIN)
    if is_thin:
        assert thin.shape == (1, len(POSITIONS), whole.shape[-1])
        torch.testing.assert_close(thin[0], whole[POSITIONS], rtol=1e-5, atol=1e-5)
    again = encoder(**batch.inputs).last_hidden_state
    assert torch.equal(again.flatten(0, 1), whole), "outside of the block nothing has changed"


def test_positions_may_be_wanted_in_any_order_and_twice() -> None:
    model = without_dropout("bert")
    prepare_model(model, torch.device("cpu"))
    batch = padded(model)
    others = torch.tensor([60, 0, 1, 60])
    logits, states = logits_and_states_at(model, batch, selection(batch, POSITIONS.flip(0), others))
    torch.testing.assert_close(
        logits.flip(0), logits_at(model, batch, selection(batch, POSITIONS)), rtol=1e-5, atol=1e-5
    )
    whole = model.base_model(**batch.inputs).last_hidden_state
    torch.testing.assert_close(states, whole.flatten(0, 1)[others], rtol=1e-5, atol=1e-5)


def test_fast_layers_do_not_change_saved_models(tmp_path: Path) -> None:
    without_dropout("bert").save_pretrained(tmp_path / "plain")
    model = without_dropout("bert")
    prepare_model(model, torch.device("cpu"))
    model.save_pretrained(tmp_path / "placed")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "placed" / name).read_bytes()


def test_dropout_drops_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    states = torch.ones(500, 400, requires_grad=True)
    layer = dropout.Dropout(0.1)
    dropped = layer(states)
    dropped.sum().backward()
    kept = dropped != 0
    assert float(kept.float().mean()) == pytest.approx(0.9, abs=0.002)
    assert dropped[kept].unique().numel() == 1
    assert float(dropped.detach().max()) == pytest.approx(1 / 0.9, rel=1e-4)
    assert torch.equal(states.grad, dropped.detach()), "what is dropped has no gradient, the rest the same factor"
    rows, columns = kept.float().mean(0), kept.float().mean(1)
    assert float(rows.min()) > 0.8, "all places are alike"
    assert float(columns.min()) > 0.8
    assert torch.equal(layer.eval()(states), states)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.1, 0.5, 1 / 3])
def test_dropout_at_any_rate(share: float) -> None:
    torch.manual_seed(0)
    dropped = dropout.Dropout(share).train()(torch.ones(100_003))
    assert float((dropped == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0 if share < 1 else 0.0, abs=0.01)


def test_dropout_follows_torchs_generator() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(dropout.drawn(torch.Size((7, 5)), 0.5))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], dropout.drawn(torch.Size((7, 5)), 0.5))


def test_attention_with_dropout_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shape, share = (3, 2, 5, 4), 0.25
    ours = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    plain = [t.detach().clone().requires_grad_() for t in ours]
    kept = torch.rand(6, 5, 5) > share
    mask = (torch.rand(3, 1, 5, 5) > 0.3) | torch.eye(5, dtype=torch.bool)
    monkeypatch.setattr(attention, "drawn", lambda *_: kept)
    mixed, _ = attention.cpu_attention(nn.Identity(), *ours, mask, dropout=share, scaling=0.3)
    scores = (plain[0] @ plain[1].transpose(2, 3) * 0.3).masked_fill(~mask, float("-inf"))
    expected = (scores.softmax(-1) * kept.view(3, 2, 5, 5) / (1 - share)) @ plain[2]
    torch.testing.assert_close(mixed, expected.transpose(1, 2))
    towards = torch.randn(shape).transpose(1, 2)
    (mixed * towards).sum().backward()
    (expected.transpose(1, 2) * towards).sum().backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("decodes", [(False, False, False), (True, False, True), (False, True, False)])
def test_gradients_of_embeddings_are_exact_in_each_of_several_steps(decodes: tuple[bool, ...]) -> None:
    """Also where something else decodes with the embeddings in some of the steps."""
    plain, fast = without_dropout("bert"), without_dropout("bert")
    prepare_model(fast, torch.device("cpu"))
    for step, is_decoded in enumerate(decodes):
        for model in (plain, fast):
            weight = model.get_input_embeddings().weight
            states = model.get_input_embeddings()(torch.tensor([[step + 5, 7, step + 5]]))
            loss = states.square().sum()
            if is_decoded:
                loss = loss + functional.linear(states.detach(), weight).square().sum()
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        expected, found = (m.get_input_embeddings().weight.grad for m in (plain, fast))
        assert expected is not None
        assert found is not None
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
