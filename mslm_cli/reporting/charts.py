"""The charts of a report, drawn by matplotlib, which is imported on first use."""

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli.evaluation.tables import SLICINGS, noun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1d2733",
    "muted": "#5d6b7a",
    "rule": "#d9dfe6",
    "paper": "#fffffe",
    "first": "#1f5fbf",
    "second": "#b4500f",
    "third": "#0b7a6b",
}
"""By name; in a page, each is replaced by the CSS variable of that name, so charts follow light and dark mode."""

_STYLE: Any = {
    "svg.hashsalt": "mslm",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.facecolor": COLOURS["paper"],
    "figure.facecolor": COLOURS["paper"],
    "savefig.facecolor": COLOURS["paper"],
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
_WIDTH_IN = 4.4
_DPI = 160
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for the page: the ``name`` of its files, ``title``, ``caption``, and its SVG for inlining."""

    name: str
    title: str
    caption: str
    svg: str


Plan = tuple[str, str, str, Callable[["Figure"], None]]
"""A chart to draw: name, title, caption, and the drawing function."""


def draw_all(
    results: Mapping[str, Any],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    folder: Path,
) -> list[Chart]:
    """Draw all charts for these results; also writes them to ``folder`` as reproducible PNG and SVG files.

    Args:
        results: the content of results.json.
        curves: the lines of the metrics.jsonl of the ner artifact (``ner``) and of its encoder (``encoder``), and of
            its thresholds.jsonl (``thresholds``).
    """
    plans: list[Plan] = []
    metric, nouns = results["primary_metric"], f"{noun(results)}s"
    types = _scored(results["exact_match"]["per_type"])
    if types:
        rows = [("all (micro)", results["exact_match"]), *types]
        plans.append(
            (
                "types",
                "By type",
                f"{sentence_start(metric)} with its 95 % interval; size: gold {nouns}.",
                _dots([("", rows)], metric),
            )
        )
    groups = [(SLICINGS[name], _scored(of)) for name, of in results["slices"].items() if of is not None and _scored(of)]
    if groups:
        by = "length, training data and lexicon" if noun(results) == "mention" else "distance and training data"
        caption = f"{sentence_start(metric)} with its 95 % interval, by {by}."
        plans.append(("slices", f"By kind of {noun(results)}", caption, _dots(groups, metric)))
    if (confidence := results["confidence"]) is not None:
        caption = (
            f"Precision and recall of the most probable {nouns}; average precision"
            f" {confidence['average_precision']:.3f}."
        )
        plans.append(("precision-recall", "Precision and recall", caption, lambda f: _precision_recall(f, results)))
        caption = (
            f"Expected calibration error {confidence['ece']:.3f}. With perfect calibration, 80 % of {nouns} with"
            f" probability 0.8 are correct. Numbers: {nouns}."
        )
        plans.append(("calibration", "Calibration", caption, lambda f: _calibration(f, results)))
    if thresholds := curves.get("thresholds"):
        caption = "Precision, recall and F1 on the development data by `--threshold`; 0.5 is the default."
        plans.append(("thresholds", "Precision and recall by threshold", caption, lambda f: _thresholds(f, thresholds)))
    if ner := curves.get("ner"):
        caption = f"Training loss of each step, in nats, and {metric} on the development data after each epoch."
        plans.append(("learning-ner", "Fine-tuning", caption, lambda f: _finetuning(f, ner, metric)))
    if encoder := [line for line in curves.get("encoder", ()) if "generic" in line]:
        caption = "Masked-language-model loss in nats, of generic words and of DS-terms, over the steps."
        if len({line["phase"] for line in encoder}) > 1:
            caption += " Left of the dashed line, a fresh MLM head was trained alone."
        plans.append(("learning-encoder", "Adaptation of the encoder", caption, lambda f: _adaptation(f, encoder)))
    return draw(plans, folder)


def sentence_start(text: str) -> str:
    """``text`` with its first letter capitalised."""
    return text[:1].upper() + text[1:]


def draw(plans: Sequence[Plan], folder: Path) -> list[Chart]:
    """Draw the charts; also writes them to ``folder`` as reproducible PNG and SVG files."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs messages about its font cache
    import matplotlib as mpl

    charts = []
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about characters missing in the font; a page has other fonts
        for name, title, caption, plan in plans:
            charts.append(Chart(name, title, caption, _draw(plan, name, title, folder)))
    return charts


def _draw(plan: Callable[["Figure"], None], name: str, title: str, folder: Path) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, 2.9), layout="constrained")
    plan(figure)
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata=_NO_METADATA)
    figure.savefig(path.with_suffix(".png"), dpi=_DPI, metadata={"Software": None})
    return inline(path.read_text(encoding="utf-8"), name, title)


