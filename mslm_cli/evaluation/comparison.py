"""Paired comparisons of systems on the same test set: intervals, tests, and differences in each slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mslm_cli.evaluation.uncertainty import (
    SCORE_NAMES,
    Float64,
    distinct_rows,
    interval,
    parts,
    precision_recall_f1,
    resampled_totals,
)

ALPHA = 0.05
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class ComparedArm:
    """A system with one or more runs that differ only in their seeds.

    ``counts``: gold, predicted and correct mentions, float64 [n_runs, n_clusters, n_groups, 3]; the first group holds
    all mentions.
    """

    name: str
    counts: Float64

    @property
    def n_runs(self) -> int:
        return len(self.counts)

    @property
    def of_runs(self) -> Float64:
        """Precision, recall and F1 of each run, 0 where undefined: float64 [n_runs, n_groups, 3]."""
        return np.nan_to_num(precision_recall_f1(self.counts.sum(axis=1)))


def arm_replicates(arms: Sequence[ComparedArm], n_replicates: int, rng: np.random.Generator) -> list[Float64]:
    """For each arm, replicates of its mean precision, recall and F1 over runs: float64 [n_replicates, n_groups, 3].

    Clusters are drawn with replacement, the same ones for all arms and runs. Variation between seeds is added as
    Student's t with n_runs - 1 degrees of freedom times the standard error over the runs. Its variance is the variance
    of the runs minus the part due to sampling of sentences, which the drawn clusters already cover. For an arm with a
    single run, the variation between seeds is unknown and nothing is added.

    Source: Efron and Tibshirani 1993, chapter 6, for the sentences; the variance of runs as in a random-effects
    analysis of variance, truncated at 0; Bouthillier et al. 2021 for why both belong in the interval.
    """
    rows = [np.moveaxis(arm.counts, 0, 1).reshape(arm.counts.shape[1], -1) for arm in arms]
    totals = resampled_totals(np.concatenate(rows, axis=1), n_replicates, rng)
    found = []
    for arm, part in zip(arms, np.split(totals, np.cumsum([row.shape[1] for row in rows])[:-1], axis=1), strict=True):
        drawn = precision_recall_f1(part.reshape(n_replicates, arm.n_runs, *arm.counts.shape[2:]))
        means = drawn.mean(axis=1)
        if arm.n_runs > 1:
            by_sentences = np.nan_to_num(drawn - arm.of_runs).var(axis=1, ddof=1).mean(axis=0)
            by_seeds = np.maximum(arm.of_runs.var(axis=0, ddof=1) - by_sentences, 0.0)
            t = rng.standard_t(arm.n_runs - 1, size=n_replicates)
            means = means + t[:, None, None] * np.sqrt(by_seeds / arm.n_runs)
        found.append(means)
    return found


def bootstrap_p(differences: Float64) -> float:
    """Two-sided bootstrap p-value of no difference, from differences [n_replicates]; 1 if none is defined.

    It is below a level exactly if the percentile interval of that level excludes 0.
    """
    defined = differences[~np.isnan(differences)]
    n = len(defined) + 1
    tails = ((defined <= _SAME).sum() + 1, (defined >= -_SAME).sum() + 1)
    return min(1.0, 2 * float(min(tails)) / n)


def randomisation_p(one: Float64, other: Float64, n_replicates: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the difference in F1 under random exchange of the two systems in each cluster.

    Clusters where both have the same counts can be skipped; for clusters with the same pair of counts it is enough to
    draw how many are exchanged.

    Args:
        one, other: gold, predicted and correct mentions, float64 [n_clusters, 3] each, averaged over an arm's runs.

    Source: Noreen 1989, chapter 2; Yeh 2000.
    """
    totals = one.sum(axis=0), other.sum(axis=0)
    pairs = np.concatenate([one, other], axis=1)[np.abs(one - other).max(axis=1, initial=0.0) > _SAME]
    if not len(pairs):
        return 1.0
    distinct, counts = distinct_rows(pairs)
    change = distinct[:, 3:] - distinct[:, :3]
    observed = abs(_f1(totals[1]) - _f1(totals[0]))
    n_as_large = 0
    for part in parts(n_replicates, len(distinct)):
        moved = rng.binomial(counts, 0.5, size=(part.stop - part.start, len(counts))) @ change
        n_as_large += int((np.abs(_f1(totals[1] - moved) - _f1(totals[0] + moved)) >= observed - _SAME).sum())
    return (n_as_large + 1) / (n_replicates + 1)


