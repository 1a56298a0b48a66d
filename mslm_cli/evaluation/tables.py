"""Tables for the terminal and for papers, from the JSON values of results; at most 80 columns wide."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mslm_cli.evaluation.exact_match import STRICT_F1
from mslm_cli.evaluation.uncertainty import FEW, SCORE_NAMES

ERROR_KINDS = {
    "wrong_boundary": "wrong boundary",
    "wrong_type": "wrong type",
    "wrong_boundary_and_type": "both wrong",
    "missed": "missed",
    "spurious": "spurious",
}
DOCUMENT_ERRORS = {
    "wrong_type": "wrong type",
    "wrong_direction": "reversed",
    "missed": "missed",
    "spurious": "spurious",
}
SLICINGS = {
    "length": "words",
    "seen_in_train": "in train",
    "train_frequency": "train count",
    "in_lexicon": "in lexicon",
    "distance": "words apart",
    "sentences": "sentence",
    "mention_length": "longer mention, words",
    "seen_pair": "pair in train",
}
_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
)
_TOO_FEW = f"fewer than {FEW} units to resample: the intervals are too narrow"
_CONTEXT = 5
_Mention: TypeAlias = Sequence[Any] | None
_WIDTH = 80


def noun(results: Mapping[str, Any]) -> str:
    """What is scored: a mention, a relation, or a label of a document."""
    return {"relations": "relation", "documents": "label"}.get(results.get("kind", ""), "mention")


def compared_units(result: Mapping[str, Any]) -> tuple[str, str]:
    """What a comparison counts, and in what: mentions in sentences, or relations or labels in documents."""
    nouns = {"relation F1": "relations", "label F1": "labels"}
    found = nouns.get(result["primary_metric"])
    return (found, "documents") if found else ("mentions", "sentences")


def error_names(results: Mapping[str, Any]) -> dict[str, str]:
    """The names of the kinds of errors."""
    return DOCUMENT_ERRORS if "kind" in results else ERROR_KINDS


class TextTable(NamedTuple):
    """A table of text; the first column is left-aligned, the others hold numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def latex(table: TextTable) -> str:
    """The table as a LaTeX ``tabular`` with the title as a comment; needs the package booktabs."""
    rows = [table.columns, *table.rows]
    lines = [" & ".join(cell.translate(_LATEX).replace("..", " to ") for cell in row) + r" \\" for row in rows]
    head = [f"% {table.title}", rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
    return "\n".join([*head, lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"])


def percent(fraction: float) -> str:
    """A fraction from 0 to 1 as a percentage."""
    return f"{100 * fraction:.2f}"


NOTHING = "-"
"""Stands for a score that is not defined, because there is nothing to score."""
_DENOMINATORS = {"precision": ("predicted",), "recall": ("gold",), "f1": ("gold", "predicted")}


def is_defined(score: Mapping[str, Any], metric: str) -> bool:
    """Whether a score has mentions to be computed from."""
    return any(score.get(side) != 0 for side in _DENOMINATORS[metric])


def bounds(interval: Sequence[float], sign: str = "") -> str:
    """An interval of fractions as percentages."""
    return f"{100 * interval[0]:{sign}.1f}..{100 * interval[1]:{sign}.1f}"


def _row(name: str, score: Mapping[str, Any]) -> list[str]:
    values = [percent(score[metric]) if is_defined(score, metric) else NOTHING for metric in SCORE_NAMES]
    interval = bounds(score["intervals"]["f1"]) if "intervals" in score else ""
    return [
        name,
        *values,
        interval if is_defined(score, "f1") else NOTHING,
        *(f"{score[side]:,}" if side in score else "" for side in ("gold", "predicted")),
    ]


_SCORE_COLUMNS = ["P", "R (EM)", "F1", "95 % of F1", "gold", "pred"]


def headline(results: Mapping[str, Any]) -> TextTable:
    """Strict exact match: all mentions, averages over types, and each type."""
    match = results["exact_match"]
    rows = [_row("all (micro)", match)]
    if len(match["per_type"]) > 1:
        rows += [_row(f"{name} average", match[name]) for name in ("macro", "weighted")]
    rows += [_row(entity_type, score) for entity_type, score in match["per_type"].items()]
    if "end_to_end" in results:
        rows.append(_row("end to end", results["end_to_end"]["exact_match"]))
    title = {"relation": "relations (pair, direction and type)", "label": "labels of documents"}.get(noun(results))
    return TextTable(title or "strict exact match (boundaries and type)", ["type", *_SCORE_COLUMNS], rows)


def conlleval(results: Mapping[str, Any]) -> str:
    """The scores in the format of conlleval."""
    found = results["conlleval"]
    lines = [
        f"processed {found['n_words']} tokens with {found['gold']} phrases; "
        f"found: {found['predicted']} phrases; correct: {found['correct']}.",
        f"accuracy: {percent(found['accuracy']):>6}%; {_conll_scores(found)}",
    ]
    lines += [f"{name:>17}: {_conll_scores(of)}  {of['predicted']}" for name, of in found["per_type"].items()]
    return "\n".join(lines)


def _conll_scores(found: Mapping[str, Any]) -> str:
    names = ("precision", "recall", "FB1")
    return "; ".join(
        f"{n}: {percent(found[s]):>6}{'' if n == 'FB1' else '%'}" for n, s in zip(names, SCORE_NAMES, strict=True)
    )


def details(results: Mapping[str, Any]) -> Iterator[TextTable]:
    """The tables below the headline."""
    if "kind" not in results:
        yield from _of_tags(results)
    sliced = [(title, results["slices"].get(name)) for name, title in SLICINGS.items()]
    rows = [_row(f"{title}: {name}", score) for title, of in sliced if of for name, score in of.items()]
    if rows:
        title = f"slices of {noun(results)}s" + " (strict)" * ("kind" not in results)
        yield TextTable(title, ["slice", *_SCORE_COLUMNS], rows)
    found = results["confidence"]
    if found:
        rows = [
            [
                f"{of['low']:.1f} to {of['high']:.1f}",
                f"{of['n']:,}",
                percent(of["mean_confidence"]),
                percent(of["share_correct"]),
            ]
            for of in found["bins"]
            if of["n"]
        ]
        yield TextTable(f"confidence of predicted {noun(results)}s", ["probability", "n", "mean", "correct"], rows)
    total = sum(of["n"] for of in results["errors"].values())
    rows = [
        [error_names(results)[error], f"{of['n']:,}", percent(of["n"] / (total or 1))]
        for error, of in results["errors"].items()
    ]
    yield TextTable("errors", ["kind", "n", "% of all"], rows)


def _of_tags(results: Mapping[str, Any]) -> Iterator[TextTable]:
    """The tables of scores that only spans of words have."""
    modes = results["seqeval"]
    rows = [_row(f"seqeval {name}", modes[name]) for name in ("strict", "default")]
    scheme = results["predicted_tag_scheme"]
    title = f"the same tags scored by seqeval ({scheme if scheme in ('IOBES', 'BILOU') else 'IOB2'}), micro"
    yield TextTable(title, ["mode", *_SCORE_COLUMNS], rows)
    columns = ["match", "P", "R", "F1", "95 % of F1", "cor", "par", "inc", "mis", "spu"]
    counts = ("correct", "partial", "incorrect", "missed", "spurious")
    rows = [
        [*_row(name, of)[:5], *(f"{of[count]:,}" for count in counts)] for name, of in results["partial_match"].items()
    ]
    yield TextTable("partial match (SemEval-2013)", columns, rows)


def remarks(results: Mapping[str, Any]) -> Iterator[str]:
    """Remarks below the tables: resampling, length bias, confidence."""
    drawn = results["resampled"]
    unit = drawn["unit"] if drawn["n"] != 1 else drawn["unit"].removesuffix("s")
    yield f"95 % intervals: bootstrap over {drawn['n']:,} {unit}, {drawn['replicates']:,} replicates"
    if drawn["n"] < FEW:
        yield f"  {_TOO_FEW}"
    match, bias = results["exact_match"], results.get("length_bias")
    if bias and match["gold"] and match["predicted"]:
        low, high = bias["interval"]
        yield (
            f"length: predicted {bias['predicted_mean_words']:.2f} words, gold {bias['gold_mean_words']:.2f}: "
            f"{bias['difference']:+.2f} ({low:+.2f}..{high:+.2f});"
        )
        yield f"  among overlapping mentions, {bias['shorter']:,} too short and {bias['longer']:,} too long"
    found = results["confidence"]
    if found:
        yield (
            f"confidence: average precision {percent(found['average_precision'])} "
            f"({bounds(found['average_precision_interval'])}),"
        )
        yield f"  calibration error {percent(found['ece'])} ({bounds(found['ece_interval'])})"


def examples(results: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The stored examples of errors, with gold and predicted mention in brackets; empty without the text."""
    wanted = {example["sentence"] for of in results["errors"].values() for example in of["examples"]}
    by_id = {line["id"]: line for line in lines if line["id"] in wanted}
    with_types = len(results["exact_match"]["per_type"]) > 1
    for error, of in results["errors"].items():
        for example in of["examples"]:
            words = by_id[example["sentence"]].get("words")
            if words and "kind" in results:
                yield f"{DOCUMENT_ERRORS[error]}, document {example['sentence']}"
                for side, item in (("gold", example["gold"]), ("pred", example["predicted"])):
                    yield f"  {side:<5}{shown_item(by_id[example['sentence']], item) if item else '(none)'}"[:_WIDTH]
            elif words:
                yield f"{ERROR_KINDS[error]}, sentence {example['sentence']}"
                yield from _side_by_side(words, example["gold"], example["predicted"], with_types=with_types)


def shown_item(line: Mapping[str, Any], item: Sequence[Any]) -> str:
    """A relation or label in a line of predictions.jsonl as text: ``lithium -CID-> cyanosis``."""
    if line["kind"] != "relations":
        return str(item[2])
    words = line.get("words")
    head, tail = (
        line["entities"][end][0] if words is None else " ".join(words[slice(*line["entities"][end][2][0])])
        for end in item[:2]
    )
    return f"{head} -{item[2]}-> {tail}"


def _side_by_side(words: Sequence[str], gold: _Mention, predicted: _Mention, *, with_types: bool) -> list[str]:
    """Two lines of at most 80 columns with what is around the difference of two mentions, one of which may be None."""
    mentions = [m for m in (gold, predicted) if m]
    ends = [sorted({m[side] for m in mentions}) for side in (0, 1)]
    differing = next((found for found in ends if len(found) > 1), ends[0])
    # the most that fits: both mentions with words around them, else words around the difference
    windows = [(ends[0][0] - n, ends[1][-1] + n) for n in range(_CONTEXT, -1, -1)]
    windows += [(differing[0] - n, differing[-1] + n) for n in range(_CONTEXT, 0, -1)]
    for first, last in windows:
        lines = [
            _line(side, words, mention, (max(first, 0), last), with_types=with_types)
            for side, mention in (("gold", gold), ("pred", predicted))
        ]
        if max(map(len, lines)) <= _WIDTH:
            break
    return [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 4]} ..." for line in lines]


def _line(side: str, words: Sequence[str], mention: _Mention, window: tuple[int, int], *, with_types: bool) -> str:
    first, last = window
    text = _bracketed(words, [mention] if mention else [], first, last, with_types=with_types)
    return f"  {side:<5}{'... ' if first else ''}{text}{' ...' if last < len(words) else ''}"


def _bracketed(
    words: Sequence[str],
    mentions: Sequence[Sequence[Any]],
    first: int = 0,
    last: int | None = None,
    *,
    with_types: bool = True,
) -> str:
    opens = {m[0] for m in mentions}
    closes = {m[1] - 1: f"|{m[2]}]" if with_types else "]" for m in mentions}
    shown = [f"{'[' if i in opens else ''}{word}{closes.get(i, '')}" for i, word in enumerate(words)]
    return " ".join(shown[first:last])


def wrapped(name: str, words: Sequence[str] | None, mentions: Sequence[Sequence[Any]]) -> list[str]:
    """A sentence with mentions as ``[text|type]``, wrapped at 80 columns; only the mentions if it has no text."""
    if words is None:
        text = " ".join(f"[{start}, {end}) {entity_type}" for start, end, entity_type in mentions)
    else:
        text = _bracketed(words, mentions)
    return textwrap.wrap(
        f"{name}: {text}", _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def comparison(result: Mapping[str, Any]) -> Iterator[TextTable]:
    """Tables of the arms, their differences, and the slices of each pair."""
    rows = [
        [
            arm["name"],
            str(arm["n_runs"]),
            *(percent(arm[metric]["value"]) for metric in SCORE_NAMES),
            bounds([arm["f1"]["low"], arm["f1"]["high"]]),
            "" if arm["f1"]["sd"] is None else percent(arm["f1"]["sd"]),
        ]
        for arm in result["arms"]
    ]
    columns = ["arm", "runs", "P", "R (EM)", "F1", "95 % of F1", "sd"]
    what = "strict exact match" if result["primary_metric"] == STRICT_F1 else result["primary_metric"]
    yield TextTable(f"{what}, means over runs", columns, rows)
    rows = [
        [
            _versus(pair),
            f"{100 * pair['difference']['f1']['value']:+.2f}",
            bounds([pair["difference"]["f1"]["low"], pair["difference"]["f1"]["high"]], "+"),
            _p(pair["p_bootstrap_holm"]),
            _p(pair["p_randomisation_holm"]),
            "yes" if pair["holds_up"] else "no",
        ]
        for pair in result["comparisons"]
    ]
    columns = ["difference", "points", "95 %", "p boot", "p rand", "holds up"]
    yield TextTable(f"differences of {result['primary_metric']} (p-values after Holm)", columns, rows)
    counts = ("wins", "losses", "n_sentences_better", "n_sentences_worse")
    rows = [[_versus(pair), *(f"{pair[count]:,}" for count in counts)] for pair in result["comparisons"]]
    yield TextTable(
        f"gold {' and '.join(compared_units(result))}", ["difference", "wins", "losses", "better", "worse"], rows
    )
    for pair in result["comparisons"]:
        rows = [
            [
                of["name"],
                f"{of['gold']:,}",
                *(percent(f1) for f1 in of["f1"]),
                bounds([of["difference"]["low"], of["difference"]["high"]], "+"),
                f"{of['wins']:,}",
                f"{of['losses']:,}",
                "yes" if of["holds_up"] else "",
            ]
            for of in pair["slices"]
            if of["gold"]
        ]
        columns = ["slice", "gold", "F1 (1)", "F1 (2)", "95 %", "wins", "losses", "holds"]
        yield TextTable(f"{pair['arms'][1]} (2) against {pair['arms'][0]} (1)", columns, rows)


def comparison_remarks(result: Mapping[str, Any]) -> Iterator[str]:
    """Remarks on a comparison: what its intervals and tests cover."""
    drawn = result["resampled"]
    yield f"intervals and tests over {drawn['n']:,} {drawn['unit']}, {drawn['replicates']:,} replicates"
    if drawn["n"] < FEW:
        yield _TOO_FEW
    single = [arm["name"] for arm in result["arms"] if arm["n_runs"] == 1]
    if len(single) == len(result["arms"]):
        yield "one run per arm: the intervals do not cover variation between seeds"
    elif single:
        yield f"one run of {', '.join(single)}: its intervals do not cover variation between seeds"
    else:
        yield "intervals and p boot cover sentences and seeds; p rand covers these runs only"


def _versus(pair: Mapping[str, Any]) -> str:
    return f"{pair['arms'][1]} - {pair['arms'][0]}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"
