"""The ways to run a training step on a GPU give on a CPU what the plain way gives."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from encoders import FAMILIES, deterministic, model_batch, selection
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from mslm_cli.training.attention import use_cpu_attention
from mslm_cli.training.batching import copied_together
from mslm_cli.training.joint_projection import join_projections
from mslm_cli.training.loop import MicrobatchOptions, StepResult, TrainState, train
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_at
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.passes import Passes, compiler

POSITIONS = torch.tensor([1, 2, 20, 24, 47, 60, 70, 91])
BERT_LIKE = ("bert", "roberta", "electra", "xlm-r")


@dataclass(frozen=True)
class Rows:
    """An update of two microbatches of four sequences; the loss of ``exploding`` ones is not finite."""

    seed: int
    exploding: bool = False

    def microbatches(self, max_tokens: int) -> "list[Rows]":
        return [self, Rows(self.seed + 100, self.exploding)]

    @property
    def reported(self) -> torch.Tensor:
        return torch.tensor([1.0, self.seed], dtype=torch.float64)

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        mask = (torch.arange(23)[None] < torch.tensor([23, 9, 17, 23])[:, None]).long()
        ids = torch.randint(5, 25, mask.shape, generator=generator).where(mask == 1, model.config.pad_token_id)
        batch, targets = model_batch(ids, mask), torch.arange(10, 18)
        logits = logits_at(model, batch, selection(batch, POSITIONS))
        share = weighted_cross_entropy(logits, targets, torch.ones(8), 16.0)[0]
        return share * float("nan") if self.exploding else share


def encoder(family: str, dropout: float = 0.0) -> PreTrainedModel:
    model = copy.deepcopy(deterministic(family)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def flat_gradient(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def gradient(model: PreTrainedModel, way: Passes) -> torch.Tensor:
    for batch in Rows(1).microbatches(0):
        with way.running():
            part = batch.loss(model)
        part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        way.collect_gradients()
    return flat_gradient(model)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def steps(
    model: PreTrainedModel, options: MicrobatchOptions, updates: tuple[Rows, ...]
) -> Iterator[tuple[StepResult[Rows], torch.Tensor, int]]:
    """Each step with the weights and the count of steps at its yield."""
    optimizer = make_optimizer(model.named_parameters(), 1e-2, 0.01)
    state = TrainState(model, optimizer, make_schedule(optimizer, len(updates), 0.1))
    for step in train(state, updates, 1.0, options):
        yield step, torch.cat([p.detach().flatten().clone() for p in model.parameters()]), state.n_steps


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_of_the_same_precision_change_no_bit(family: str) -> None:
    plain, copied = encoder(family), encoder(family)
    expected = gradient(plain, Passes(plain, torch.float32))
    assert torch.equal(gradient(copied, Passes(copied, torch.float32, has_copies=True)), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_in_half_precision_give_the_gradient_within_its_rounding(family: str) -> None:
    plain, copied = encoder(family), encoder(family)
    expected = gradient(plain, Passes(plain, torch.float32))
    found = gradient(copied, Passes(copied, torch.bfloat16, has_copies=True))
    assert found.dtype == torch.float32
    assert 0 < relative_error(found, expected) < 0.03


def test_outside_of_a_pass_the_model_has_its_own_parameters() -> None:
    model = encoder("bert")
    own = dict(model.named_parameters())
    way = Passes(model, torch.bfloat16, has_copies=True, compile_with="eager")
    with way.running():
        assert all(p.dtype == torch.bfloat16 for p in model.parameters())
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight  # type: ignore[no-untyped-call]  # untyped there
    assert all(own[name] is p for name, p in model.named_parameters())
    assert all(getattr(m, "_compiled_call_impl", None) is None for m in model.modules())


def test_a_step_moves_the_copies() -> None:
    model = encoder("bert")
    way = Passes(model, torch.bfloat16, has_copies=True)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(3.0)
    way.update()
    with way.running():
        assert bool((model.get_input_embeddings().weight == 3.0).all())


@pytest.mark.parametrize("has_copies", [False, True])
def test_numbers_read_late_are_the_same_as_the_state_at_each_yield(has_copies: bool) -> None:
    updates = (Rows(1), Rows(2), Rows(3, exploding=True), Rows(4))
    options = MicrobatchOptions(64, torch.bfloat16 if has_copies else torch.float32, 5, has_copies=has_copies)
    at_once = list(steps(encoder("bert", 0.1), options, updates))
    late_options = MicrobatchOptions(64, options.dtype, 5, has_copies=has_copies, reads_late=True)
    late = list(steps(encoder("bert", 0.1), late_options, updates))
    assert [step.is_skipped for step, _, _ in late] == [False, False, True, False]
    for (step, weights, n), (other, other_weights, other_n) in zip(at_once, late, strict=True):
        assert (step.number, step.learning_rate, step.reported, n) == (
            other.number,
            other.learning_rate,
            other.reported,
            other_n,
        )
        assert step.outcome() == other.outcome()
        assert torch.equal(weights, other_weights)


def test_who_stops_early_gets_no_gradient_of_a_later_step() -> None:
    model = encoder("bert")
    found = steps(model, MicrobatchOptions(64, reads_late=True), (Rows(1), Rows(2)))
    next(found)
    assert any(p.grad is not None for p in model.parameters()), "the next step has begun"
    found.close()  # type: ignore[attr-defined]  # it is a generator
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_layers_give_the_same_gradient(backend: str) -> None:
    plain, compiled = encoder("bert"), encoder("bert")
    expected = gradient(plain, Passes(plain, torch.float32))
    way = Passes(compiled, torch.float32, compile_with=backend)
    assert not way.is_plain
    assert relative_error(gradient(compiled, way), expected) < 1e-6


def test_what_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler here")

    updates = (Rows(1), Rows(2))
    expected = list(steps(encoder("bert", 0.1), MicrobatchOptions(64), updates))
    found = list(steps(encoder("bert", 0.1), MicrobatchOptions(64, compile_with=broken), updates))  # type: ignore[arg-type]  # torch takes functions, too
    assert [step.outcome() for step, _, _ in found] == [step.outcome() for step, _, _ in expected]
    assert torch.equal(found[-1][1], expected[-1][1])
    assert "passes are neither compiled nor recorded as CUDA graphs: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "n_tokens", "device", "expected"),
    [
        ("auto", 10**14, "cuda", "inductor"),
        ("auto", 10, "cuda", ""),
        ("off", 10**14, "cuda", ""),
        ("auto", 10**14, "cpu", ""),
    ],
)
def test_long_runs_on_cuda_are_compiled(
    monkeypatch: pytest.MonkeyPatch, option: str, n_tokens: int, device: str, expected: str
) -> None:
    model = encoder("bert")
    monkeypatch.setattr(type(model), "device", torch.device(device))
    assert compiler(option, model, n_tokens) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_one_product_for_query_key_and_value_gives_the_same_gradient(family: str) -> None:
    plain, joint = encoder(family), encoder(family)
    join_projections(joint)
    changed = [m for m in joint.modules() if type(m).__name__.startswith("Joint")]
    assert len(changed) == (2 if family in BERT_LIKE else 0)
    expected = gradient(plain, Passes(plain, torch.float32))
    assert relative_error(gradient(joint, Passes(joint, torch.float32)), expected) < 1e-6
    assert joint.state_dict().keys() == plain.state_dict().keys()


def test_eager_attention_is_left_as_it_is() -> None:
    model = encoder("bert")
    model.set_attn_implementation("eager")
    join_projections(model)
    assert not any(type(m).__name__.startswith("Joint") for m in model.modules())
    use_cpu_attention(model)


ARRAYS = st.lists(
    st.tuples(
        st.sampled_from([np.int64, np.int32, np.float32, np.bool_, np.uint8]),
        st.lists(st.integers(0, 5), min_size=1, max_size=3),
    ),
    max_size=6,
)


@given(ARRAYS)
def test_arrays_that_travel_together_arrive_as_they_were(described: list[tuple[Any, list[int]]]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, shape).astype(dtype) for dtype, shape in described]
    found = copied_together(arrays, torch.device("cpu"))
    for array, tensor in zip(arrays, found, strict=True):
        assert tensor.dtype == torch.from_numpy(array).dtype
        assert np.array_equal(tensor.numpy(), array)
    assert len({t.untyped_storage().data_ptr() for t in found if t.numel()}) <= 1, "one copy"
