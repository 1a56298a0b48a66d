"""What the probabilities of predicted mentions are worth: as an order, and as numbers."""

import numpy as np

from mslm_cli.evaluation.spans import Bool, Int64
from mslm_cli.evaluation.uncertainty import Float64, quotient

N_BINS = 10


def curve(scores: Float64, is_correct: Bool, n_gold: int, n_points: int = 200) -> list[dict[str, float]]:
    """Threshold, precision and recall where predictions below the threshold are left out, from high to low.

    Mentions of one score come together. Of more than ``n_points`` thresholds, as many that are spread evenly.
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
    """The sum over thresholds of precision times the recall gained; missed gold mentions are never gained.

    Source: ``sklearn.metrics.average_precision_score``, whose positives are those among the predictions alone.
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
    """Average precision over clusters drawn with replacement: float64 [n_replicates].

    Args:
        clusters: of each predicted mention, int64 [n_predicted].
        n_gold: gold mentions of each cluster, int64 [n_clusters].
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
    """The order of falling scores, and where in it the last of each score stands."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], np.ones(min(len(order), 1), np.bool_)))


def _average(correct: Float64, weights: Float64, last: Int64, n_gold: float) -> float:
    n_correct, n = np.cumsum(correct)[last], np.cumsum(weights)[last]
    gained = np.diff(n_correct, prepend=0.0)
    return float((gained * np.nan_to_num(quotient(n_correct, n))).sum() / n_gold) if n_gold else 0.0


def bin_sums(scores: Float64, is_correct: Bool) -> tuple[Int64, Float64]:
    """The bin of each mention, int64 [n], and what it adds to its bin: one, its score, whether it is correct, [n, 3].

    Ten bins of equal width; 1 belongs to the last.
    """
    bins = np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)
    return bins, np.stack([np.ones(len(scores)), scores, is_correct.astype(np.float64)], axis=1)


def calibration_error(sums: Float64) -> Float64:
    """The expected calibration error of sums by bin, [..., N_BINS, 3]: how far confidence is from correctness.

    Source: Naeini et al. 2015, equation 3, with bins of equal width; on mentions, not on tags.
    """
    gaps = np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1)
    return quotient(gaps, sums[..., 0].sum(axis=-1))


def bins_as_json(sums: Float64) -> list[dict[str, float | int]]:
    """The bins of sums [N_BINS, 3]: bounds, number of mentions, their mean confidence, the share that is correct."""
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
