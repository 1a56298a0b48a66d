"""The verdict of a study in one sentence, and what to do: never a winner where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mslm_cli.evaluation.arm_scores import Estimate
from mslm_cli.evaluation.comparison import ALPHA, least_p

MIN_SEEDS = 3
_MOST_NAMED = 3

Outcome = Literal["gain", "none", "loss", "few seeds", "alone"]


@dataclass(frozen=True)
class Compared:
    """A difference that has to do with the arm ``name``, and its p corrected for all such comparisons of the study."""

    name: str
    difference: Estimate
    corrected_p: float

    @property
    def is_separated(self) -> bool:
        """Whether the difference is shown."""
        return self.corrected_p < ALPHA


@dataclass(frozen=True)
class Evidence:
    """What the sentence is about.

    arm: how much better the arm that is best on dev is than vanilla; None where there is no other arm.
    others: how much better than vanilla the other arms are. rivals: how much better the arm is than each of them.
    n_seeds: that the arm and vanilla have in common. n_data: number of data sets. n_units, unit: how many documents or
    sentences the test data have in all.
    """

    vanilla: str
    arm: Compared | None
    others: Sequence[Compared]
    rivals: Sequence[Compared]
    n_seeds: int
    n_data: int
    n_units: int
    unit: str

    @property
    def can_tell(self) -> bool:
        """Whether the test data are enough for any difference to be shown, corrected for the number of arms."""
        return least_p(self.n_units) * (len(self.others) + 1) < ALPHA


@dataclass(frozen=True)
class Verdict:
    """The sentence, what to do, and the arm whose model to use: vanilla unless another is shown to be better."""

    outcome: Outcome
    sentence: str
    advice: str
    use: str


def verdict_sentence(evidence: Evidence) -> Verdict:
    """The verdict on a study."""
    vanilla, arm = evidence.vanilla, evidence.arm
    if arm is None:
        return Verdict(
            "alone", f"Only {vanilla} was run: there is nothing to compare.", "Add arms to the study.", vanilla
        )
    difference = arm.difference
    where = f", on average over {evidence.n_data} data sets" if evidence.n_data > 1 else ""
    if evidence.n_seeds < MIN_SEEDS:
        seeds = f"{evidence.n_seeds} seed{'s' * (evidence.n_seeds != 1)}"
        return Verdict(
            "few seeds",
            f"Nothing is shown: {arm.name} differs from {vanilla} by {_signed(difference.value)} points{where}, with"
            f" {seeds} an arm, and how much seeds differ from each other is not known.",
            f"Run it with at least {MIN_SEEDS} seeds; what is done is kept. Until then keep {vanilla}.",
            vanilla,
        )
    if arm.is_separated and difference.value > 0:
        return Verdict(
            "gain",
            f"{arm.name} gains {_points(difference.value)} points"
            f" (95 % from {_points(difference.low)} to {_points(difference.high)}) over {vanilla}{where};"
            f" {_about_rivals(evidence.rivals)}.",
            f"Use the model of {arm.name}.",
            arm.name,
        )
    better = [other for other in evidence.others if other.is_separated and other.difference.value > 0]
    if arm.is_separated:
        start = "No arm helps here" if not better else "The best arm on dev does not help here"
        return Verdict(
            "loss",
            f"{start}: {arm.name}, the best on dev, loses {_points(-difference.value)} points"
            f" (95 % from {_points(-difference.high)} to {_points(-difference.low)}) against {vanilla}{where}"
            f"{_missed(better)}.",
            _keep(vanilla, better),
            vanilla,
        )
    if not evidence.can_tell:
        return Verdict(
            "none",
            f"Nothing can be shown with {evidence.n_units} {evidence.unit} of test data: {arm.name}, the best on dev,"
            f" differs from {vanilla} by {_signed(difference.value)} points"
            f" (95 % from {_signed(difference.low)} to {_signed(difference.high)}, which is too narrow){where}.",
            f"Keep {vanilla} until there are more {evidence.unit} to test on; more seeds cannot make up for them.",
            vanilla,
        )
    excludes_0 = difference.low > 0 or difference.high < 0
    start = f"No arm is shown to be better than {vanilla}" if not better else "The best arm on dev is not shown to help"
    return Verdict(
        "none",
        f"{start}: {arm.name}, the best on dev, differs from {vanilla} by {_signed(difference.value)} points"
        f" (95 % from {_signed(difference.low)} to {_signed(difference.high)}){where}"
        + f", which is not enough where {len(evidence.others) + 1} arms are compared" * excludes_0
        + f"{_missed(better)}.",
        _keep(vanilla, better),
        vanilla,
    )


def _missed(better: Sequence[Compared]) -> str:
    """Arms that test likes and dev did not choose; to choose one now would be to choose on test."""
    if not better:
        return ""
    best = max(better, key=lambda other: other.difference.value)
    return f"; {best.name}, which dev did not choose, gains {_points(best.difference.value)}"


def _keep(vanilla: str, better: Sequence[Compared]) -> str:
    if better:
        return f"Keep {vanilla}, or test {_listed([other.name for other in better])} again on fresh data."
    return f"Keep {vanilla}, which costs least. More seeds, more text or a longer adaptation may tell more."


def _about_rivals(rivals: Sequence[Compared]) -> str:
    if not rivals:
        return "it had no rival"
    better = [rival for rival in rivals if rival.is_separated and rival.difference.value < 0]
    tied = [rival.name for rival in rivals if not rival.is_separated]
    parts = []
    if better:
        best = min(better, key=lambda rival: rival.difference.value)
        parts.append(f"but {best.name}, which dev did not choose, is {_points(-best.difference.value)} points better")
    if tied:
        parts.append(f"the data do not separate it from {_listed(tied)}")
    return "; ".join(parts) or f"it is better than {_listed([rival.name for rival in rivals])} too"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{names[0]} and {len(names) - 1} other arms"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _points(share: float) -> str:
    """A share in points; what rounds to nothing has no sign."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def _signed(share: float) -> str:
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"
