"""The verdict of a study in one sentence, and what to do: never a winner where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mslm_cli.evaluation.arms import Estimate

MIN_SEEDS = 3
ALPHA = 0.05
_MOST_NAMED = 3

Outcome = Literal["gain", "none", "loss", "few seeds", "alone"]


@dataclass(frozen=True)
class Compared:
    """An arm against another: the difference, and its p corrected for all such comparisons of the study."""

    name: str
    difference: Estimate
    corrected_p: float

    @property
    def is_separated(self) -> bool:
        """Whether the difference is shown."""
        return self.corrected_p < ALPHA


@dataclass(frozen=True)
class Case:
    """What the sentence is about: the arm that is best on dev, against vanilla, and against all its rivals.

    arm: None where vanilla is the only one. n_data: number of data sets. against_vanilla has vanilla's name.
    rivals: of each, how much better the arm is than it.
    """

    arm: str | None
    n_seeds: int
    n_data: int
    against_vanilla: Compared | None
    rivals: Sequence[Compared]


@dataclass(frozen=True)
class Said:
    """The sentence, what to do, and which arm's model to use (``vanilla`` unless another is shown to be better)."""

    outcome: Outcome
    sentence: str
    advice: str
    use: str


def say(case: Case) -> Said:
    """The verdict on a study."""
    if case.arm is None or case.against_vanilla is None:
        return Said("alone", "Only vanilla was run: there is nothing to compare.", "Add arms to the study.", "vanilla")
    versus = case.against_vanilla
    vanilla, difference = versus.name, versus.difference
    where = f", on average over {case.n_data} data sets" if case.n_data > 1 else ""
    interval = f"(95 % from {_points(difference.low)} to {_points(difference.high)})"
    if case.n_seeds < MIN_SEEDS:
        seeds = f"{case.n_seeds} seed{'s' * (case.n_seeds > 1)}"
        return Said(
            "few seeds",
            f"Nothing is shown: {case.arm} differs from {vanilla} by {_points(difference.value)} points{where}, with"
            f" {seeds} an arm, and how much seeds differ from each other is not known.",
            f"Run it with at least {MIN_SEEDS} seeds; what is done is kept. Until then keep {vanilla}.",
            vanilla,
        )
    if not versus.is_separated:
        corrected = difference.low > 0 or difference.high < 0
        n = len(case.rivals) + 1
        return Said(
            "none",
            f"No arm is shown to be better than {vanilla}: {case.arm}, the best on dev, differs from it by"
            f" {_points(difference.value)} points {interval}{where}"
            + (f", which is not enough where {n} arms are compared." if corrected else "."),
            f"Keep {vanilla}, which costs least. More seeds, more text or a longer adaptation may tell more.",
            vanilla,
        )
    if difference.value < 0:
        return Said(
            "loss",
            f"No arm helps here: {case.arm}, the best on dev, loses {_points(-difference.value, signed=False)} points"
            f" (95 % from {_points(-difference.high, signed=False)} to {_points(-difference.low, signed=False)})"
            f" against {vanilla}{where}.",
            f"Keep {vanilla}.",
            vanilla,
        )
    bounds = f"(95 % from {_points(difference.low, signed=False)} to {_points(difference.high, signed=False)})"
    return Said(
        "gain",
        f"{case.arm} gains {_points(difference.value, signed=False)} points {bounds} over {vanilla}{where};"
        f" {_about_rivals(case.rivals)}.",
        f"Use the model of {case.arm}.",
        case.arm,
    )


def _about_rivals(rivals: Sequence[Compared]) -> str:
    better = [r for r in rivals if r.is_separated and r.difference.value < 0]
    tied = [r.name for r in rivals if not r.is_separated]
    if not rivals:
        return "it had no rival"
    parts = []
    if better:
        best = min(better, key=lambda r: r.difference.value)
        points = _points(-best.difference.value, signed=False)
        parts.append(f"but {best.name}, which dev did not choose, is {points} points better")
    if tied:
        parts.append(f"the data do not separate it from {_listed(tied)}")
    return "; ".join(parts) or f"it is better than {_listed([r.name for r in rivals])} too"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{names[0]} and {len(names) - 1} other arms"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _points(share: float, *, signed: bool = True) -> str:
    """A difference of shares in points; what rounds to nothing has no sign."""
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.1f}"
