"""What separates arms: both sources of uncertainty are in every interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.evaluation.arms import Runs, difference, draw_weights, f1, holm, score

N_SENTENCES = 400


def runs(*, seeds: int, found: float, spread: float = 0.0, noise: int = 0) -> Runs:
    """Sentences with two gold mentions, of which each seed finds about a share; predictions are all gold."""
    rng = np.random.default_rng(noise)
    shares = found + spread * (np.arange(seeds) - (seeds - 1) / 2)
    correct = np.stack([rng.binomial(2, share, N_SENTENCES) for share in shares]).astype(float)
    counts = np.stack([np.full_like(correct, 2.0), np.full_like(correct, 2.0), correct], axis=-1)
    return Runs(counts, draw_weights(N_SENTENCES, seed=0))


def test_f1_is_that_of_the_counts() -> None:
    assert f1(np.array([[10.0, 8.0, 6.0], [0.0, 0.0, 0.0]])) == pytest.approx([12 / 18, 0.0])


def test_an_arm_does_not_differ_from_itself() -> None:
    arm = [runs(seeds=3, found=0.7, spread=0.02)]
    found = difference(arm, arm)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_interval_of_one_seed_is_that_of_the_bootstrap() -> None:
    arm = runs(seeds=1, found=0.7)
    replicates = f1(np.einsum("rc,ck->rk", arm.weights, arm.counts[0]))
    found = score([arm])
    assert found.high - found.low == pytest.approx(2 * 1.96 * replicates.std(ddof=1), rel=1e-3)


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike, apart = (score([runs(seeds=3, found=0.7, spread=s)]) for s in (0.0, 0.1))
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Seeds and sentences both vary; 300 studies with three seeds."""
    rng = np.random.default_rng(1)
    weights = draw_weights(150, seed=0, n_replicates=200)
    held = 0
    for _ in range(300):
        shares = 0.7 + rng.normal(0, 0.02, size=3)
        difficulty = rng.normal(0, 0.1, size=150)
        correct = rng.binomial(2, np.clip(shares[:, None] + difficulty, 0, 1)).astype(float)
        counts = np.stack([np.full_like(correct, 2.0), np.full_like(correct, 2.0), correct], axis=-1)
        found = score([Runs(counts, weights)])
        held += found.low <= 0.7 <= found.high
    assert 0.91 <= held / 300 <= 0.99


@given(a=st.integers(0, 50), b=st.integers(51, 100))
def test_the_difference_the_other_way_round_is_its_negative(a: int, b: int) -> None:
    one, other = ([runs(seeds=2, found=0.6, noise=noise)] for noise in (a, b))
    there, back = difference(one, other), difference(other, one)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_a_second_data_set_without_a_difference_halves_it() -> None:
    better, worse = runs(seeds=3, found=0.8), runs(seeds=3, found=0.7, noise=1)
    one = difference([better], [worse])
    two = difference([better, worse], [worse, worse])
    assert two.value == pytest.approx(one.value / 2)
    assert two.high - two.low == pytest.approx((one.high - one.low) / 2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_raises_p_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(c >= p for c, p in zip(corrected, p_values, strict=True))
    by_p = [corrected[i] for i in np.argsort(p_values, kind="stable")]
    assert by_p == sorted(by_p)