def inline(svg: str, name: str, title: str) -> str:
    """A matplotlib SVG as an element of a page: scalable, in the page's colours, with unique ids."""
    svg = svg[svg.index("<svg") :]
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg))
    svg = re.sub(r' id="([\w-]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r'^<svg ([^>]*?)(?:width|height)="[^"]*" ', r"<svg \1", svg)
    svg = re.sub(
        r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        rf'<svg xmlns:xlink="http://www.w3.org/1999/xlink" \1 role="img" aria-label="{title}">',
        svg,
    )
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for colour, code in COLOURS.items():
        svg = svg.replace(code, f"var(--{colour})")
    return svg


def _scored(of: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, score) for name, score in of.items() if score["gold"] or score["predicted"]]


def _dots(
    groups: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]], metric: str
) -> Callable[["Figure"], None]:
    """One row per score, in groups with headings: F1 and its interval."""

    def plan(figure: "Figure") -> None:
        n_lines = sum(len(rows) + bool(heading) for heading, rows in groups)
        figure.set_size_inches(_WIDTH_IN, 0.65 + 0.27 * n_lines)
        axes = figure.subplots()
        n_max = max(score["gold"] for _, rows in groups for _, score in rows) or 1
        y = 0
        ticks, names, lows = [], [], []
        for heading, rows in groups:
            if heading:
                write_heading(axes, y, heading)
                y += 1
            for name, score in rows:
                low, high = (100 * x for x in score["intervals"]["f1"])
                axes.plot([low, high], [y, y], color=COLOURS["first"], linewidth=1.6)
                size = 18 + 60 * score["gold"] / n_max
                axes.scatter([100 * score["f1"]], [y], s=size, color=COLOURS["first"], zorder=3, linewidths=0)
                ticks.append(y)
                names.append(name)
                lows.append(low)
                y += 1
        axes.set_yticks(ticks, [_shortened(name) for name in names])
        axes.set_ylim(y - 0.4, -0.6)
        axes.set_xlim(max(0.0, min(10 * (min(lows) // 10), 80.0)), 101)
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.set_xlabel(f"{metric}, %")

    return plan


def _shortened(name: str, limit: int = 22) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _precision_recall(figure: "Figure", results: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    curve = results["confidence"]["curve"]
    recall = [100 * point["recall"] for point in curve]
    precision = [100 * point["precision"] for point in curve]
    axes.plot(recall, precision, color=COLOURS["first"])
    match = results["exact_match"]
    x, y = 100 * match["recall"], 100 * match["precision"]
    axes.scatter([x], [y], color=COLOURS["second"], zorder=3, s=32)
    axes.annotate(
        f"all {noun(results)}s",
        (x, y),
        (-8, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color=COLOURS["second"],
    )
    axes.set_xlim(0, 101)
    axes.set_ylim(max(0.0, 10 * (min(precision) // 10) - 10), 101)
    axes.locator_params(axis="y", integer=True, nbins=6)
    axes.set_xlabel("recall, %")
    axes.set_ylabel("precision, %")


def _calibration(figure: "Figure", results: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    bins = [one for one in results["confidence"]["bins"] if one["n"]]
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
    x, y = [one["mean_confidence"] for one in bins], [one["share_correct"] for one in bins]
    axes.plot(x, y, color=COLOURS["first"], marker="o", markersize=4.5)
    for one, at, fraction in zip(bins, x, y, strict=True):
        axes.annotate(
            f"{one['n']:,}", (at, fraction), (0, 6), textcoords="offset points", ha="center", fontsize=7,
            color=COLOURS["muted"],
        )  # fmt: skip
    axes.set_xlim(0, 1.03)
    axes.set_ylim(-0.04, 1.1)
    axes.set_xlabel(f"probability of the {noun(results)}")
    axes.set_ylabel("fraction correct")


def _thresholds(figure: "Figure", lines: Sequence[Mapping[str, Any]]) -> None:
    axes = figure.subplots()
    x = [line["threshold"] for line in lines]
    for name, colour in (("precision", "first"), ("recall", "second"), ("f1", "third")):
        label = "F1" if name == "f1" else name
        axes.plot(x, [100 * line[name] for line in lines], color=COLOURS[colour], label=label)
    axes.axvline(0.5, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("logit")
    axes.set_xticks([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999], ["0.001", "0.01", "0.1", "0.5", "0.9", "0.99", "0.999"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower center", ncols=3, labelcolor=COLOURS["ink"])
    axes.set_xlabel("threshold")
    axes.set_ylabel("%")


def _finetuning(figure: "Figure", lines: Sequence[Mapping[str, Any]], metric: str) -> None:
    axes, dev_axes = figure.subplots(1, 2)
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    _loss(axes, steps, COLOURS["first"])
    epochs = [(line["epoch"], 100 * line["dev_score"]) for line in lines if "dev_score" in line]
    if epochs:
        x, y = zip(*epochs, strict=True)
        dev_axes.plot(x, y, color=COLOURS["third"], marker="o", markersize=4)
        best = max(epochs, key=lambda epoch: epoch[1])
        colour = COLOURS["third"]
        dev_axes.annotate(f"{best[1]:.1f}", best, (0, 6), textcoords="offset points", ha="center", color=colour)
        dev_axes.margins(x=0.12, y=0.2)
        dev_axes.locator_params(axis="x", integer=True, nbins=5)
    axes.set_title("training loss", fontsize=9, loc="left")
    dev_axes.set_title(f"dev {metric}, %", fontsize=9, loc="left")
    axes.set_xlabel("step")
    dev_axes.set_xlabel("epoch")


def _adaptation(figure: "Figure", lines: Sequence[Mapping[str, Any]]) -> None:
    axes = figure.subplots()
    trained = [line for line in lines if "held_out" not in line]
    measured = [(line["step"], line["held_out"]) for line in lines if "held_out" in line]
    for key, label, colour in (("generic", "generic words", "first"), ("ds_term", "DS-terms", "second")):
        steps = [(number, line[key]["loss"]) for number, line in enumerate(trained, 1) if line.get(key, {}).get("n")]
        if steps:
            _loss(axes, steps, COLOURS[colour], label)
        if points := [(number, scores[key]["loss"]) for number, scores in measured if key in scores]:
            axes.plot(*zip(*points, strict=True), "o", color=COLOURS[colour], markersize=4, label=f"{label}, held out")
    phases = [line["phase"] for line in trained]
    if begin := next((n for n, (one, next_one) in enumerate(pairwise(phases), 1) if one != next_one), None):
        axes.axvline(begin + 0.5, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
    axes.legend(frameon=False, loc="upper right", labelcolor=COLOURS["ink"])
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats")


def write_heading(axes: "Axes", y: float, heading: str) -> None:
    """Write the heading of a group of rows, at the left edge of ``axes``."""
    axes.text(
        0, y, heading.upper(), transform=axes.get_yaxis_transform(), ha="left", va="center",
        fontsize=7.5, color=COLOURS["muted"],
    )  # fmt: skip


def _loss(axes: "Axes", steps: Sequence[tuple[int, float]], colour: str, label: str | None = None) -> None:
    """Plot the loss of each step, faintly, and its moving average over 4 % of the steps."""
    import numpy as np

    x, y = np.array(steps, dtype=np.float64).T
    width = max(1, len(x) // 50)
    sums = np.concatenate([[0.0], y.cumsum()])
    first, last = (np.clip(np.arange(len(y)) + shift, 0, len(y)) for shift in (-width, width + 1))
    thin = max(1, len(x) // 300)
    axes.plot(x[::thin], y[::thin], color=colour, linewidth=0.6, alpha=0.35)
    axes.plot(x[::thin], ((sums[last] - sums[first]) / (last - first))[::thin], color=colour, label=label)
    axes.locator_params(axis="x", nbins=4)
