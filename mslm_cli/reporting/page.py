"""report.html: a self-contained page."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli import fsio
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.evaluation.tables import SLICINGS, error_names, is_defined, noun
from mslm_cli.reporting.browser import MAX_SENTENCES, sentences_with_errors
from mslm_cli.reporting.charts import draw_all

if TYPE_CHECKING:
    import jinja2

REPORT = "report.html"
CHARTS = "charts"
_TEMPLATE = "report.html.j2"

Lines = Sequence[Mapping[str, Any]]


def write_report(
    folder: Path,
    results: Mapping[str, Any],
    lines: Lines,
    provenance: Mapping[str, Any],
    curves: Mapping[str, Lines],
) -> None:
    """Write report.html, and charts/ with its charts as PNG and SVG files; reproducible byte by byte.

    Args:
        results: the content of results.json.
        lines: the lines of predictions.jsonl that have errors; without words, the page has no source text.
        provenance: the provenance of the results, by name; values are text or mappings of text.
        curves: the lines of metrics.jsonl of the ner artifact (``ner``) and of its encoder (``encoder``), if known.
    """
    (folder / CHARTS).mkdir()
    charts = draw_all(results, curves, folder / CHARTS)
    n_shown = sum(bool(line.get("errors")) for line in lines)
    names = error_names(results)
    page = (
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            results=results,
            match=results["exact_match"],
            charts=charts,
            shown=list(islice(sentences_with_errors(lines), MAX_SENTENCES)),
            n_with_errors=n_shown,
            error_kinds={error: name for error, name in names.items() if results["errors"][error]["n"]},
            slicings=[(SLICINGS[name], of) for name, of in results["slices"].items() if of is not None],
            noun=noun(results),
            provenance=provenance,
            is_warned=results["n_seen_upstream"] > results["n_sentences"] * WARN_ABOVE_SHARE,
        )
    )
    (folder / REPORT).write_text(page, encoding="utf-8", newline="\n")


def template_environment() -> "jinja2.Environment":
    """The environment that renders page templates."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(fsio.resource("report")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "bounds": _bounds, "shown": _shown}
    return environment


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _shown(score: Mapping[str, Any], metric: str) -> str:
    return _percent(score[metric]) if is_defined(score, metric) else "–"


def _bounds(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
