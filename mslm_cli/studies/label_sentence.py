"""What a study with several shares of the labels says of labelling more, in one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from mslm_cli.evaluation.comparison import ALPHA
from mslm_cli.reporting.label_efficiency import bounded
from mslm_cli.studies.sentence import listed, points, signed
from mslm_cli.studies.spec import MIN_SEEDS


def label_sentence(found: Mapping[str, Any], vanilla: str, chosen: str | None) -> str:
    """The gain of the chosen arm with all labels, the labelled sentences it is worth, and what the next ones are worth.

    Args:
        found: the content of ``LabelEfficiency.to_json``. chosen: the arm that is best on dev, if there are others.
    """
    full = found["shares"][-1]
    have = f"With your {full['n_labelled']:,.0f} labelled sentences"
    others = [name for name in full["arms"] if name not in (vanilla, chosen)]
    n_seeds = min(len(full["arms"][name]["seeds"]) for name in (vanilla, chosen or vanilla) if name in full["arms"])
    if n_seeds < MIN_SEEDS:
        return f"{have}, nothing can be shown yet: {n_seeds} of at least {MIN_SEEDS} seeds are finished."
    parts = []
    if chosen is not None and _gains(full["arms"][chosen]):
        gain = full["arms"][chosen]["over_vanilla"]
        parts.append(
            f"{have}, {chosen} gains {points(gain['value'])} points"
            f" (95 % interval {points(gain['low'])} to {points(gain['high'])}) over {vanilla}"
            f"{_worth(full['arms'][chosen]['sentences_saved'])}"
        )
        parts += _not_shown([name for name in others if not _gains(full["arms"][name])])
    elif chosen is not None:
        parts.append(f"{have}, no arm is shown to gain over {vanilla}")
    else:
        parts.append(f"{have}, only {vanilla} was run")
    return "; ".join([*parts, _forecast(found["forecast"], vanilla)]) + "."


def overtaking_sentences(found: Mapping[str, Any]) -> list[str]:
    """The overtakings that are shown, one sentence each."""
    return [
        f"From about {of['n_labelled']:,.0f} labelled sentences on, {of['arm']} overtakes {of['overtakes']}."
        for of in found["overtakings"]
        if of["is_shown"]
    ]


def _worth(saved: Mapping[str, Any] | None) -> str:
    if saved is None:
        return ""
    if saved["value"] >= saved["most"]:
        return f", more than {saved['most']:,.0f} more labelled sentences would" if saved["most"] > 0 else ""
    low, high = (bounded(saved[name], saved, ("less than ", "more than ")) for name in ("low", "high"))
    by = " by the fitted curve" if saved["is_fitted"] else ""
    return f", as much as {saved['value']:,.0f} more labelled sentences ({low} to {high}{by})"


def _gains(arm: Mapping[str, Any]) -> bool:
    over = arm["over_vanilla"]
    return bool(over and over["value"] > 0 and over["corrected_p"] < ALPHA)


def _not_shown(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{listed(names)} {'is' if len(names) == 1 else 'are'} not shown to gain"]


def _forecast(forecast: Mapping[str, Any], vanilla: str) -> str:
    """What the next labelled sentences are worth, or why that cannot be told."""
    start = f"the next {forecast['n_more']} labelled sentences"
    if forecast["error"] is None:
        return f"what {start} are worth cannot be told from {forecast['n_points']} points of {vanilla}'s curve"
    if not forecast["is_usable"]:
        return (
            f"what {start} are worth cannot be told: a curve fitted without the last point misses it by"
            f" {points(abs(forecast['error']))} points"
        )
    gain = forecast["gain"]
    return (
        f"{start} are worth {signed(gain['value'])} points to {vanilla}"
        f" ({signed(gain['low'])} to {signed(gain['high'])})"
    )
