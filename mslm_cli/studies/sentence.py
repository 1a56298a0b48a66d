"""The verdict of a study in one sentence, and advice: never a winner unless one is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mslm_cli.evaluation.arm_scores import Estimate
from mslm_cli.evaluation.comparison import ALPHA, least_p
from mslm_cli.studies.spec import MIN_SEEDS

_MOST_NAMED = 3

Outcome = Literal["gain", "none", "loss", "few seeds", "alone"]


@dataclass(frozen=True)
class Compared:
    """A comparison with the arm ``name``: the difference, and its p corrected for the study's comparisons."""

    name: str
    difference: Estimate
    corrected_p: float

    @property
    def is_separated(self) -> bool:
        """Whether the difference is significant."""
        return self.corrected_p < ALPHA


@dataclass(frozen=True)
class Evidence:
    """The comparisons behind the verdict.

    arm: the arm that is best on dev, minus vanilla; None if vanilla is the only arm. others: each of the other arms,
    minus vanilla. rivals: the best arm on dev, minus each of the others. n_seeds: the lower number of seeds of the arm
    and vanilla. best_dev: the highest dev score of any arm. n_data: number of data sets. n_units, unit: number of test
    documents or sentences over all data sets. n_left: number of trials that have not finished.
    """

    vanilla: str
    arm: Compared | None
    others: Sequence[Compared]
    rivals: Sequence[Compared]
    n_seeds: int
    best_dev: float
    n_data: int
    n_units: int
    unit: str
    n_left: int = 0

    @property
    def can_tell(self) -> bool:
        """Whether any difference could be significant with this much test data, corrected for the number of arms."""
        return least_p(self.n_units) * (len(self.others) + 1) < ALPHA


@dataclass(frozen=True)
class Verdict:
    """The sentence, advice, and the arm whose model to use: vanilla unless another is shown to be better."""

    outcome: Outcome
    sentence: str
    advice: str
    use: str


def verdict_sentence(evidence: Evidence) -> Verdict:
    """The verdict on a study."""
    vanilla, arm = evidence.vanilla, evidence.arm
    if arm is None or not evidence.best_dev:
        return _incomparable(evidence)
    difference = arm.difference
    where = f", on average over {evidence.n_data} data sets" if evidence.n_data > 1 else ""
    if evidence.n_seeds < MIN_SEEDS:
        seeds = f"{evidence.n_seeds} seed{'s' * (evidence.n_seeds != 1)}"
        return Verdict(
            "few seeds",
            f"No conclusion: {arm.name} differs from {vanilla} by {signed(difference.value)} points{where}, but with"
            f" {seeds} per arm the variation between seeds is unknown.",
            f"{_more_seeds(evidence.n_left)} Until then keep {vanilla}.",
            vanilla,
        )
    if arm.is_separated and difference.value > 0:
        return Verdict(
            "gain",
            f"{arm.name} gains {points(difference.value)} points"
            f" (95 % interval {points(difference.low)} to {points(difference.high)}) over {vanilla}{where};"
            f" {_about_rivals(evidence.rivals)}.",
            f"Use the model of {arm.name}.",
            arm.name,
        )
    better = [other for other in evidence.others if other.is_separated and other.difference.value > 0]
    if arm.is_separated:
        start = "No arm helps here" if not better else "The best arm on dev does not help here"
        return Verdict(
            "loss",
            f"{start}: {arm.name}, the best on dev, loses {points(-difference.value)} points"
            f" (95 % interval {points(-difference.high)} to {points(-difference.low)}) against {vanilla}{where}"
            f"{_missed(better)}.",
            _keep(vanilla, better),
            vanilla,
        )
    if not evidence.can_tell:
        return Verdict(
            "none",
            f"{evidence.n_units} test {evidence.unit} are too few to show any difference: {arm.name}, the best on dev,"
            f" differs from {vanilla} by {signed(difference.value)} points"
            f" (95 % interval {signed(difference.low)} to {signed(difference.high)}, which is too narrow){where}.",
            f"Keep {vanilla} until you have more test {evidence.unit}; more seeds cannot replace them.",
            vanilla,
        )
    excludes_0 = difference.low > 0 or difference.high < 0
    start = f"No arm is shown to be better than {vanilla}" if not better else "The best arm on dev is not shown to help"
    return Verdict(
        "none",
        f"{start}: {arm.name}, the best on dev, differs from {vanilla} by {signed(difference.value)} points"
        f" (95 % interval {signed(difference.low)} to {signed(difference.high)}){where}"
        + f", not significant after correction for {len(evidence.others) + 1} arms" * excludes_0
        + f"{_missed(better)}.",
        _keep(vanilla, better),
        vanilla,
    )


def _incomparable(evidence: Evidence) -> Verdict:
    """The verdict on a study with one arm, or in which no arm learned anything."""
    vanilla = evidence.vanilla
    if evidence.arm is None and evidence.n_left:
        return Verdict("alone", f"Only {vanilla} has been run so far.", _wait(evidence.n_left), vanilla)
    if evidence.arm is None:
        return Verdict(
            "alone", f"Only {vanilla} was run: there is nothing to compare it with.", "Add arms to the study.", vanilla
        )
    return Verdict(
        "none",
        "No arm found a single mention on dev, so there is nothing to compare.",
        "Train longer: more epochs of fine-tuning, or smaller steps.",
        vanilla,
    )


def _more_seeds(n_left: int) -> str:
    return _wait(n_left) if n_left else f"Run it with at least {MIN_SEEDS} seeds; finished trials are kept."


def _wait(n_left: int) -> str:
    return f"Wait for {n_left} more trial{'s' * (n_left != 1)}, or run the same command again to go on with them."


def _missed(better: Sequence[Compared]) -> str:
    """The arm that is better on test but was not chosen on dev; choosing it now would be choosing on test."""
    if not better:
        return ""
    best = max(better, key=lambda other: other.difference.value)
    return f"; {best.name}, not chosen on dev, gains {points(best.difference.value)}"


def _keep(vanilla: str, better: Sequence[Compared]) -> str:
    if better:
        return f"Keep {vanilla}, or test {listed([other.name for other in better])} again on fresh data."
    return f"Keep {vanilla}, which costs least. More seeds, more text or a longer adaptation may show more."


def _about_rivals(rivals: Sequence[Compared]) -> str:
    if not rivals:
        return "no other arm was run"
    better = [rival for rival in rivals if rival.is_separated and rival.difference.value < 0]
    tied = [rival.name for rival in rivals if not rival.is_separated]
    parts = []
    if better:
        best = min(better, key=lambda rival: rival.difference.value)
        parts.append(f"but {best.name}, not chosen on dev, is {points(-best.difference.value)} points better")
    if tied:
        parts.append(f"the data do not separate it from {listed(tied)}")
    return "; ".join(parts) or f"it is also better than {listed([rival.name for rival in rivals])}"


def listed(names: Sequence[str]) -> str:
    """Up to three names, or the first and the number of the others."""
    if len(names) > _MOST_NAMED:
        return f"{names[0]} and {len(names) - 1} other arms"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def shortened(name: str, width: int) -> str:
    """``name``, cut to ``width`` characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def points(fraction: float) -> str:
    """A fraction in percentage points; a value that rounds to 0 has no sign."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def signed(fraction: float) -> str:
    """A fraction in percentage points, with its sign."""
    rounded = round(100 * fraction, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"
