"""Bootstrap intervals of scores that are made of sums over sentences, and the clusters that are drawn."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mslm_cli.evaluation.spans import Int64

Float64 = NDArray[np.float64]

LEVEL = 0.95
FEW = 30
"""Of fewer clusters than that, intervals cover less than 93 % (benchmarks/coverage.md)."""
_MOST_DRAWN = 1 << 21
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def clusters_of(docs: Sequence[str | None]) -> tuple[Int64, str]:
    """The cluster of each sentence, int64 [n_sentences] from 0 without gaps, and what a cluster is.

    ``documents`` where at least two are told apart, else ``sentences``. The sentences of one document resemble each
    other; to draw them one by one makes intervals too narrow.

    Args:
        docs: the document of each sentence, or None; those without one count as one document.
    """
    numbers = {doc: number for number, doc in enumerate(dict.fromkeys(docs))}
    if len(numbers) < 2:
        return np.arange(len(docs)), "sentences"
    return np.array([numbers[doc] for doc in docs], np.int64), "documents"


def sums_by_cluster(clusters: Int64, n_clusters: int, values: Float64) -> Float64:
    """The sums of ``values`` [n, n_columns] over each cluster: float64 [n_clusters, n_columns]."""
    columns = [np.bincount(clusters, column, minlength=n_clusters) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((n_clusters, 0))


def resampled_totals(rows: Float64, n_replicates: int, rng: np.random.Generator) -> Float64:
    """Column sums over clusters drawn with replacement, as many as there are: float64 [n_replicates, n_columns].

    Clusters with the same row are interchangeable, so that it is enough to draw how often each distinct row comes:
    the same distribution, in far fewer numbers.

    Args:
        rows: what each cluster adds to the sums, float64 [n_clusters, n_columns].

    Source: Efron and Tibshirani 1993, chapter 6 and section 8.6 (clusters as the unit).
    """
    totals = np.zeros((n_replicates, rows.shape[1]))
    if len(rows):
        distinct, counts = distinct_rows(rows)
        for part in parts(n_replicates, len(distinct)):
            drawn = rng.multinomial(len(rows), counts / len(rows), size=part.stop - part.start)
            totals[part] = drawn.astype(np.float64) @ distinct
    return totals


def parts(n_replicates: int, n_rows: int) -> Iterator[slice]:
    """The replicates in parts, so that what is drawn for ``n_rows`` rows at a time stays small."""
    size = max(1, _MOST_DRAWN // max(n_rows, 1))
    yield from (slice(first, min(first + size, n_replicates)) for first in range(0, n_replicates, size))


def distinct_rows(rows: Float64) -> tuple[Float64, Int64]:
    """The distinct rows, and how often each comes: float64 [n_distinct, n_columns], int64 [n_distinct]."""
    is_empty = ~rows.any(axis=1)
    # most sentences hold no mention: to sort the others alone saves most of the time
    distinct, counts = np.unique(rows[~is_empty], axis=0, return_counts=True)
    if n_empty := int(is_empty.sum()):
        distinct, counts = np.vstack([distinct, np.zeros(rows.shape[1])]), np.append(counts, n_empty)
    return distinct, counts


def shares(counts: Float64) -> Float64:
    """Precision, recall and F1, [..., 3], of gold, predicted and correct counts, [..., 3]; NaN where undefined."""
    gold, predicted, correct = np.moveaxis(counts, -1, 0)
    return np.stack(
        [quotient(correct, predicted), quotient(correct, gold), quotient(2 * correct, gold + predicted)], axis=-1
    )


def quotient(one: Float64, other: Float64) -> Float64:
    """``one / other``, and NaN where ``other`` is 0."""
    return np.divide(one, other, out=np.full(np.broadcast(one, other).shape, np.nan), where=other != 0)


def averages(counts: Float64) -> tuple[Float64, Float64]:
    """Macro and weighted precision, recall and F1, [..., 3] each, of the counts of all types, [..., n_types, 3].

    Types without any mention in a replicate are left out of its macro average, as they would be of a test set's.
    """
    of_types = np.nan_to_num(shares(counts))
    present = (counts[..., :2].sum(axis=-1) > 0).astype(np.float64)
    gold = counts[..., 0]
    macro, weighted = (
        quotient((of_types * weights[..., None]).sum(axis=-2), weights.sum(axis=-1)[..., None])
        for weights in (present, gold)
    )
    return macro, weighted


def interval(replicates: Float64) -> list[float]:
    """The bounds of the 95 % percentile interval of ``replicates``, [n_replicates]; of the defined ones.

    0 and 0 where none is defined.

    Source: Efron and Tibshirani 1993, section 13.3.
    """
    defined = replicates[~np.isnan(replicates)]
    low, high = np.quantile(defined, _TAILS) if len(defined) else (0.0, 0.0)
    return [float(low), float(high)]


def intervals(replicates: Float64) -> dict[str, list[float]]:
    """The intervals of precision, recall and F1, replicates [n_replicates, 3]."""
    return {name: interval(replicates[:, i]) for i, name in enumerate(("precision", "recall", "f1"))}
