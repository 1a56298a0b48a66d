"""Paired tests and intervals of differences: by hand, by brute force, and where they cannot say anything."""

from itertools import product

import numpy as np
import pytest

from mslm_cli.evaluation.comparison import (
    ComparedArm,
    arm_replicates,
    bootstrap_p,
    compared,
    holm,
    least_p,
    randomisation_p,
)


def f1(counts: np.ndarray) -> float:
    return float(2 * counts[2] / (counts[0] + counts[1]))


def sentences(seed: int, n: int, skill: float) -> np.ndarray:
    """Counts of a system that finds a gold mention with the probability ``skill``: [n, 3]."""
    rng = np.random.default_rng(seed)
    gold = np.random.default_rng(99).integers(0, 3, n)
    correct = rng.binomial(gold, skill)
    return np.stack([gold, correct + rng.binomial(1, 0.1, n), correct], axis=1).astype(float)


def test_randomisation_is_that_of_all_exchanges() -> None:
    one, other = sentences(1, 9, 0.5), sentences(2, 9, 0.9)
    observed = abs(f1(other.sum(0)) - f1(one.sum(0)))
    as_large = []
    for coins in product([False, True], repeat=9):
        which = np.array(coins)[:, None]
        a, b = np.where(which, other, one), np.where(which, one, other)
        as_large.append(abs(f1(a.sum(0)) - f1(b.sum(0))) >= observed - 1e-12)
    p = randomisation_p(one, other, 20_000, np.random.default_rng(0))
    assert p == pytest.approx(np.mean(as_large), abs=0.015)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_p_is_never_below_the_minimum_for_the_number_of_clusters(n: int) -> None:
    bad, good = np.tile([10.0, 10.0, 0.0], (n, 1)), np.tile([10.0, 10.0, 10.0], (n, 1))
    assert randomisation_p(bad, good, 20_000, np.random.default_rng(0)) == pytest.approx(least_p(n), abs=0.015)


def test_a_system_against_itself_shows_no_difference() -> None:
    counts = sentences(1, 50, 0.7)
    assert randomisation_p(counts, counts, 100, np.random.default_rng(0)) == 1.0
    arms = [ComparedArm(name, counts[None, :, None]) for name in "ab"]
    _, (pair,) = compared(arms, ["all"], 200, np.random.default_rng(0))
    assert pair["difference"]["f1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (pair["p_bootstrap"], pair["p_randomisation"], pair["holds_up"]) == (1.0, 1.0, False)


def test_a_large_difference_holds_up_and_a_small_one_does_not() -> None:
    arms = [
        ComparedArm(str(skill), sentences(i, 300, skill)[None, :, None]) for i, skill in enumerate((0.6, 0.61, 0.9))
    ]
    shown, pairs = compared(arms, ["all"], 2000, np.random.default_rng(0))
    assert [pair["arms"] for pair in pairs] == [["0.6", "0.61"], ["0.6", "0.9"], ["0.61", "0.9"]]
    assert [pair["holds_up"] for pair in pairs] == [False, True, True]
    for pair in pairs:
        of = pair["difference"]["f1"]
        assert of["low"] < of["value"] < of["high"]
        a, b = (next(arm for arm in shown if arm["name"] == name) for name in pair["arms"])
        assert of["value"] == pytest.approx(b["f1"]["value"] - a["f1"]["value"])
    assert shown[0]["f1"]["sd"] is None


def test_variation_between_seeds_widens_the_interval() -> None:
    runs = np.stack([sentences(seed, 300, skill) for seed, skill in enumerate((0.6, 0.7, 0.8))])[:, :, None]
    one, three = ComparedArm("one", runs[1:2]), ComparedArm("three", runs)
    alone, together = arm_replicates([one, three], 4000, np.random.default_rng(0))
    spread = three.of_runs[:, 0, 2].std(ddof=1) / np.sqrt(3)
    low, high = np.quantile(together[:, 0, 2], [0.025, 0.975])
    assert high - low > 0.9 * 2 * 4.3 * spread  # Student's t with two degrees of freedom
    assert np.subtract(*np.quantile(alone[:, 0, 2], [0.975, 0.025])) < (high - low) / 3


def test_runs_that_differ_only_by_sampling_add_little() -> None:
    widths = []
    for first in range(0, 100, 5):
        runs = np.stack([sentences(first + i, 300, 0.7) for i in range(5)])[:, :, None]
        arms = [ComparedArm("five", runs), ComparedArm("their mean", runs.mean(axis=0)[None])]
        drawn = arm_replicates(arms, 1000, np.random.default_rng(0))
        widths.append([np.subtract(*np.quantile(d[:, 0, 2], [0.975, 0.025])) for d in drawn])
    five, mean = np.mean(widths, axis=0)
    assert mean < five < 1.4 * mean


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_of_differences() -> None:
    assert bootstrap_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 4)
    assert bootstrap_p(np.array([-1.0, 1.0])) == 1.0
    assert bootstrap_p(np.array([np.nan])) == 1.0
    assert bootstrap_p(-np.ones(999)) == pytest.approx(2 / 1000)