def least_p(n_clusters: int) -> float:
    """The lowest p-value of a randomisation test: exchanging none or all clusters gives the same difference."""
    return min(1.0, 2.0 ** (1 - n_clusters))


def _f1(counts: Float64) -> Float64:
    return np.nan_to_num(precision_recall_f1(counts)[..., 2])


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, corrected for multiple comparisons, in the given order.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.zeros(len(p_values))
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return [float(p) for p in corrected]


def with_interval(value: float, replicates: Float64) -> dict[str, float]:
    """A value and the bounds of its 95 % interval."""
    low, high = interval(replicates)
    return {"value": float(value), "low": low, "high": high}


def compared(
    arms: Sequence[ComparedArm], groups: Sequence[str], n_replicates: int, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The arms' scores, and the differences of all pairs of arms (the later minus the earlier), as JSON values.

    A difference in F1 holds up if both tests are significant, each corrected for the number of pairs. Within the groups
    of a pair the bootstrap alone decides, corrected for the number of groups.
    """
    replicates = arm_replicates(arms, n_replicates, rng)
    shown: list[dict[str, Any]] = []
    for arm, drawn in zip(arms, replicates, strict=True):
        runs = arm.of_runs[:, 0]
        scores: dict[str, Any] = {}
        for i, metric in enumerate(SCORE_NAMES):
            sd = float(runs[:, i].std(ddof=1)) if arm.n_runs > 1 else None
            scores[metric] = {
                **with_interval(runs[:, i].mean(), drawn[:, 0, i]),
                "sd": sd,
                "runs": runs[:, i].tolist(),
            }
        shown.append({"name": arm.name, "n_runs": arm.n_runs, **scores})
    pairs: list[dict[str, Any]] = []
    for i, j in combinations(range(len(arms)), 2):
        one, other, difference = arms[i], arms[j], replicates[j] - replicates[i]
        values = other.of_runs.mean(axis=0) - one.of_runs.mean(axis=0)
        of_groups: list[dict[str, Any]] = [
            {
                "name": name,
                "f1": [float(arm.of_runs[:, g, 2].mean()) for arm in (one, other)],
                "difference": with_interval(values[g, 2], difference[:, g, 2]),
                "p_bootstrap": bootstrap_p(difference[:, g, 2]),
            }
            for g, name in enumerate(groups)
        ]
        first, second = (arm.counts[:, :, 0].mean(axis=0) for arm in (one, other))
        pairs.append(
            {
                "arms": [one.name, other.name],
                "difference": {s: with_interval(values[0, k], difference[:, 0, k]) for k, s in enumerate(SCORE_NAMES)},
                "p_bootstrap": of_groups[0]["p_bootstrap"],
                "p_randomisation": randomisation_p(first, second, n_replicates, rng),
                "slices": of_groups[1:],
            }
        )
    for test in ("p_bootstrap", "p_randomisation"):
        for pair, p in zip(pairs, holm([pair[test] for pair in pairs]), strict=True):
            pair[f"{test}_holm"] = p
    for pair in pairs:
        pair["holds_up"] = max(pair["p_bootstrap_holm"], pair["p_randomisation_holm"]) < ALPHA
        corrected = holm([of["p_bootstrap"] for of in pair["slices"]])
        for of, p in zip(pair["slices"], corrected, strict=True):
            of |= {"p_bootstrap_holm": p, "holds_up": p < ALPHA}
    return shown, pairs
