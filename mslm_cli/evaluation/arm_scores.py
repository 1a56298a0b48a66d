"""F1 and differences in F1 of arms with several seeds, over one or more test sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mslm_cli.evaluation.comparison import ComparedArm, arm_replicates, bootstrap_p, randomisation_p
from mslm_cli.evaluation.uncertainty import Float64, interval

N_REPLICATES = 5000
_F1 = 2


@dataclass(frozen=True)
class Estimate:
    """A value (as a fraction), the bounds of its 95 % interval, and the two-sided p-value of it being 0."""

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, float]:
        """All fields, by name."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p}


class ArmScores:
    """F1 of arms, averaged over test sets; every interval accounts for sampling of sentences and of seeds.

    Args:
        arms: by test set; each has the same arms, and within a test set all have the same clusters and groups.

    Source: ``evaluation.comparison``; replicates are drawn independently for each test set and averaged.
    """

    def __init__(
        self, arms: Mapping[str, Sequence[ComparedArm]], n_replicates: int = N_REPLICATES, seed: int = 0
    ) -> None:
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
        """The arm's mean F1 over these test sets (default: all)."""
        value, replicates = self._mean(name, data, 0)
        low, high = (min(max(bound, 0.0), 1.0) for bound in interval(replicates))
        return Estimate(value, low, high, bootstrap_p(replicates))

    def difference(self, name: str, other: str, data: Sequence[str] = (), group: int = 0) -> Estimate:
        """F1 of ``name`` minus F1 of ``other``, on one group of mentions (0: all mentions).

        For all mentions, p is the larger of the p-values of the bootstrap and of a randomisation test over the clusters
        of all test sets; for other groups it is the bootstrap's.
        """
        (value, replicates), (of_other, others) = (self._mean(n, data, group) for n in (name, other))
        differences = replicates - others
        p, (low, high) = bootstrap_p(differences), interval(differences)
        if group == 0:
            rng = np.random.default_rng(self._seed)
            one, two = (
                np.concatenate([self._arms[d][n].counts[:, :, 0].mean(axis=0) for d in data or self._arms])
                for n in (name, other)
            )
            p = max(p, randomisation_p(one, two, self._n_replicates, rng))
        return Estimate(value - of_other, low, high, p)

    def of_seeds(self, name: str, data: str) -> Float64:
        """Precision, recall and F1 of each seed on a test set: float64 [n_seeds, 3]."""
        return self._arms[data][name].of_runs[:, 0]

    def _mean(self, name: str, data: Sequence[str], group: int) -> tuple[float, Float64]:
        chosen = list(data or self._arms)
        value = float(np.mean([self._arms[d][name].of_runs[:, group, _F1].mean() for d in chosen]))
        replicates: Float64 = np.mean([self._replicates[d, name][:, group, _F1] for d in chosen], axis=0)
        return value, replicates
