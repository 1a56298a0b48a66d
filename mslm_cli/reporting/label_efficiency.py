"""The label-efficiency chart: F1 over the number of labelled sentences, one line for each arm."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mslm_cli.evaluation.learning_curve import monotone
from mslm_cli.reporting.charts import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN = 6.8, 3.5
_LABEL_ROOM = 1.9
"""Room for the names of arms, right of the last point, in inches."""
_LINE_IN = 0.17
_MOST_NAMED = 26
_STYLES: list[tuple[str, tuple[float, ...]]] = [
    (colour, dashes) for dashes in ((), (4, 1.5), (1, 1.2)) for colour in ("first", "third", "muted")
]


def saved_text(saved: Mapping[str, Any] | None) -> str:
    """Sentences saved, with their interval: "420 (200 to >600)"; empty for None."""
    if saved is None:
        return ""
    value, low, high = (bounded(saved[name], saved, ("<", ">")) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def bounded(value: float, saved: Mapping[str, Any], words: tuple[str, str]) -> str:
    """A number of sentences, after the first or second of ``words`` if it is at the lower or upper end of ``saved``."""
    word = words[1] if value >= saved["most"] else words[0] if value <= saved["least"] else ""
    return f"{word}{round(value) + 0:,}"


def learning_curves(
    found: Mapping[str, Any], metric: str, vanilla: str, chosen: str | None
) -> Callable[["Figure"], None]:
    """Mean F1 of each arm over the labelled sentences, with the range of its seeds.

    Args:
        found: one data set's part of ``labels`` in verdict.json.
    """

    def plan(figure: "Figure") -> None:
        figure.set_size_inches(_WIDTH_IN, _HEIGHT_IN)
        axes = figure.subplots()
        names = list(dict.fromkeys(name for of in found["shares"] for name in of["arms"]))
        styles = iter(_STYLES * len(names))
        fixed = {vanilla: ("ink", ()), chosen: ("second", ())}
        ends = []
        for name in names:
            colour, dashes = fixed[name] if name in fixed else next(styles)
            ends.append((_draw_arm(axes, found["shares"], name, COLOURS[colour], dashes), name, COLOURS[colour]))
        numbers = sorted({of["n_labelled"] for of in found["shares"]})
        axes.set_xscale("log")
        axes.set_xticks(numbers, [f"{n:,.0f}" for n in numbers])
        axes.minorticks_off()
        axes.set_xlim(numbers[0] / 1.03, numbers[-1] * (numbers[-1] / numbers[0]) ** _share_of_room())
        axes.locator_params(axis="y", nbins=6)
        axes.set_xlabel("labelled sentences (train and dev)", loc="left")
        axes.set_ylabel(f"{metric}, %")
        _name_lines(axes, numbers[-1], ends)

    return plan


def _share_of_room() -> float:
    return _LABEL_ROOM / (_WIDTH_IN - _LABEL_ROOM)


def _draw_arm(
    axes: "Axes", shares: Sequence[Mapping[str, Any]], name: str, colour: str, dashes: Sequence[float]
) -> tuple[float, float]:
    """Draw the line and the band of an arm; its last point."""
    points = [(of["n_labelled"], of["arms"][name]) for of in shares if name in of["arms"]]
    x = [n for n, _ in points]
    y = [100 * arm["f1"]["value"] for _, arm in points]
    low, high = ([100 * bound(arm["f1_of_seeds"]) for _, arm in points] for bound in (min, max))
    axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
    (line,) = axes.plot(x, y, color=colour, marker="o", markersize=3.5)
    if dashes:
        line.set_dashes(dashes)
    return x[-1], y[-1]


def _name_lines(axes: "Axes", x: float, ends: Sequence[tuple[tuple[float, float], str, str]]) -> None:
    """Write the names of arms beside their last points; those at ``x``, the end of the chart, in order and apart."""
    low, high = axes.get_ylim()
    apart = (high - low) * _LINE_IN / (_HEIGHT_IN - 0.7)
    ordered = sorted((end for end in ends if end[0][0] == x), key=lambda end: end[0][1])
    heights = apart_heights([y for (_, y), _, _ in ordered], apart)
    named = [((x, height), name, colour) for height, (_, name, colour) in zip(heights, ordered, strict=True)]
    for place, name, colour in (*named, *(end for end in ends if end[0][0] < x)):
        shown = name if len(name) <= _MOST_NAMED else name[: _MOST_NAMED - 1] + "…"
        axes.annotate(
            shown, place, (8, 0), textcoords="offset points", va="center", color=colour, fontsize=8.5,
            annotation_clip=False,
        )  # fmt: skip


def apart_heights(wanted: Sequence[float], apart: float) -> list[float]:
    """The heights closest to ``wanted``, ascending, by least squares, such that neighbours are ``apart``."""
    steps = apart * np.arange(len(wanted))
    found: list[float] = (monotone((np.array(wanted) - steps)[None])[0] + steps).tolist()
    return found
