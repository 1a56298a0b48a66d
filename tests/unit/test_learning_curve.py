"""Learning curves: interpolation and its inverse, and the power law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from mslm_cli.evaluation.learning_curve import (
    fit_power_law,
    has_begun,
    last_point_error,
    monotone,
    overtakings,
    sentences_at,
)
from mslm_cli.evaluation.uncertainty import Float64

N = np.array([60.0, 75.0, 101.0, 178.0, 305.0, 600.0])
SHARES = st.floats(0, 1)
CURVES = st.lists(SHARES, min_size=len(N), max_size=len(N)).map(np.array)


@given(st.floats(0.3, 1), st.floats(0.05, 1), st.floats(0.1, 2))
def test_an_exact_power_law_is_recovered(a: float, drop: float, c: float) -> None:
    b = drop * a * N[0] ** c
    law = fit_power_law(N, (a - b * N**-c)[None])
    for n in (60, 305, 800, 1200):
        assert law.at(n)[0] == pytest.approx(a - b * n**-c, abs=1e-5)
    assert last_point_error(N, a - b * N**-c) == pytest.approx(0, abs=1e-5)


@given(CURVES)
def test_a_fitted_law_never_falls_nor_exceeds_1(f1: Float64) -> None:
    law = fit_power_law(N, f1[None])
    values = [law.at(n)[0] for n in (60, 600, 6000, 6e6)]
    assert values == sorted(values)
    assert values[-1] <= 1 + 1e-9


def test_a_law_fitted_to_many_curves_is_that_of_each() -> None:
    f1 = np.random.default_rng(0).random((5, len(N)))
    together = fit_power_law(N, f1)
    for i, one in enumerate(f1):
        assert fit_power_law(N, one[None]).at(800)[0] == pytest.approx(together.at(800)[i])


def test_the_last_point_shows_a_curve_that_stops_rising() -> None:
    rising = 0.9 - 3 * N**-0.4
    assert last_point_error(N, np.append(rising[:-1], rising[-2])) < -0.05


def test_points_before_anything_is_learnt_are_left_out() -> None:
    assert has_begun(np.array([0.0, 0.02, 0.3, 0.6])).tolist() == [False, False, True, True]
    assert not has_begun(np.zeros(4)).any()


@given(CURVES)
def test_the_monotone_curve_is_isotonic_regression(f1: Float64) -> None:
    np.testing.assert_allclose(monotone(f1[None])[0], IsotonicRegression().fit_transform(N, f1), atol=1e-12)


@given(CURVES, st.floats(60, 600))
def test_a_number_of_sentences_is_found_again_from_its_f1(f1: Float64, own: float) -> None:
    level = monotone(f1[None])
    at_own = np.interp(np.log(own), np.log(N), level[0])
    found = sentences_at(N, level, np.array([at_own]), own)[0]
    assert np.interp(np.log(found), np.log(N), level[0]) == pytest.approx(at_own, abs=1e-9)
    if own in N:
        assert found == pytest.approx(own)


@given(CURVES, SHARES, SHARES, st.sampled_from(N.tolist()))
def test_more_f1_needs_no_fewer_sentences(f1: Float64, one: float, other: float, own: float) -> None:
    level = np.repeat(monotone(f1[None]), 2, axis=0)
    low, high = sentences_at(N, level, np.array(sorted((one, other))), own)
    assert low <= high


def test_beyond_the_curve_no_number_is_made_up() -> None:
    level = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]] * 3)
    found = sentences_at(N, level, np.array([0.05, 0.6, 0.7]), 100.0)
    assert found.tolist() == [-np.inf, pytest.approx(600), np.inf]


def test_overtaking_is_found_between_points() -> None:
    assert overtakings(np.array([100.0, 400.0]), np.array([0.2, -0.2])) == [pytest.approx(200)]
    assert overtakings(np.array([100.0, 200.0, 400.0]), np.array([0.2, 0.0, 0.1])) == []
    assert overtakings(np.array([100.0, 200.0, 400.0]), np.array([-0.1, 0.0, 0.1])) == [pytest.approx(200)]
