"""Quality of the probabilities of predicted mentions: ranking and calibration."""

import numpy as np

from mslm_cli.evaluation.spans import Bool, Int64
from mslm_cli.evaluation.uncertainty import Float64, quotient

N_BINS = 10


def curve(scores: Float64, is_correct: Bool, n_gold: int, n_points: int = 200) -> list[dict[str, float]]:
    """Precision and recall of the predictions at or above each threshold, from high to low.

    Mentions with equal scores share a threshold. At most ``n_points`` thresholds are kept, evenly spread.
    """
    order, last = _ranked(scores)
    n_correct = np.cumsum(is_correct[order])[last]
    if len(last) > n_points:
        kept = np.unique(np.linspace(0, len(last) - 1, n_points).round().astype(np.int64))
        last, n_correct = last[kept], n_correct[kept]
    precision, recall = n_correct / (last + 1), n_correct / max(n_gold, 1)
    columns = (scores[order][last].tolist(), precision.tolist(), recall.tolist())
    return [{"threshold": t, "precision": p, "recall": r} for t, p, r in zip(*columns, strict=True)]


def average_precision(scores: Float64, is_correct: Bool, n_gold: int) -> float:
    """The sum over thresholds of precision times gain in recall; missed gold mentions keep recall below 1.

    Source: ``sklearn.metrics.average_precision_score``, which counts positives among the predictions only.
    """
    order, last = _ranked(scores)
    return float(_average(is_correct[order].astype(np.float64), np.ones(len(order)), last, float(n_gold)))


def average_precision_replicates(
    scores: Float64,
    is_correct: Bool,
    clusters: Int64,
    n_gold: Int64,
    n_replicates: int,
    rng: np.random.Generator,
) -> Float64:
    """Bootstrap replicates of average precision over clusters: float64 [n_replicates].

    Args:
        clusters: the cluster of each predicted mention, int64 [n_predicted].
        n_gold: the number of gold mentions in each cluster, int64 [n_clusters].
    """
    order, last = _ranked(scores)
    correct, n_clusters = is_correct[order].astype(np.float64), len(n_gold)
    replicates = np.zeros(n_replicates)
    for r in range(n_replicates):
        drawn = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
        weights = drawn[clusters[order]].astype(np.float64)
        replicates[r] = _average(correct * weights, weights, last, float(drawn @ n_gold))
    return replicates


def _ranked(scores: Float64) -> tuple[Int64, Int64]:
    """The order of descending scores, and the position in it of the last mention with each score."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], np.ones(min(len(order), 1), np.bool_)))


def _average(correct: Float64, weights: Float64, last: Int64, n_gold: float) -> float:
    n_correct, n = np.cumsum(correct)[last], np.cumsum(weights)[last]
    gained = np.diff(n_correct, prepend=0.0)
    return float((gained * np.nan_to_num(quotient(n_correct, n))).sum() / n_gold) if n_gold else 0.0


def bin_sums(scores: Float64, is_correct: Bool) -> tuple[Int64, Float64]:
    """The bin of each mention, int64 [n], and its contribution to the bin: 1, score, is_correct, float64 [n, 3].

    Ten bins of equal width; a score of 1 falls into the last.
    """
    bins = np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)
    return bins, np.stack([np.ones(len(scores)), scores, is_correct.astype(np.float64)], axis=1)


def calibration_error(sums: Float64) -> Float64:
    """The expected calibration error, from sums by bin, [..., N_BINS, 3].

    Source: Naeini et al. 2015, equation 3, with bins of equal width, over mentions instead of tags.
    """
    gaps = np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1)
    return quotient(gaps, sums[..., 0].sum(axis=-1))


def bins_as_json(sums: Float64) -> list[dict[str, float | int]]:
    """Bounds, number of mentions, mean confidence and fraction correct of each bin, from sums [N_BINS, 3]."""
    means = np.nan_to_num(quotient(sums[:, 1:], sums[:, :1]))
    return [
        {
            "low": i / N_BINS,
            "high": (i + 1) / N_BINS,
            "n": int(sums[i, 0]),
            "mean_confidence": float(means[i, 0]),
            "share_correct": float(means[i, 1]),
        }
        for i in range(N_BINS)
    ]
