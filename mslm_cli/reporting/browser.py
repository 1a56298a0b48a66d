"""The sentences with errors as a page shows them: runs of words, and what is wrong with which mention."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from mslm_cli.evaluation.tables import ERROR_KINDS

MAX_SENTENCES = 500
"""So many sentences are shown at most, so that the page opens on a phone."""


class Run(NamedTuple):
    """Neighbouring words that the same mentions hold; ``marks``: CSS classes; ``hint``: what they are."""

    text: str
    marks: str
    hint: str


class Fault(NamedTuple):
    """One error: its kind and name, and the gold and the predicted mention (text, type, probability), if any.

    Without source text a mention's place in words stands for its text."""

    kind: str
    name: str
    gold: tuple[str, str] | None
    predicted: tuple[str, str, float | None] | None


class Shown(NamedTuple):
    """A sentence with errors; ``runs`` is None where the source text was left out."""

    id: str
    doc: str | None
    kinds: list[str]
    runs: list[Run] | None
    faults: list[Fault]


def sentences_with_errors(lines: Iterable[Mapping[str, Any]]) -> Iterator[Shown]:
    """What to show of the lines of predictions.jsonl that have errors, in order."""
    for line in lines:
        if not line.get("errors"):
            continue
        words = line.get("words")
        faults = [_fault(error, line) for error in line["errors"]]
        kinds = sorted({fault.kind for fault in faults}, key=list(ERROR_KINDS).index)
        runs = None if words is None else _runs(words, line)
        yield Shown(line["id"], line.get("doc"), kinds, runs, faults)


def _fault(error: Mapping[str, Any], line: Mapping[str, Any]) -> Fault:
    gold = predicted = None
    if "gold" in error:
        start, end, kind = line["gold"][error["gold"]]
        gold = (_text(line, start, end), kind)
    if "pred" in error:
        start, end, kind = line["pred"][error["pred"]]
        scores = line.get("scores")
        predicted = (_text(line, start, end), kind, scores[error["pred"]] if scores else None)
    return Fault(error["kind"], ERROR_KINDS[error["kind"]], gold, predicted)


def _text(line: Mapping[str, Any], start: int, end: int) -> str:
    words = line.get("words")
    return f"[{start}, {end})" if words is None else " ".join(words[start:end])


def _runs(words: Sequence[str], line: Mapping[str, Any]) -> list[Run]:
    wrong = {side: {error[side] for error in line["errors"] if side in error} for side in ("gold", "pred")}
    of_word: list[dict[str, int]] = [{} for _ in words]
    for side in ("gold", "pred"):
        for number, (start, end, _) in enumerate(line[side]):
            for word in of_word[start:end]:
                word[side] = number
    runs = []
    for mentions, group in groupby(range(len(words)), key=of_word.__getitem__):
        marks, hints = [], []
        for side, name in (("gold", "gold"), ("pred", "predicted")):
            if side in mentions:
                hints.append(f"{name}: {line[side][mentions[side]][2]}")
                marks.append(name if mentions[side] in wrong[side] else "right")
        runs.append(Run(" ".join(words[i] for i in group), " ".join(dict.fromkeys(marks)), ", ".join(hints)))
    return runs
