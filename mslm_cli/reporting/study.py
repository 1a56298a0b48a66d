"""The page of a study: the verdict on the first screen, followed by the evidence."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli import fsio
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.reporting.charts import COLOURS, Plan, draw, sentence_start, write_heading
from mslm_cli.reporting.label_efficiency import learning_curves, saved_text
from mslm_cli.reporting.page import template_environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, CHARTS = "index.html", "charts"
_TEMPLATE = "study.html.j2"
_WIDTH_IN = 4.4
_MOST_NAMED = 34

Row = tuple[str, Mapping[str, float], bool]
"""A row of a chart: name, an estimate with its interval, whether it is the chosen arm."""


def write_study(folder: Path, verdict: Mapping[str, Any]) -> None:
    """Write index.html, and charts/ with its charts as PNG and SVG files, from the content of verdict.json."""
    with fsio.staged_folder(folder / CHARTS) as charts:
        curves = draw(_curves(verdict), charts)
        drawn = draw(_plans(verdict), charts)
    arms = verdict["arms"]
    by_name = {arm["name"]: arm for arm in arms}
    n_rivals = sum(arm["chosen_over_it"] is not None for arm in arms)
    page = (
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            verdict=verdict,
            arms=arms,
            chosen=by_name.get(verdict["chosen_on_dev"]),
            vanilla=by_name[verdict["vanilla"]],
            used=by_name[verdict["use"]],
            curves=dict(zip(verdict.get("labels", {}), curves, strict=True)),
            charts=drawn,
            labels=verdict.get("labels", {}),
            progress=_progress(verdict),
            saved_text=saved_text,
            n_rivals=n_rivals,
            slices=_slices(verdict),
            lengths=_lengths(verdict),
            warnings=_warnings(verdict),
        )
    )
    fsio.write_text(folder / PAGE, page)


def _progress(verdict: Mapping[str, Any]) -> str:
    """How far the study is, unless it is done."""
    progress = verdict.get("progress")
    return f" So far: {progress['n_done']} of {progress['n_planned']} trials." if progress else ""


def _warnings(verdict: Mapping[str, Any]) -> list[str]:
    """Warnings shown above the verdict."""
    found = []
    for data, seen in verdict["seen_upstream"].items():
        n = verdict["n_sentences"][data]
        for name, count in seen.items():
            if count > WARN_ABOVE_SHARE * n:
                found.append(f"{count:,} of {n:,} test sentences of {data} were seen by {name}.")
    if verdict["failed"]:
        found.append(f"{len(verdict['failed'])} trials failed; the page covers the others.")
    return found


def _slices(verdict: Mapping[str, Any]) -> dict[str, list[tuple[str, float, Mapping[str, float]]]]:
    """Slices of the chosen arm, by data set: name, gold mentions, difference to vanilla."""
    chosen = next((arm for arm in verdict["arms"] if arm["name"] == verdict["chosen_on_dev"]), None)
    if chosen is None:
        return {}
    return {
        data: [(name, of["n_gold"], of["over_vanilla"]) for name, of in on["slices"].items() if of["n_gold"]]
        for data, on in chosen["data"].items()
    }


def _lengths(verdict: Mapping[str, Any]) -> list[str]:
    found = (on["outcomes"] for on in verdict["arms"][0]["data"].values())
    return list(next(filter(None, found), {}))


def _curves(verdict: Mapping[str, Any]) -> list[Plan]:
    """The label-efficiency chart of each data set."""
    metric = sentence_start(verdict["primary_metric"])
    caption = f"{metric} over the labelled sentences; bands: from the lowest to the highest seed."
    return [
        (
            f"label-efficiency-{number}",
            f"Label efficiency on {data}",
            caption,
            learning_curves(found, verdict["primary_metric"], verdict["vanilla"], verdict["chosen_on_dev"]),
        )
        for number, (data, found) in enumerate(verdict.get("labels", {}).items())
    ]


def _plans(verdict: Mapping[str, Any]) -> list[Plan]:
    chosen, metric = verdict["chosen_on_dev"], verdict["primary_metric"]
    others = [arm for arm in verdict["arms"] if arm["over_vanilla"] is not None]
    plans: list[Plan] = []
    if others:
        rows = [(arm["name"], arm["over_vanilla"], arm["name"] == chosen) for arm in others]
        over = f"{metric} of each arm minus that of {verdict['vanilla']}"
        caption = f"In points: {over}, with 95 % intervals over seeds and sentences."
        plans.append(("over-vanilla", f"Against {verdict['vanilla']}", caption, _forest([("", rows)], metric)))
    if len(verdict["resampled"]) > 1 and others:
        groups = [
            (data, [(arm["name"], arm["data"][data]["over_vanilla"], arm["name"] == chosen) for arm in others])
            for data in verdict["resampled"]
        ]
        plans.append(("data-sets", "On each data set", "The same for each data set.", _forest(groups, metric)))
    if grid := _grid(verdict):
        caption = f"Mean {metric} on dev, %, by the masking rates of DS-terms (ELM) and of generic words (BLM)."
        plans.append(("rates", "Masking rates", caption, _heat_map(*grid)))
    for number, (data, rows) in enumerate(_slices(verdict).items()):
        caption = f"{sentence_start(metric)} of {chosen} minus that of {verdict['vanilla']}, in points, by slice."
        lines = [(f"{name} ({n:.0f})", difference, False) for name, n, difference in rows]
        plans.append((f"slices-{number}", f"Where, on {data}", caption, _forest([("", lines)], metric)))
    return plans


def _forest(groups: Sequence[tuple[str, Sequence[Row]]], metric: str) -> Callable[["Figure"], None]:
    """One row per difference with its interval, around zero."""

    def plan(figure: "Figure") -> None:
        n_lines = sum(len(rows) + bool(heading) for heading, rows in groups)
        figure.set_size_inches(_WIDTH_IN, 0.7 + 0.29 * n_lines)
        axes = figure.subplots()
        axes.axvline(0, color=COLOURS["muted"], linewidth=1)
        y, ticks, names = 0, [], []
        for heading, rows in groups:
            if heading:
                write_heading(axes, y, heading)
                y += 1
            for name, estimate, is_chosen in rows:
                colour = COLOURS["second" if is_chosen else "first"]
                axes.plot([100 * estimate["low"], 100 * estimate["high"]], [y, y], color=colour, linewidth=1.6)
                axes.scatter([100 * estimate["value"]], [y], s=30, color=colour, zorder=3, linewidths=0)
                ticks.append(y)
                names.append(name if len(name) <= _MOST_NAMED else name[: _MOST_NAMED - 1] + "…")
                y += 1
        axes.set_yticks(ticks, names)
        axes.set_ylim(y - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"points of {metric}")

    return plan


def _grid(verdict: Mapping[str, Any]) -> tuple[list[float], list[float], dict[tuple[float, float], float]] | None:
    """ELM rates, BLM rates and the best dev score of each pair; None for fewer than three pairs."""
    found: dict[tuple[float, float], float] = {}
    for arm in verdict["arms"]:
        options = arm["options"]
        if arm["kind"] == "mslm" and options.get("elm_rate") is not None and options.get("blm_rate") is not None:
            pair = options["elm_rate"], options["blm_rate"]
            found[pair] = max(arm["dev_score"], found.get(pair, 0.0))
    if len(found) < 3:
        return None
    return sorted({elm for elm, _ in found}), sorted({blm for _, blm in found}), found


def _heat_map(
    elm_rates: Sequence[float], blm_rates: Sequence[float], found: Mapping[tuple[float, float], float]
) -> Callable[["Figure"], None]:
    def plan(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        figure.set_size_inches(_WIDTH_IN, 1.1 + 0.42 * len(elm_rates))
        axes = figure.subplots()
        cells = [[100 * found.get((elm, blm), float("nan")) for blm in blm_rates] for elm in elm_rates]
        shades = LinearSegmentedColormap.from_list("f1", ["#dbe7f6", "#1f5fbf"])
        axes.imshow(cells, cmap=shades, aspect="auto")
        best = max(found, key=lambda pair: found[pair])
        low = min(found.values())
        for i, elm in enumerate(elm_rates):
            for j, blm in enumerate(blm_rates):
                if (elm, blm) in found:
                    f1 = found[elm, blm]
                    is_dark = f1 - low > 0.6 * (found[best] - low)
                    axes.text(
                        j, i, f"{100 * f1:.1f}", ha="center", va="center", color="#fdfdfd" if is_dark else "#1b2430",
                        fontweight="bold" if (elm, blm) == best else "normal",
                    )  # fmt: skip
        axes.set_xticks(range(len(blm_rates)), [f"{blm:g}" for blm in blm_rates])
        axes.set_yticks(range(len(elm_rates)), [f"{elm:g}" for elm in elm_rates])
        axes.grid(visible=False)
        axes.set_xlabel("BLM rate")
        axes.set_ylabel("ELM rate")

    return plan
