"""Bootstrap intervals of scores computed from sums over sentences, and the resampled clusters."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mslm_cli.evaluation.spans import Int64

Float64 = NDArray[np.float64]
Float = NDArray[np.float32] | Float64

LEVEL = 0.95
SCORE_NAMES = ("precision", "recall", "f1")
FEW = 30
"""With fewer clusters, 95 % intervals cover less than 93 % (benchmarks/coverage.md)."""
_MOST_DRAWN = 1 << 21
_MOST_SORTED = 4096
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def clusters_of(docs: Sequence[str | None]) -> tuple[Int64, str]:
    """The cluster of each sentence, int64 [n_sentences] from 0 without gaps, and the name of the unit.

    ``documents`` if there are at least two, else ``sentences``. Sentences of the same document resemble each other;
    resampling them individually would make intervals too narrow.

    Args:
        docs: the document of each sentence, or None; sentences without one count as one document.
    """
    numbers = {doc: number for number, doc in enumerate(dict.fromkeys(docs))}
    if len(numbers) < 2:
        return np.arange(len(docs)), "sentences"
    return np.array([numbers[doc] for doc in docs], np.int64), "documents"


def sums_by_cluster(clusters: Int64, n_clusters: int, values: Float64) -> Float64:
    """The sums of ``values`` [n, n_columns] over each cluster: float64 [n_clusters, n_columns]."""
    columns = [np.bincount(clusters, column, minlength=n_clusters) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((n_clusters, 0))


def resampled_totals(rows: Float, n_replicates: int, rng: np.random.Generator) -> Float64:
    """Column sums over as many clusters, drawn with replacement: float64 [n_replicates, n_columns].

    Clusters with equal rows are interchangeable, so it is enough to draw how often each distinct row occurs: the same
    distribution from far fewer random numbers.

    Args:
        rows: the contribution of each cluster to the sums, float [n_clusters, n_columns].

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
    """The replicates in chunks, which limits the memory for draws of ``n_rows`` rows."""
    size = max(1, _MOST_DRAWN // max(n_rows, 1))
    yield from (slice(first, min(first + size, n_replicates)) for first in range(0, n_replicates, size))


def distinct_rows(rows: Float) -> tuple[Float64, Int64]:
    """The distinct rows and their counts: float64 [n_distinct, n_columns], int64 [n_distinct]."""
    is_empty = ~rows.any(axis=1)
    # most sentences hold no mention: sorting only the others saves most of the time
    filled = np.flatnonzero(~is_empty)
    # sorting copies rows several times, so they are sorted in parts, of which few rows are left
    sorted_parts = [
        np.unique(rows[filled[first : first + _MOST_SORTED]], axis=0, return_counts=True)
        for first in range(0, len(filled), _MOST_SORTED)
    ]
    distinct, inverse = np.unique(
        np.concatenate([rows[:0], *(part for part, _ in sorted_parts)]), axis=0, return_inverse=True
    )
    distinct, counts = distinct.astype(np.float64), np.zeros(len(distinct), np.int64)
    np.add.at(counts, inverse, np.concatenate([counts[:0], *(n for _, n in sorted_parts)]))
    if n_empty := int(is_empty.sum()):
        distinct, counts = np.vstack([distinct, np.zeros(rows.shape[1])]), np.append(counts, n_empty)
    return distinct, counts


def precision_recall_f1(counts: Float64) -> Float64:
    """Precision, recall and F1, [..., 3], from gold, predicted and correct counts, [..., 3]; NaN if undefined."""
    gold, predicted, correct = np.moveaxis(counts, -1, 0)
    return np.stack(
        [quotient(correct, predicted), quotient(correct, gold), quotient(2 * correct, gold + predicted)], axis=-1
    )


def quotient(one: Float64, other: Float64) -> Float64:
    """``one / other``, NaN where ``other`` is 0."""
    return np.divide(one, other, out=np.full(np.broadcast(one, other).shape, np.nan), where=other != 0)


def averages(counts: Float64) -> tuple[Float64, Float64]:
    """Macro and weighted precision, recall and F1, [..., 3] each, from counts by type, [..., n_types, 3].

    Types without any mention in a replicate are left out of its macro average, as they are for a test set.
    """
    of_types = np.nan_to_num(precision_recall_f1(counts))
    present = (counts[..., :2].sum(axis=-1) > 0).astype(np.float64)
    gold = counts[..., 0]
    macro, weighted = (
        quotient((of_types * weights[..., None]).sum(axis=-2), weights.sum(axis=-1)[..., None])
        for weights in (present, gold)
    )
    return macro, weighted


def interval(replicates: Float64) -> list[float]:
    """The bounds of the 95 % percentile interval of the defined ``replicates``, [n_replicates].

    0 and 0 if none is defined.

    Source: Efron and Tibshirani 1993, section 13.3.
    """
    defined = replicates[~np.isnan(replicates)]
    low, high = np.quantile(defined, _TAILS) if len(defined) else (0.0, 0.0)
    return [float(low), float(high)]


def intervals(replicates: Float64) -> dict[str, list[float]]:
    """The intervals of precision, recall and F1, from replicates [n_replicates, 3]."""
    return {name: interval(replicates[:, i]) for i, name in enumerate(SCORE_NAMES)}
