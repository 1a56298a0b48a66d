"""What labelled sentences are worth on one test set: learning curves of arms, sentences saved, and a forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli.evaluation import learning_curve
from mslm_cli.evaluation.arm_scores import N_REPLICATES, Estimate
from mslm_cli.evaluation.comparison import ALPHA, bootstrap_p, holm, randomisation_p
from mslm_cli.evaluation.learning_curve import PowerLaw
from mslm_cli.evaluation.uncertainty import Float64, interval, precision_recall_f1, resampled_totals

NEXT_SENTENCES = 200
MAX_ERROR = 0.02
"""A power law that misses the last point by more, when fitted without it, is no basis for a forecast."""


class Labelled(NamedTuple):
    """Numbers of labelled sentences."""

    train: float
    dev: float

    @property
    def total(self) -> float:
        """Both together: what has to be labelled."""
        return self.train + self.dev


@dataclass(frozen=True)
class Cell:
    """An arm with one share of the labels: its seeds and their gold, predicted and correct mentions.

    ``counts``: float64 [n_seeds, n_clusters, 3].
    """

    arm: str
    share: float
    seeds: tuple[int, ...]
    counts: Float64

    @cached_property
    def f1_of_seeds(self) -> Float64:
        """F1 of each seed, 0 where undefined: float64 [n_seeds]."""
        return np.nan_to_num(precision_recall_f1(self.counts.sum(axis=1))[:, 2])

    @property
    def f1(self) -> float:
        """The mean F1 over seeds."""
        return float(self.f1_of_seeds.mean())

    def only(self, seeds: Sequence[int]) -> "Cell":
        """The same with these seeds alone."""
        return Cell(self.arm, self.share, tuple(seeds), self.counts[[self.seeds.index(seed) for seed in seeds]])


def paired_replicates(cells: Sequence[Cell], n_replicates: int, rng: np.random.Generator) -> Float64:
    """Replicates of the mean F1 of each cell: float64 [n_cells, n_replicates].

    Clusters are drawn with replacement, the same ones for all cells. Variation between seeds is added as in
    ``comparison.arm_replicates``, except that a seed, which draws the labelled sentences of all arms, moves all cells
    together: what is added has a multivariate t distribution with the covariance of the cells over seeds, minus the
    part that is due to sampling of sentences. So the variance of a difference is that of the differences of each seed.

    Source: as ``comparison.arm_replicates``.
    """
    n_clusters = cells[0].counts.shape[1]
    totals = resampled_totals(
        np.concatenate([np.moveaxis(cell.counts, 0, 1).reshape(n_clusters, -1) for cell in cells], axis=1),
        n_replicates,
        rng,
    )
    parts = np.split(totals, np.cumsum([3 * len(cell.seeds) for cell in cells])[:-1], axis=1)
    drawn = [np.nan_to_num(precision_recall_f1(part.reshape(n_replicates, -1, 3))[..., 2]) for part in parts]
    moved = _seed_factor(cells, drawn) @ rng.standard_normal((len(cells), n_replicates))
    tails = {1: np.zeros(n_replicates)}
    for k in sorted({len(cell.seeds) for cell in cells} - {1}):
        tails[k] = np.sqrt((k - 1) / rng.chisquare(k - 1, n_replicates))
    return np.stack(
        [of.mean(axis=1) + tails[len(cell.seeds)] * m for cell, of, m in zip(cells, drawn, moved, strict=True)]
    )


def _seed_factor(cells: Sequence[Cell], drawn: Sequence[Float64]) -> Float64:
    """A factor L, [n_cells, n_cells], of the covariance L L' that seeds alone give to the means of cells.

    Args:
        drawn: F1 of each seed in each replicate, [n_replicates, n_seeds] for each cell.
    """
    by_seeds: dict[tuple[int, ...], list[int]] = {}
    for i, cell in enumerate(cells):
        by_seeds.setdefault(cell.seeds, []).append(i)
    covariance = np.zeros((len(cells), len(cells)))
    for (seeds, rows), (other_seeds, columns) in product(by_seeds.items(), repeat=2):
        common = [seed for seed in seeds if seed in other_seeds]
        if len(common) < 2:
            continue
        observed, deviations = [], []
        for own, numbers in ((seeds, rows), (other_seeds, columns)):
            at = [own.index(seed) for seed in common]
            f1 = np.stack([cells[i].f1_of_seeds[at] for i in numbers], axis=-1)
            of_drawn = np.stack([drawn[i][:, at] for i in numbers], axis=-1) - f1
            observed.append(f1 - f1.mean(axis=0))
            deviations.append((of_drawn - of_drawn.mean(axis=1, keepdims=True)).reshape(-1, len(numbers)))
        by_sentences = deviations[0].T @ deviations[1] / len(drawn[0])
        by_seeds_alone = (observed[0].T @ observed[1] - by_sentences) / (len(common) - 1)
        covariance[np.ix_(rows, columns)] = by_seeds_alone * len(common) / (len(seeds) * len(other_seeds))
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    factor: Float64 = vectors * np.sqrt(values.clip(0))
    return factor


class LabelEfficiency:
    """Arms with several shares of the labels, on one test set.

    Args:
        cells: all finished cells; vanilla has one for each share, and at each share an arm is compared with it over the
            seeds that both have.
        n_labelled: the numbers of labelled sentences, by share.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        n_labelled: Mapping[float, Labelled],
        vanilla: str,
        n_replicates: int = N_REPLICATES,
        seed: int = 0,
    ) -> None:
        self.vanilla = vanilla
        self._n = {share: labelled.total for share, labelled in n_labelled.items()}
        self._n_train = {share: labelled.train for share, labelled in n_labelled.items()}
        self._cells = {(cell.arm, cell.share): cell for cell in cells}
        self.arms = list(dict.fromkeys([vanilla, *(cell.arm for cell in cells)]))
        self.shares = sorted(share for arm, share in self._cells if arm == vanilla)
        wanted: list[Cell] = list(self._cells.values())
        for one, other in self._pairs():
            common = [seed for seed in one.seeds if seed in other.seeds]
            wanted += [cell.only(common) for cell in (one, other) if common and len(common) < len(cell.seeds)]
        self._columns = {(cell.arm, cell.share, cell.seeds): i for i, cell in enumerate(wanted)}
        self._replicates = paired_replicates(wanted, n_replicates, np.random.default_rng(seed))
        self._n_replicates, self._seed = n_replicates, seed

    def _pairs(self) -> list[tuple[Cell, Cell]]:
        return [
            (self._cells[one, share], self._cells[other, share])
            for share in self.shares
            for one, other in combinations(self.arms, 2)
            if (one, share) in self._cells and (other, share) in self._cells
        ]

    def _of(self, cell: Cell) -> Float64:
        replicates: Float64 = self._replicates[self._columns[cell.arm, cell.share, cell.seeds]]
        return replicates

    def _common(self, one: str, other: str, share: float) -> tuple[Cell, Cell] | None:
        """The cells of two arms, with the seeds that both have; None if there are none."""
        a, b = self._cells.get((one, share)), self._cells.get((other, share))
        if a is None or b is None:
            return None
        common = [seed for seed in a.seeds if seed in b.seeds]
        return (a.only(common), b.only(common)) if common else None

    def difference(self, one: str, other: str, share: float) -> Estimate | None:
        """F1 of ``one`` minus that of ``other``, over the seeds that both have; None if there are none.

        p is the larger of two tests, the paired bootstrap and randomisation, as in ``arm_scores``.
        """
        pair = self._common(one, other, share)
        if pair is None:
            return None
        differences = self._of(pair[0]) - self._of(pair[1])
        low, high = interval(differences)
        counts, of_other = (cell.counts.mean(axis=0) for cell in pair)
        rng = np.random.default_rng([self._seed, 1])
        p = max(bootstrap_p(differences), randomisation_p(counts, of_other, self._n_replicates, rng))
        return Estimate(pair[0].f1 - pair[1].f1, low, high, p)

    @cached_property
    def numbers(self) -> Float64:
        """The numbers of labelled sentences on vanilla's curve, ascending and distinct."""
        return np.array([self._n[share] for share in self._curve_shares])

    @cached_property
    def _curve_shares(self) -> list[float]:
        """The shares on vanilla's curve, by number of sentences; of shares with the same number, the largest."""
        by_number = {self._n[share]: share for share in self.shares}
        return [by_number[n] for n in sorted(by_number)]

    @cached_property
    def _vanilla(self) -> tuple[Float64, Float64]:
        """Vanilla's F1 on its curve: the means, [1, n_points], and their replicates, [n_replicates, n_points]."""
        cells = [self._cells[self.vanilla, share] for share in self._curve_shares]
        return np.array([[cell.f1 for cell in cells]]), np.stack([self._of(cell) for cell in cells], axis=1)

    def sentences_saved(self, arm: str, share: float) -> dict[str, Any] | None:
        """The labelled sentences with which vanilla does as well as the arm, less those that the arm has.

        An arm is at vanilla's curve plus its gain over vanilla with the same sentences. ``value``, ``low`` and
        ``high`` lie between ``least`` and ``most``, the ends of what is known; at an end they mean "at most" and "at
        least". Beyond the measured points the fitted power law is followed, if ``forecast`` trusts it.
        """
        pair = self._common(arm, self.vanilla, share)
        if pair is None or share not in self._curve_shares:
            return None
        own, at = self._n[share], self._curve_shares.index(share)
        gains = self._of(pair[0]) - self._of(pair[1]) if arm != self.vanilla else np.zeros(self._n_replicates)
        is_fitted = bool(self.forecast["is_usable"])
        most = self.numbers[-1] * (learning_curve.FARTHEST if is_fitted else 1)
        found = []
        gain = np.array([pair[0].f1 - pair[1].f1])
        laws = self._laws if is_fitted else (None, None)
        for level, law, of_gain in zip(self._levels, laws, (gain, gains), strict=True):
            needed = learning_curve.sentences_at(self.numbers, level, level[:, at] + of_gain, own)
            if law is not None:
                n_train = law.sentences_beyond(self._train[-1], level[:, at] + of_gain - level[:, -1])
                beyond = self.numbers[-1] * n_train / self._train[-1]
                needed = np.where(np.isposinf(needed), beyond, needed)
            found.append(np.clip(needed, self.numbers[0], most) - own)
        low, high = interval(found[1])
        return {
            "value": float(found[0][0]),
            "low": low,
            "high": high,
            "least": float(self.numbers[0] - own),
            "most": float(most - own),
            "is_fitted": is_fitted and bool(found[0][0] + own > self.numbers[-1]),
        }

    @cached_property
    def _train(self) -> Float64:
        """The numbers of training sentences on vanilla's curve."""
        return np.array([self._n_train[share] for share in self._curve_shares])

    @cached_property
    def _levels(self) -> tuple[Float64, Float64]:
        """Vanilla's curves, made non-decreasing: that of the means, and those of the replicates."""
        means, replicates = self._vanilla
        return learning_curve.monotone(means), learning_curve.monotone(replicates)

    @cached_property
    def _laws(self) -> tuple[PowerLaw, PowerLaw]:
        """Power laws of the training sentences fitted to vanilla's means, and to its replicates.

        Not of all labelled sentences: small shares have more dev sentences for each training sentence.
        """
        n, (means, replicates) = self._train[self._begun], self._vanilla
        return (
            learning_curve.fit_power_law(n, means[:, self._begun]),
            learning_curve.fit_power_law(n, replicates[:, self._begun]),
        )

    @cached_property
    def _begun(self) -> NDArray[np.bool_]:
        return learning_curve.has_begun(self._vanilla[0][0])

    @cached_property
    def forecast(self) -> dict[str, Any]:
        """What the next labelled sentences are worth to vanilla, from a power law fitted to its curve.

        They are divided into train and dev as those with the largest share are.
        ``error``: what the last point is above the law fitted without it; None if there are too few points.
        ``is_usable``: whether there are enough, and the error is small.
        """
        n, means = self._train[self._begun], self._vanilla[0][0, self._begun]
        found: dict[str, Any] = {"n_more": NEXT_SENTENCES, "n_points": len(n), "error": None, "is_usable": False}
        if len(n) < learning_curve.MIN_POINTS:
            return found
        error = learning_curve.last_point_error(n, means)
        more = NEXT_SENTENCES * n[-1] / self.numbers[self._begun][-1]
        value, gains = (law.at(n[-1] + more) - law.at(n[-1]) for law in self._laws)
        low, high = interval(gains)
        law = self._laws[0]
        return found | {
            "error": error,
            "is_usable": abs(error) <= MAX_ERROR,
            "gain": {"value": float(value[0]), "low": low, "high": high},
            "law": {"a": float(law.a[0]), "b": float(law.b[0]), "c": float(law.c[0])},
        }

    def overtakings(self) -> list[dict[str, Any]]:
        """Where one arm overtakes another; shown if the one ahead is so significantly on either side."""
        found = []
        for one, other in combinations(self.arms, 2):
            pairs = {share: self._common(one, other, share) for share in self._curve_shares}
            ahead = {self._n[share]: pair[0].f1 - pair[1].f1 for share, pair in pairs.items() if pair}
            for at in learning_curve.overtakings(np.array(list(ahead)), np.array(list(ahead.values()))):
                was_ahead = np.sign([d for n, d in ahead.items() if n < at and d][-1])
                differences = {share: self.difference(one, other, share) for share in self._curve_shares}
                shown = {
                    (self._n[share] < at, np.sign(e.value)) for share, e in differences.items() if e and e.p < ALPHA
                }
                winner, loser = (other, one) if was_ahead > 0 else (one, other)
                is_shown = {(True, was_ahead), (False, -was_ahead)} <= shown
                found.append({"arm": winner, "overtakes": loser, "n_labelled": at, "is_shown": is_shown})
        return found

    def to_json(self) -> dict[str, Any]:
        """All results as JSON values."""
        rows = []
        for share in self.shares:
            others = [arm for arm in self.arms if arm != self.vanilla]
            over = {arm: e for arm in others if (e := self.difference(arm, self.vanilla, share)) is not None}
            corrected = dict(zip(over, holm([e.p for e in over.values()]), strict=True))
            arms = {}
            for arm in self.arms:
                if (cell := self._cells.get((arm, share))) is None:
                    continue
                low, high = interval(self._of(cell).clip(0, 1))
                arms[arm] = {
                    "seeds": list(cell.seeds),
                    "f1": {"value": cell.f1, "low": low, "high": high},
                    "f1_of_seeds": cell.f1_of_seeds.tolist(),
                    "over_vanilla": {**over[arm].to_json(), "corrected_p": corrected[arm]} if arm in over else None,
                    "sentences_saved": self.sentences_saved(arm, share) if arm in over else None,
                }
            rows.append({"share": share, "n_labelled": self._n[share], "n_train": self._n_train[share], "arms": arms})
        return {"shares": rows, "forecast": self.forecast, "overtakings": self.overtakings()}
