"""Sentences with errors, prepared for the page: segments of words, and the error of each mention."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from mslm_cli.evaluation.tables import DOCUMENT_ERRORS, ERROR_KINDS, shown_item

MAX_SENTENCES = 500
"""Maximum number of sentences shown, so that the page opens on a phone."""


_ORDER = list(ERROR_KINDS | DOCUMENT_ERRORS)


class Segment(NamedTuple):
    """Adjacent words in the same mentions; ``marks``: CSS classes; ``hint``: a description of the mentions."""

    text: str
    marks: str
    hint: str


class Fault(NamedTuple):
    """An error: its kind and name, and the gold and predicted mention (text, type, probability), if any.

    Without source text, a mention's position in words replaces its text."""

    error_kind: str
    name: str
    gold: tuple[str, str] | None
    predicted: tuple[str, str, float | None] | None


class Shown(NamedTuple):
    """A sentence with errors; ``segments`` is None without source text."""

    id: str
    doc: str | None
    error_kinds: list[str]
    segments: list[Segment] | None
    faults: list[Fault]


def sentences_with_errors(lines: Iterable[Mapping[str, Any]]) -> Iterator[Shown]:
    """The sentences with errors, from the lines of predictions.jsonl, in order."""
    for line in lines:
        if not line.get("errors"):
            continue
        words = line.get("words")
        faults = [_fault(error, line) for error in line["errors"]]
        error_kinds = sorted({fault.error_kind for fault in faults}, key=_ORDER.index)
        segments = None if words is None or "kind" in line else _segments(words, line)
        yield Shown(line["id"], line.get("doc"), error_kinds, segments, faults)


def _fault(error: Mapping[str, Any], line: Mapping[str, Any]) -> Fault:
    gold = predicted = None
    if "kind" in line:
        scores = line.get("scores")
        if "gold" in error:
            gold = (shown_item(line, line["gold"][error["gold"]]), "")
        if "pred" in error:
            predicted = (shown_item(line, line["pred"][error["pred"]]), "", scores[error["pred"]] if scores else None)
        return Fault(error["kind"], DOCUMENT_ERRORS[error["kind"]], gold, predicted)
    if "gold" in error:
        start, end, entity_type = line["gold"][error["gold"]]
        gold = (_text(line, start, end), entity_type)
    if "pred" in error:
        start, end, entity_type = line["pred"][error["pred"]]
        scores = line.get("scores")
        predicted = (_text(line, start, end), entity_type, scores[error["pred"]] if scores else None)
    return Fault(error["kind"], ERROR_KINDS[error["kind"]], gold, predicted)


def _text(line: Mapping[str, Any], start: int, end: int) -> str:
    words = line.get("words")
    return f"[{start}, {end})" if words is None else " ".join(words[start:end])


def _segments(words: Sequence[str], line: Mapping[str, Any]) -> list[Segment]:
    wrong = {side: {error[side] for error in line["errors"] if side in error} for side in ("gold", "pred")}
    of_word: list[dict[str, int]] = [{} for _ in words]
    for side in ("gold", "pred"):
        for number, (start, end, _) in enumerate(line[side]):
            for word in of_word[start:end]:
                word[side] = number
    segments = []
    for mentions, group in groupby(range(len(words)), key=of_word.__getitem__):
        marks, hints = [], []
        for side, name in (("gold", "gold"), ("pred", "predicted")):
            if side in mentions:
                hints.append(f"{name}: {line[side][mentions[side]][2]}")
                marks.append(name if mentions[side] in wrong[side] else "right")
        segments.append(Segment(" ".join(words[i] for i in group), " ".join(dict.fromkeys(marks)), ", ".join(hints)))
    return segments
