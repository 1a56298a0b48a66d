"""Mentions that a system predicts in running text, by characters, placed in the sentences of a test set."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mslm_cli.corpus.documents import CharSpan, LabelledSentence
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.json_values import parse_json
from mslm_cli.corpus.source import Source
from mslm_cli.corpus.standoff import AnnotatedDocument, disjoint
from mslm_cli.errors import DataError

_OF_CHARACTERS = ("docbin", "brat", "bioc", "label-studio", "pubtator")
"""Formats whose mentions are always by characters; those of JSON records are if a record has a text."""

_MENTION_KEYS = {"doc", "start", "end", "type"}


@dataclass(frozen=True, slots=True)
class PredictedSpan:
    """A predicted mention of document ``doc``: its characters and type, its text if it is known, and its probability.

    ``line``: where it stands in its file, if that has lines.
    """

    doc: str
    span: CharSpan
    text: str | None = None
    score: float | None = None
    line: int | None = None


def read_spans(source: Source) -> list[PredictedSpan] | None:
    """The predicted mentions of a file in a format of running text; None if it holds words.

    Such formats are those that annotate characters, and the lines that `mslm predict` writes, one for each mention.

    Raises:
        DataError: the file cannot be read, or a mention is not in its text; with path and line.
    """
    first = next((line for line in source.head.lines if line.strip()), "") if _is_text(source) else ""
    record = _object(first)
    if record.keys() >= _MENTION_KEYS:
        return list(_lines_of_mentions(source))
    name = next((each.name for each in FORMATS if each.matches(source.path, source.head)), "")
    if name in _OF_CHARACTERS or (name == "jsonl" and isinstance(record.get("text"), str)):
        annotated = FORMATS[name].annotated
        assert annotated is not None
        return [span for document in annotated(source) for span in _spans_of(document)]
    return None


def place_spans(
    spans: Sequence[PredictedSpan], sentences: Sequence[LabelledSentence], name: str, gold_name: str
) -> tuple[list[list[PredictedSpan]], int]:
    """The spans of each sentence in order, none overlapping another, and how many were left out because they did.

    A span belongs to the sentence in which it begins; of overlapping ones the longest stays.

    Args:
        name, gold_name: what messages call the file of predictions and the test set.

    Raises:
        DataError: a document is not in the test set, or has another text there.
    """
    numbers: dict[str | None, list[int]] = defaultdict(list)
    for number, sentence in enumerate(sentences):
        if sentence.offsets:
            numbers[sentence.doc].append(number)
    of_documents: dict[str, dict[CharSpan, PredictedSpan]] = defaultdict(dict)
    for each in spans:
        if each.doc not in numbers:
            message = f"document {each.doc!r} is not in {gold_name}"
            hint = "predictions and gold must be of the same documents, under the same ids"
            raise DataError(message, path=name, line=each.line, hint=hint)
        of_documents[each.doc].setdefault(each.span, each)
    placed: list[list[PredictedSpan]] = [[] for _ in sentences]
    n_left = 0
    for doc, found in of_documents.items():
        kept, left = disjoint(list(found), "longest")
        n_left += len(left)
        starts = [(sentences[number].offsets or ())[0][0] for number in numbers[doc]]
        for span in kept:
            number = numbers[doc][max(0, bisect_right(starts, span.start) - 1)]
            _refuse_other_text(found[span], sentences[number], name, gold_name)
            placed[number].append(found[span])
    return placed, n_left


def _refuse_other_text(found: PredictedSpan, sentence: LabelledSentence, name: str, gold_name: str) -> None:
    """Check that the text of a mention begins with the word of the test set that begins there, if one does."""
    starts = [start for start, _ in sentence.offsets or ()]
    if found.text is None or found.span.start not in starts:
        return
    word = sentence.words[starts.index(found.span.start)]
    if not (found.text.startswith(word) or word.startswith(found.text)):
        message = f"document {found.doc!r}: the mention at {found.span.start} is {found.text[:40]!r}"
        hint = "predictions and gold must be of the same text"
        raise DataError(f"{message}, the text there in {gold_name} {word!r}", path=name, line=found.line, hint=hint)


def _is_text(source: Source) -> bool:
    return source.head.text.lstrip().startswith("{")


def _object(line: str) -> dict[str, Any]:
    """The JSON object in a line, or an empty one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _spans_of(document: AnnotatedDocument) -> Iterator[PredictedSpan]:
    for annotation in document.annotations:
        start, end = annotation.bounds
        span = CharSpan(start, end, annotation.type)
        yield PredictedSpan(document.id, span, document.text[start:end], annotation.score)


def _lines_of_mentions(source: Source) -> Iterator[PredictedSpan]:
    for number, line in enumerate(source.lines(), 1):
        if not line.strip():
            continue
        record = parse_json(line, source.name, number)
        if not isinstance(record, dict) or not record.keys() >= _MENTION_KEYS:
            message = f"expected a mention with {', '.join(sorted(_MENTION_KEYS))}, found {line[:60]!r}"
            raise DataError(message, path=source.name, line=number)
        start, end, kind = record["start"], record["end"], record["type"]
        score, text = record.get("score"), record.get("text")
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            message = f"expected start and end in characters, found {start!r:.20} and {end!r:.20}"
            raise DataError(message, path=source.name, line=number)
        if not isinstance(kind, str) or not kind:
            raise DataError("a mention without a type", path=source.name, line=number)
        if score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
            raise DataError("score: expected a probability from 0 to 1", path=source.name, line=number)
        text = text if isinstance(text, str) else None
        yield PredictedSpan(str(record["doc"]), CharSpan(start, end, kind), text, score, number)
