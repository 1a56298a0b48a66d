"""Files with one pair of mentions in each line, marked in its text, and the label of the pair.

JSON lines with ``text`` or ``tokens``, ``head``, ``tail`` and ``label``; JSON lines with ``<< head >>`` and
``[[ tail ]]`` marked in ``text`` (ChemProt); rows of tab-separated text and label in which placeholders such as
``@GENE$`` and ``@DISEASE$`` stand for the mentions (GAD, EU-ADR).
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mslm_cli.corpus.json_values import parse_json
from mslm_cli.corpus.source import Head, Source
from mslm_cli.errors import DataError

_PLACEHOLDER = re.compile(r"@([A-Za-z][\w-]*)\$")
_MARKS = {"head": re.compile(r"<< (.+?) >>"), "tail": re.compile(r"\[\[ (.+?) \]\]")}
_HEADS, _TAILS = ("head", "h"), ("tail", "t")
_LABELS = ("label", "relation", "type")
_TOKENS = ("tokens", "words", "token")
_DOCS = ("doc", "doc_id", "document_id", "pmid", "id")
_STARTS, _ENDS = ("start", "start_offset"), ("end", "end_offset")
_UNTYPED = "entity"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MarkedPair:
    """A text, its two marked mentions (characters [start, end)) with their types, and the label of the pair."""

    doc: str
    text: str
    head: Span
    tail: Span
    types: tuple[str, str]
    label: str
    name: str
    line: int


def is_of_pairs(head: Head) -> bool:
    """Whether the first row of a file, after a header, has a marked pair."""
    rows = [line for line in head.lines if line.strip()][:2]
    if not rows:
        return False
    if rows[0].lstrip().startswith("{"):
        try:
            values = parse_json(rows[0], "", 1)
        except DataError:
            return False
        if not isinstance(values, dict) or _first(values, _LABELS) is None:
            return False
        text = values.get("text")
        return _first(values, _HEADS) is not None or (isinstance(text, str) and _has_marks(text))
    return any("\t" in row and len(_PLACEHOLDER.findall(row)) == 2 for row in rows)


def marked_pairs(source: Source) -> Iterator[MarkedPair]:
    """The pairs of a file.

    Raises:
        DataError: a line has no pair, no label or text, or its mentions are not in the text.
    """
    rows = ((number, line) for number, line in enumerate(source.lines(), 1) if line.strip())
    for number, line in rows:
        reading = _Line(source, number)
        if line.lstrip().startswith("{"):
            yield reading.of_record(line)
        else:
            yield from reading.of_row(line)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that is read, for messages and ids."""

    source: Source
    number: int

    def refuse(self, message: str, hint: str | None = None) -> NoReturn:
        raise DataError(message, path=self.source.name, line=self.number, hint=hint)

    def pair(
        self, text: str, head: Span, tail: Span, types: tuple[str, str], label: object, doc: object = None
    ) -> MarkedPair:
        if isinstance(label, list | dict | float) or label is None:
            self.refuse(f"expected one label, found {str(label)[:40]}")
        if head == tail:
            self.refuse("the relation is of a mention with itself")
        doc_id = f"{self.source.label}:{self.number}" if doc in (None, "") else str(doc)
        return MarkedPair(doc_id, text, head, tail, types, str(label), self.source.name, self.number)

    def of_row(self, line: str) -> Iterator[MarkedPair]:
        """The pair of a row of text and label, of which any columns before are ignored; none for a header."""
        cells = line.split("\t")
        texts = [cell for cell in cells[:-1] if _PLACEHOLDER.search(cell)]
        if not texts:
            if self.number == 1:
                return
            self.refuse("no placeholders such as @GENE$ and @DISEASE$ in the text", "expected text, a tab, and a label")
        text = texts[0]
        found = list(_PLACEHOLDER.finditer(text))
        if len(found) != 2:
            self.refuse(f"{len(found)} placeholders in the text, expected two")
        # GENE before DISEASE, and where the types are equal, the order of the text
        first, second = sorted(found, key=lambda match: match[1], reverse=True)
        yield self.pair(text, first.span(), second.span(), (first[1], second[1]), cells[-1])

    def of_record(self, line: str) -> MarkedPair:
        """The pair of a JSON object."""
        values = parse_json(line, self.source.name, self.number)
        if not isinstance(values, dict):
            self.refuse(f"expected a JSON object, found {type(values).__name__}")
        label, doc = _first(values, _LABELS), _first(values, _DOCS)
        head, tail = _first(values, _HEADS), _first(values, _TAILS)
        text = values.get("text")
        if head is None and tail is None and isinstance(text, str):
            return self._of_marks(text, label, doc)
        if head is None or tail is None:
            self.refuse("expected a head and a tail", 'such as "head": {"start": 0, "end": 7, "type": "Drug"}')
        tokens = _first(values, _TOKENS)
        if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            bounds = list(_bounds(tokens))
            text = " ".join(tokens)
        elif isinstance(text, str):
            bounds = [(i, i + 1) for i in range(len(text))]
        else:
            self.refuse("expected text, or tokens as a list of strings")
        spans, types = zip(*(self._mention(given, len(bounds)) for given in (head, tail)), strict=True)
        first, second = ((bounds[start][0], bounds[end - 1][1]) for start, end in spans)
        return self.pair(text, first, second, types, label, doc)

    def _mention(self, given: object, n: int) -> tuple[Span, str]:
        """The place [start, end) of a mention among ``n`` tokens or characters, and its type."""
        kind: object = _UNTYPED
        if isinstance(given, Mapping):
            place = given.get("pos") or [_first(given, _STARTS), _first(given, _ENDS)]
            kind = given.get("type") or _UNTYPED
        else:
            place = given
        if isinstance(place, list) and len(place) == 3:
            *place, kind = place
        if not (isinstance(place, list) and len(place) == 2 and all(type(edge) is int for edge in place)):
            shown = str(given)[:60]
            self.refuse(f"expected a mention as [start, end, type] or with start and end, found {shown}")
        start, end = place
        if not 0 <= start < end <= n:
            self.refuse(f"a mention from {start} to {end}, which is not in a text of {n}")
        return (start, end), str(kind)

    def _of_marks(self, marked: str, label: object, doc: object) -> MarkedPair:
        """The pair of a text with the marks of ChemProt, which are taken out of it."""
        spans = {}
        cuts: list[Span] = []
        for side, pattern in _MARKS.items():
            match = pattern.search(marked)
            if match is None:
                self.refuse("expected << head >> and [[ tail ]] in the text")
            spans[side] = match.span(1)
            cuts += [(match.start(), match.start(1)), (match.end(1), match.end())]
        removed = {i for start, end in cuts for i in range(start, end)}
        places = [i for i in range(len(marked)) if i not in removed]
        text = "".join(marked[i] for i in places)
        head, tail = ((bisect_left(places, start), bisect_left(places, end)) for start, end in spans.values())
        return self.pair(text, head, tail, (_UNTYPED, _UNTYPED), label, doc)


def _has_marks(text: str) -> bool:
    return all(pattern.search(text) for pattern in _MARKS.values())


def _bounds(tokens: list[str]) -> Iterator[Span]:
    """The characters [start, end) of each token in the text of all, joined by spaces."""
    start = 0
    for token in tokens:
        yield start, start + len(token)
        start += len(token) + 1


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first value under one of ``names`` that is not None."""
    return next((values[name] for name in names if values.get(name) is not None), None)
