"""The length, the phases and the rates of adaptation."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import encoders
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.config import AdaptConfig
from mslm_cli.errors import UsageError
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training.adaptation import ADAPT, HEAD, AdaptationData, Phase, start_phase
from mslm_cli.training.optim import layer_factors, make_optimizer, make_schedule
from mslm_cli.training.run_length import Length, head_steps, learning_rate, plan_length, step_size

UNIFORM = kind_weights("uniform", 1, 1)


def data_of(n_sequences: int, length: int = 100) -> AdaptationData:
    """Text of so many sequences of one length."""
    reader = cast(ShardReader, SimpleNamespace(lengths=np.full(n_sequences, length, dtype=np.int32)))
    return AdaptationData(cast(Any, SimpleNamespace(reader=reader)), np.arange(n_sequences), cast(Any, None))


def length_of(n_sequences: int, **options: Any) -> Length:
    return plan_length(data_of(n_sequences), AdaptConfig.build(tokens_per_step=1000, **options))


def test_epochs_and_steps_are_exact() -> None:
    assert length_of(100, epochs=3) == (30, 3, 30_000)
    assert length_of(100, epochs=0) == (0, 0, 0)
    assert length_of(100, steps=25) == (25, 3, 25_000)
    assert length_of(100, steps=25, epochs=1) == (25, 3, 25_000)


@given(st.integers(1, 60_000), st.sampled_from(["auto", 1, 4]))
def test_tokens_are_a_limit(tokens: int, epochs: int | str) -> None:
    found = length_of(100, tokens=tokens, epochs=epochs)
    if epochs == "auto" or tokens <= epochs * 10_000:
        assert tokens <= found.n_tokens < tokens + 1000
    else:
        assert found.n_tokens == epochs * 10_000


def test_small_texts_are_seen_often_and_large_ones_once() -> None:
    assert length_of(10).n_epochs == 50
    assert length_of(1000).n_tokens == pytest.approx(1_000_000, rel=0.01)
    assert length_of(1000).n_epochs == 10
    assert length_of(20_000) == (2000, 1, 2_000_000)


def test_the_head_alone_takes_a_share_of_the_run() -> None:
    auto = AdaptConfig()
    steps = [head_steps(auto, Length(n, 1, 1)) for n in (10, 300, 1000, 100_000)]
    assert steps == sorted(steps)
    assert steps[0] >= 20
    assert steps[1] < 300
    assert steps[-1] <= 1000
    assert head_steps(auto, Length(0, 0, 0)) > 100
    assert head_steps(AdaptConfig(head_warmup_steps=7), Length(300, 1, 1)) == 7


def test_a_given_learning_rate_is_used() -> None:
    assert learning_rate(AdaptConfig(learning_rate=0.5)) == 0.5


def test_larger_steps_have_a_higher_rate_up_to_a_limit() -> None:
    rates = [learning_rate(AdaptConfig(tokens_per_step=n)) for n in (256, 1024, 4096, 16_384, 262_144)]
    assert rates[0] == rates[1]
    assert rates[2] == pytest.approx(2 * rates[1])
    assert rates[3] == rates[4] <= 1e-3


def test_text_without_sequences_has_no_steps() -> None:
    assert length_of(0, tokens=1000) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": "many"}, "--epochs: expected a whole number or 'auto', found 'many'"),
        ({"epochs": -1}, "--epochs: expected greater than or equal to 0"),
        ({"learning_rate": "fast"}, "--learning-rate: expected a number or 'auto', found 'fast'"),
        ({"layer_decay": 1.5}, "--layer-decay: "),
    ],
)
def test_numbers_or_auto(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        AdaptConfig.build(**options)
    assert str(error.value).startswith(said)


def test_numbers_are_read_from_text() -> None:
    config = AdaptConfig.build(epochs="3", learning_rate="2e-4", head_warmup_steps="5")
    assert (config.epochs, config.learning_rate, config.head_warmup_steps) == (3, 2e-4, 5)


@pytest.mark.parametrize(
    ("losses", "has_ended"),
    [
        ([], False),
        ([9.0, 8.0], False),
        ([9.0, 8.0, 7.9], False),
        ([9.0, 8.0, 7.99, 7.98], True),
        ([9.0, 8.0, 8.5, 8.2], True),
        ([9.0, 8.9, 8.8, 8.7], False),
    ],
)
def test_the_heads_phase_ends_where_its_loss_flattens(losses: list[float], has_ended: bool) -> None:
    assert Phase(HEAD, 100, UNIFORM, 0.1, 10, may_end_early=True).has_ended(losses) == has_ended
    assert not Phase(HEAD, 100, UNIFORM, 0.1, 10).has_ended(losses)


@pytest.mark.parametrize(
    ("losses", "has_ended"),
    [
        ([5.0, 4.0, 4.1, 4.2], False),
        ([5.0, 4.0, 4.1, 4.2, 4.0], True),
        ([5.0, 4.0, 4.1, 4.2, 3.9], False),
        ([9.0, 8.5, 8.4, 8.3, 8.2, 8.1], False),
    ],
)
def test_the_whole_models_phase_ends_after_three_without_a_better_one(losses: list[float], has_ended: bool) -> None:
    assert Phase(ADAPT, 100, UNIFORM, 0.1, 10, may_end_early=True).has_ended(losses) == has_ended
    assert not Phase(ADAPT, 100, UNIFORM, 0.1, 10).has_ended(losses)


@pytest.mark.parametrize("family", encoders.FAMILIES)
def test_lower_layers_learn_more_slowly_in_every_family(family: str) -> None:
    model = encoders.deterministic(family)
    factors = layer_factors(model, 0.5)
    in_encoder = {id(p) for p in model.base_model.parameters()}
    named = dict(model.named_parameters())
    assert {id(named[name]) for name in factors} == in_encoder
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    assert {factors[name] for name in factors if id(named[name]) in embeddings} == {0.25}
    assert set(factors.values()) == {0.25, 0.5, 1.0}
    by_number = {number: {f for n, f in factors.items() if f".{number}." in n} for number in (0, 1)}
    assert by_number == {0: {0.5}, 1: {1.0}}
    assert layer_factors(model, 1.0) == {}


def test_each_parameter_has_its_rate_and_the_plain_rate_comes_first() -> None:
    model = encoders.deterministic("bert")
    factors = layer_factors(model, 0.5)
    optimizer = make_optimizer(model.named_parameters(), 0.1, 0.01, factors)
    assert optimizer.param_groups[0]["lr"] == 0.1
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert found[id(parameter)] == (pytest.approx(0.1 * factors.get(name, 1.0)), 0.01 * (parameter.ndim > 1))


@given(st.integers(1, 500), st.floats(0, 1), st.integers(0, 40))
def test_the_rate_rises_for_at_least_the_least_warm_up(n_steps: int, share: float, min_warmup: int) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer, n_steps, share, min_warmup=min_warmup)
    factor: Callable[[int], float] = schedule.lr_lambdas[0]
    factors = [factor(step) for step in range(n_steps + 1)]
    n_rising = min(min_warmup, n_steps // 2)
    assert all(a < b for a, b in itertools.pairwise(factors[: n_rising + 1]))
    assert max(factors) <= 1
    assert factors[-1] == 0


def test_the_encoder_is_freed_gently(tiny_masked_lm: Path) -> None:
    from mslm_cli.training.model import load_masked_lm

    model, _ = load_masked_lm(tiny_masked_lm, allow_pickle=False, seed=0)
    head, whole = (
        start_phase(model, Phase(name, 100, UNIFORM, 0.1), AdaptConfig(warmup_share=0.0)) for name in (HEAD, ADAPT)
    )
    assert head.schedule.get_last_lr()[0] == pytest.approx(0.1)
    assert whole.schedule.get_last_lr()[0] == pytest.approx(0.1 / 21)


@pytest.mark.parametrize(
    ("option", "n_tokens", "device", "expected"),
    [
        ("auto", 10**9, "cpu", 4096),
        ("auto", 10**6, "cuda", 4096),
        ("auto", 10**7, "cuda", 16_384),
        (1000, 10**9, "cuda", 1000),
    ],
)
def test_steps_are_larger_on_cuda_with_much_text(option: int | str, n_tokens: int, device: str, expected: int) -> None:
    config = AdaptConfig.build(tokens_per_step=option)
    assert step_size(config, n_tokens, torch.device(device)) == expected
