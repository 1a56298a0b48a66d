"""Arms with several seeds each on one or more test sets: how high they score, and what separates them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mslm_cli.evaluation.comparison import Arm, arm_replicates, bootstrap_p, randomisation_p
from mslm_cli.evaluation.uncertainty import Float64, interval

N_REPLICATES = 5000
_F1 = 2


@dataclass(frozen=True)
class Estimate:
    """A value in shares, the bounds of its 95 % interval, and the two-sided p of the hypothesis that it is 0."""

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, float]:
        """All of it."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p}


class ArmScores:
    """F1 of arms, by their names, averaged over test sets; other sentences and other seeds are in every interval.

    Args:
        arms: by test set; every test set has the same arms. Within one, all have the same clusters and groups.

    Source: ``evaluation.comparison``, whose replicates are averaged over the test sets, drawn each for itself.
    """

    def __init__(self, arms: Mapping[str, Sequence[Arm]], n_replicates: int = N_REPLICATES, seed: int = 0) -> None:
        self._n_replicates, self._seed = n_replicates, seed
        self._arms = {data: {arm.name: arm for arm in of_data} for data, of_data in arms.items()}
        self._replicates = {
            (data, arm.name): replicates
            for i, (data, of_data) in enumerate(arms.items())
            for arm, replicates in zip(
                of_data, arm_replicates(of_data, n_replicates, np.random.default_rng([seed, i])), strict=True
            )
        }

    def score(self, name: str, data: Sequence[str] = ()) -> Estimate:
        """The arm's F1 over these test sets (all, if none is named)."""
        value, replicates = self._mean(name, data, 0)
        low, high = (min(max(bound, 0.0), 1.0) for bound in interval(replicates))
        return Estimate(value, low, high, bootstrap_p(replicates))

    def difference(self, name: str, other: str, data: Sequence[str] = (), group: int = 0) -> Estimate:
        """How much higher the F1 of the arm is than that of the other, in all or in one group of the mentions.

        The p is the larger one of bootstrap and randomisation; the latter exchanges the clusters of all test sets, and
        is of all mentions. In a group it is the bootstrap's.
        """
        (value, replicates), (of_other, others) = (self._mean(n, data, group) for n in (name, other))
        apart = replicates - others
        p, (low, high) = bootstrap_p(apart), interval(apart)
        if group == 0:
            rng = np.random.default_rng(self._seed)
            one, two = (
                np.concatenate([self._arms[d][n].counts[:, :, 0].mean(axis=0) for d in data or self._arms])
                for n in (name, other)
            )
            p = max(p, randomisation_p(one, two, self._n_replicates, rng))
        return Estimate(value - of_other, low, high, p)

    def of_seeds(self, name: str, data: str) -> Float64:
        """Precision, recall and F1 on a test set with each seed: float64 [n_seeds, 3]."""
        return self._arms[data][name].of_runs[:, 0]

    def _mean(self, name: str, data: Sequence[str], group: int) -> tuple[float, Float64]:
        chosen = list(data or self._arms)
        value = float(np.mean([self._arms[d][name].of_runs[:, group, _F1].mean() for d in chosen]))
        replicates: Float64 = np.mean([self._replicates[d, name][:, group, _F1] for d in chosen], axis=0)
        return value, replicates
