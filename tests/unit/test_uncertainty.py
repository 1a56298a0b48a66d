"""Intervals: the same as those of a bootstrap written out, and defined where little is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.evaluation import uncertainty
from mslm_cli.evaluation.spans import paired_spans
from mslm_cli.evaluation.summary import summarise
from mslm_cli.evaluation.uncertainty import (
    averages,
    clusters_of,
    distinct_rows,
    interval,
    intervals,
    precision_recall_f1,
    resampled_totals,
)


def test_grouped_draws_have_the_distribution_of_single_ones() -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 3, size=(60, 2)).astype(float)
    rows[:30] = 0
    grouped = resampled_totals(rows, 20_000, np.random.default_rng(0))
    single = rows[rng.integers(60, size=(20_000, 60))].sum(axis=1)
    assert grouped.mean(axis=0) == pytest.approx(single.mean(axis=0), rel=0.01)
    assert np.cov(grouped.T) == pytest.approx(np.cov(single.T), rel=0.05, abs=0.3)
    assert np.quantile(grouped, [0.025, 0.975]) == pytest.approx(np.quantile(single, [0.025, 0.975]), abs=1)


def test_distinct_rows_are_counted_empty_ones_too() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [0.0, 3.0]])
    distinct, counts = distinct_rows(rows)
    found = dict(zip(map(tuple, distinct.tolist()), counts.tolist(), strict=True))
    assert found == {(0, 0): 2, (1, 2): 2, (0, 3): 1}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_rows_are_counted_as_few_are(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(0, 3, size=(50, 3)).astype(dtype) / 2
    distinct, counts = distinct_rows(rows)
    monkeypatch.setattr(uncertainty, "_MOST_SORTED", 7)
    again, counts_again = distinct_rows(rows)
    assert distinct.dtype == again.dtype == np.float64
    assert np.array_equal(distinct, again)
    assert np.array_equal(counts, counts_again)
    expected, n = np.unique(rows, axis=0, return_counts=True)
    is_filled = expected.any(axis=1)
    assert np.array_equal(distinct[: is_filled.sum()], expected[is_filled])
    assert np.array_equal(counts[: is_filled.sum()], n[is_filled])


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32))
def test_as_many_clusters_are_drawn_as_there_are(n: int, n_values: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, n_values, n)
    rows = np.stack([np.ones(n), values], axis=1)
    totals = resampled_totals(rows, 50, np.random.default_rng(seed))
    assert (totals[:, 0] == n).all()
    assert (totals[:, 1] <= n * values.max()).all()


def test_one_document_more_or_less_is_what_documents_vary_by() -> None:
    """Sentences of a document that are all alike: intervals over documents are as wide as few documents make them."""
    gold = [[(0, 1, "X")]] * 100
    predicted = [[(0, 1, "X")]] * 50 + [[]] * 50
    spans = paired_spans(gold, predicted)
    widths = []
    for docs in ([str(i // 10) for i in range(100)], [None] * 100):
        clusters, unit = clusters_of(docs)
        found = summarise(*spans, clusters, slicings={}, scores=None, n_replicates=2000, seed=0)
        low, high = found["exact_match"]["intervals"]["recall"]
        assert low < 0.5 < high
        widths.append((unit, high - low))
    assert [unit for unit, _ in widths] == ["documents", "sentences"]
    assert widths[0][1] > 2.5 * widths[1][1]


@pytest.mark.parametrize("docs", [[None, None], ["a", "a"], ["a"]])
def test_a_single_document_is_not_a_unit(docs: list[str | None]) -> None:
    clusters, unit = clusters_of(docs)
    assert (unit, clusters.tolist()) == ("sentences", list(range(len(docs))))


def test_sentences_without_a_document_are_one() -> None:
    clusters, unit = clusters_of([None, "a", None, "b", "a"])
    assert (unit, clusters.tolist()) == ("documents", [0, 1, 0, 2, 1])


def test_undefined_replicates_are_left_out() -> None:
    assert interval(np.array([np.nan, 0.5, np.nan, 0.5])) == [0.5, 0.5]
    assert interval(np.array([np.nan])) == [0.0, 0.0]
    counts = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 4.0, 2.0]])
    assert np.isnan(precision_recall_f1(counts)).tolist() == [
        [True, True, True],
        [True, False, False],
        [False, False, False],
    ]
    assert intervals(precision_recall_f1(counts[2:]))["precision"] == [0.5, 0.5]


def test_types_missing_in_a_replicate_are_not_in_its_macro_average() -> None:
    counts = np.array([[[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]], [[2.0, 2.0, 1.0], [6.0, 6.0, 6.0]]])
    macro, weighted = averages(counts)
    assert macro[:, 2].tolist() == [0.5, 0.75]
    assert weighted[:, 2].tolist() == [0.5, 0.875]


def test_the_same_seed_gives_the_same_intervals_and_sentences_may_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    gold = [[(i, i + 1, "X") for i in range(rng.integers(0, 4))] for _ in range(50)]
    predicted = [[m for m in mentions if rng.random() < 0.7] for mentions in gold]
    order = rng.permutation(50)
    found = [
        summarise(
            *paired_spans([gold[i] for i in which], [predicted[i] for i in which]),
            np.arange(50),
            slicings={},
            scores=None,
            n_replicates=200,
            seed=1,
        )
        for which in (range(50), range(50), order)
    ]
    assert found[0] == found[1] == found[2]
