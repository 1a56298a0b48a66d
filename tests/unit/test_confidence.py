"""Confidence: average precision is scikit-learn's, calibration error is that of its definition."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mslm_cli.evaluation import confidence

SCORED = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0]), st.booleans()), min_size=1)


def arrays(scored: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in scored]), np.array([is_correct for _, is_correct in scored])


@settings(max_examples=200, deadline=None)
@given(SCORED, st.integers(0, 5))
def test_average_precision_is_that_of_scikit_learn(scored: list[tuple[float, bool]], n_missed: int) -> None:
    scores, correct = arrays(scored)
    assume(correct.any())
    n_gold = int(correct.sum()) + n_missed
    theirs = average_precision_score(correct, scores) * correct.sum() / n_gold
    assert confidence.average_precision(scores, correct, n_gold) == pytest.approx(theirs)


@settings(max_examples=200, deadline=None)
@given(SCORED)
def test_calibration_error_by_its_definition(scored: list[tuple[float, bool]]) -> None:
    scores, correct = arrays(scored)
    bins, sums = confidence.bin_sums(scores, correct)
    totals = np.zeros((confidence.N_BINS, 3))
    np.add.at(totals, bins, sums)
    expected = 0.0
    for i in range(10):
        which = (scores >= i / 10) & ((scores < (i + 1) / 10) | (i == 9))
        if which.any():
            expected += which.mean() * abs(scores[which].mean() - correct[which].mean())
    assert float(confidence.calibration_error(totals)) == pytest.approx(expected)
    shown = confidence.bins_as_json(totals)
    assert sum(of["n"] for of in shown) == len(scores)


def test_the_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    scores, correct = rng.random(5000), rng.random(5000) < 0.8
    points = confidence.curve(scores, correct, 5000)
    assert len(points) == 200
    assert (points[0]["threshold"], points[-1]["threshold"]) == (scores.max(), scores.min())
    assert points[-1] == {"threshold": scores.min(), "precision": correct.mean(), "recall": correct.sum() / 5000}
    assert [p["recall"] for p in points] == sorted(p["recall"] for p in points)


def test_a_replicate_is_the_average_precision_of_the_clusters_drawn() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(20, size=120)
    scores = np.round(clusters / 40 + rng.random(120) / 2, 2)
    correct, n_gold = rng.random(120) < scores, np.bincount(clusters, minlength=20) + 1
    found = confidence.average_precision_replicates(scores, correct, clusters, n_gold, 30, np.random.default_rng(7))
    again = np.random.default_rng(7)
    for value in found:
        drawn = again.integers(20, size=20)
        which = np.concatenate([np.flatnonzero(clusters == c) for c in drawn])
        expected = confidence.average_precision(scores[which], correct[which], int(n_gold[drawn].sum()))
        assert value == pytest.approx(expected)


def test_without_predictions_or_gold_nothing_is_divided_by_zero() -> None:
    nothing = np.zeros(0), np.zeros(0, np.bool_)
    assert confidence.average_precision(*nothing, 3) == 0.0
    assert confidence.curve(*nothing, 3) == []
    assert confidence.average_precision(np.array([0.5]), np.array([False]), 0) == 0.0
