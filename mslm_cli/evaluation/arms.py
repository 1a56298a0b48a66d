"""Arms of a comparison, each trained with several seeds and scored on one or more test sets: what separates them.

Two things are uncertain: which sentences (or documents) a test set happens to hold, and which seeds happened to be
drawn. The variance of the first is bootstrapped, that of the second is the seeds' own, and both are in every interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float64 = NDArray[np.float64]

N_REPLICATES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value in shares, the bounds of its 95 % interval, and the two-sided p that it is truly 0."""

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p}


@dataclass(frozen=True)
class Runs:
    """One arm on one test set: gold, predicted and correct mentions, float64 [n_seeds, n_clusters, 3].

    weights: how often each cluster is drawn, float64 [n_replicates, n_clusters]; the same for arms that are compared.
    """

    counts: Float64
    weights: Float64

    @property
    def of_seeds(self) -> Float64:
        """F1 on the whole test set: float64 [n_seeds]."""
        return f1(self.counts.sum(axis=1))

    @property
    def of_replicates(self) -> Float64:
        """F1 averaged over seeds, on each resampled test set: float64 [n_replicates]."""
        n_seeds, n_clusters, _ = self.counts.shape
        columns = np.moveaxis(self.counts, 1, 0).reshape(n_clusters, -1)
        of_seeds = f1((self.weights @ columns).reshape(-1, n_seeds, 3))
        mean: Float64 = of_seeds.mean(axis=1)
        return mean


def f1(counts: Float64) -> Float64:
    """F1 of gold, predicted and correct counts, [..., 3]; 0 where there are none."""
    total = counts[..., 0] + counts[..., 1]
    return np.divide(2 * counts[..., 2], total, out=np.zeros(total.shape), where=total != 0)


def draw_weights(n_clusters: int, seed: int, n_replicates: int = N_REPLICATES) -> Float64:
    """How often each cluster is drawn in each replicate: float64 [n_replicates, n_clusters]."""
    drawn = np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_replicates)
    return drawn.astype(np.float64)


def score(arm: Sequence[Runs]) -> Estimate:
    """The arm's F1, averaged over its test sets."""
    return _estimate([(runs.of_seeds, runs.of_replicates) for runs in arm])


def difference(arm: Sequence[Runs], other: Sequence[Runs]) -> Estimate:
    """How much higher the F1 of ``arm`` is, averaged over their test sets, in the same order.

    Both are paired: the same clusters are drawn for both, and their n-th runs have the same seed.
    """
    return _estimate(
        [(a.of_seeds - b.of_seeds, a.of_replicates - b.of_replicates) for a, b in zip(arm, other, strict=True)]
    )


def _estimate(parts: Sequence[tuple[Float64, Float64]]) -> Estimate:
    """The mean over test sets of what was found with each seed and on each resampled test set.

    Source: Welch (1947) and Satterthwaite (1946) for the degrees of freedom of a sum of variances. The bootstrapped
    variance counts as known; with few seeds theirs does not, and the interval grows by Student's t.
    """
    n = len(parts)
    value = float(np.mean([of_seeds.mean() for of_seeds, _ in parts]))
    of_sentences = sum(float(replicates.var(ddof=1)) for _, replicates in parts) / n**2
    of_seeds = [(float(seeds.var(ddof=1)) / len(seeds) / n**2, len(seeds) - 1) for seeds, _ in parts if len(seeds) > 1]
    variance = of_sentences + sum(v for v, _ in of_seeds)
    if variance == 0:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0)
    spread = sum(v**2 / freedom for v, freedom in of_seeds)
    freedom = variance**2 / spread if spread else np.inf
    error = variance**0.5
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Estimate(value, value - reach, value + reach, float(2 * stats.t.sf(abs(value) / error, freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, each raised so that the chance of any false finding among all of them stays what it says.

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
