"""Loss weights by scheme, against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.errors import DataError, UsageError
from mslm_cli.masking.weights import kind_weights, weights_notice

COUNT = st.integers(0, 10**9)


def test_uniform_weights_both_kinds_equally() -> None:
    assert kind_weights("uniform", 3, 5) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("scheme", "ratio"), [("ratio:2", 2.0), ("ratio:4", 4.0), ("ratio:2.5", 2.5), ("ratio:0.5", 0.5)]
)
def test_ratio_weights_ds_terms_r_times(scheme: str, ratio: float) -> None:
    assert kind_weights(scheme, 10, 0) == (1.0, ratio)


def test_frequency_is_the_softmax_of_one_minus_each_share() -> None:
    weights = kind_weights("frequency", 750, 250)
    total = math.exp(1 - 0.75) + math.exp(1 - 0.25)
    assert weights.generic == pytest.approx(math.exp(0.25) / total)
    assert weights.ds_term == pytest.approx(math.exp(0.75) / total)
    assert weights.ratio == pytest.approx(math.exp(0.5))


@pytest.mark.parametrize(("n_generic", "n_ds_term"), [(1, 1), (250, 750), (0, 9)])
def test_frequency_gives_one_once_ds_terms_are_half(n_generic: int, n_ds_term: int) -> None:
    weights = kind_weights("frequency", n_generic, n_ds_term)
    assert weights.ratio == 1.0
    notice = weights_notice("frequency", weights)
    assert notice is not None
    assert "get no extra weight" in notice


def test_frequency_reports_its_ratio() -> None:
    notice = weights_notice("frequency", kind_weights("frequency", 750, 250))
    assert notice is not None
    assert "ratio:1.649" in notice
    assert "get no extra weight" not in notice


@pytest.mark.parametrize("scheme", ["uniform", "ratio:1", "ratio:3"])
def test_given_weights_need_no_notice(scheme: str) -> None:
    assert weights_notice(scheme, kind_weights(scheme, 1, 1)) is None


@pytest.mark.parametrize(("n_generic", "n_ds_term"), [(900, 100), (500, 500), (100, 900), (0, 5), (5, 0)])
def test_reference_is_the_released_rule(n_generic: int, n_ds_term: int) -> None:
    a = n_ds_term / (n_generic + n_ds_term)
    high, low = math.exp(max(0.5, a)), math.exp(min(0.5, a))
    weights = kind_weights("reference", n_generic, n_ds_term)
    assert weights == pytest.approx((low / (high + low), high / (high + low)))
    assert weights.ratio == pytest.approx(math.exp(abs(a - 0.5)))


@given(st.sampled_from(["frequency", "reference"]), COUNT, COUNT.map(lambda n: n + 1))
def test_computed_weights_are_never_lower_for_ds_terms(scheme: str, n_generic: int, n_ds_term: int) -> None:
    generic, ds_term = kind_weights(scheme, n_generic, n_ds_term)
    assert ds_term >= generic > 0
    assert ds_term / generic <= math.exp(1) * (1 + 1e-12)


@pytest.mark.parametrize(
    "scheme", ["", "ratio", "ratio:", "ratio:x", "ratio:0", "ratio:-2", "ratio:inf", "ratio:nan", "Uniform"]
)
def test_an_unknown_scheme_is_a_usage_error_that_names_it(scheme: str) -> None:
    with pytest.raises(UsageError, match=f"--weights {scheme}"):
        kind_weights(scheme, 1, 1)


@pytest.mark.parametrize("scheme", ["frequency", "reference"])
def test_a_rule_over_no_predicted_tokens_is_an_error(scheme: str) -> None:
    with pytest.raises(DataError, match="none"):
        kind_weights(scheme, 0, 0)
