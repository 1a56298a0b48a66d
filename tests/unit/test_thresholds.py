import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mslm_cli.errors import UsageError
from mslm_cli.evaluation.thresholds import NEUTRAL, THRESHOLDS, ThresholdPoint, choose_threshold
from mslm_cli.training.tagging import best_labels

LABELS = ["O", "B-D", "I-D"]
PROBABILITIES = arrays(np.float32, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(0.015625, 1, width=32))
CURVE = [
    ThresholdPoint(0.1, 0.50, 0.95, 0.655),
    ThresholdPoint(0.3, 0.70, 0.80, 0.747),
    ThresholdPoint(0.5, 0.75, 0.75, 0.750),
    ThresholdPoint(0.7, 0.80, 0.70, 0.747),
    ThresholdPoint(0.9, 0.95, 0.40, 0.563),
]


@given(PROBABILITIES)
def test_the_neutral_threshold_takes_the_most_probable_label(p: np.ndarray) -> None:
    assert best_labels(p, LABELS, NEUTRAL).tolist() == p.argmax(-1).tolist()


@given(PROBABILITIES, st.sampled_from(THRESHOLDS), st.sampled_from(THRESHOLDS))
def test_a_lower_threshold_finds_more_words(p: np.ndarray, one: float, other: float) -> None:
    low, high = (best_labels(p, LABELS, t) for t in sorted((one, other)))
    assert np.all((low > 0) | (high == 0))
    both = (low > 0) & (high > 0)
    assert np.array_equal(low[both], high[both])  # which label does not depend on it


@given(PROBABILITIES, st.sampled_from(THRESHOLDS))
def test_the_odds_of_o_decide(p: np.ndarray, t: float) -> None:
    for row, label in zip(p.astype(float), best_labels(p, LABELS, t).tolist(), strict=True):
        odds = row[0] / row[1:].max() * t / (1 - t)
        assert (label == 0) == (odds >= 1) or odds == pytest.approx(1)


def test_thresholds_are_symmetric_and_hold_the_neutral_one() -> None:
    assert NEUTRAL in THRESHOLDS
    assert [round(1 - t, 6) for t in reversed(THRESHOLDS)] == list(THRESHOLDS)


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [("f1", 0.5), ("recall:0.9", 0.1), ("recall:.78", 0.3), ("precision:0.8", 0.7), ("precision:0.9", 0.9)],
)
def test_what_dev_shows_is_chosen(wanted: str, threshold: float) -> None:
    assert choose_threshold(CURVE, wanted) == threshold


def test_what_no_threshold_reaches_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recall reaches at most 0.950") as error:
        choose_threshold(CURVE, "recall:0.99")
    assert "--threshold recall:0.95" in str(error.value)
