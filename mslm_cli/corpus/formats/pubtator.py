"""PubTator: a title and an abstract on a line each, then a line for each mention and relation.

``ID|t|title``, ``ID|a|abstract``; mentions as ``ID TAB start TAB end TAB text TAB type`` and, in most files, ``TAB
concept`` (``-`` for none); relations as ``ID TAB type TAB concept TAB concept``. Offsets count the characters of the
title, one character between the two, and the abstract. A blank line ends a document, and so does the next title.

Source: Wei et al. 2013 (PubTator), Nucleic Acids Research 41; columns as in BC5CDR, NCBI-disease, BioRED, MedMentions.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation
from mslm_cli.errors import DataError

_HEADER = re.compile(r"([^\t|]+)\|([a-z])\|(.*)", re.DOTALL)
_OFFSET = re.compile(r"\d{1,18}")
_NO_CONCEPT = "-"
"""Written for a mention without a concept, as in PubTator itself: some readers skip rows of five columns."""

_KINDS = {"t": "title", "a": "abstract"}


@dataclass(slots=True)
class _Lines:
    """The lines of one document: its passages, and the other lines with their numbers."""

    id: str
    passages: list[tuple[str, str]] = field(default_factory=list)
    rows: list[tuple[int, str]] = field(default_factory=list)


def matches(path: Path, head: Head) -> bool:
    """Whether the first line that is not blank is a title."""
    first, _, _ = head.text.lstrip().partition("\n")
    found = _HEADER.match(first)
    return found is not None and found[2] == "t"


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The documents, read lazily.

    Raises:
        DataError: a line is neither title, abstract, mention nor relation, or a mention differs from the text at its
            offsets.
    """
    return (_document(lines, source.name) for lines in _documents(source))


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """A block for each document: its first passage or line as title, the rest as abstract.

    Line ends and tabs become spaces, which keeps offsets. A mention of several parts is written from the first to the
    last.
    """
    for document in documents:
        id_ = re.sub(r"[|\s]+", "_", document.id)
        text = _flat(document.text)
        end = document.passages[0][1] if document.passages else document.text.find("\n")
        end = end if 0 <= end < len(text) and text[end].isspace() else len(text)
        rows = [f"{id_}|t|{text[:end]}", f"{id_}|a|{text[end + 1 :]}"]
        for annotation in document.annotations:
            start, last = annotation.bounds
            concepts = _flat(annotation.concepts) or _NO_CONCEPT
            rows.append("\t".join([id_, str(start), str(last), text[start:last], _flat(annotation.type), concepts]))
        for relation in document.relations:
            if len(relation.arguments) == 2:
                targets = (_flat(target) for _, target in relation.arguments)
                rows.append("\t".join([id_, _flat(relation.type), *targets]))
        yield Part("\n".join(rows) + "\n\n")


FORMAT = standoff_format("pubtator", "PubTator", matches, annotated, Writer(parts))


def _flat(text: str) -> str:
    return re.sub(r"[\t\r\n]", " ", text)


def _documents(source: Source) -> Iterator[_Lines]:
    current: _Lines | None = None
    for number, line in enumerate(source.lines(), 1):
        if "\r" in line:
            hint = "end lines with a line feed, or both characters"
            raise DataError("a carriage return inside the line", path=source.name, line=number, hint=hint)
        header = _HEADER.match(line)
        if current and (not line.strip() or (header and (header[2] == "t" or header[1] != current.id))):
            yield current
            current = None
        if header:
            current = current or _Lines(header[1])
            current.passages.append((_KINDS.get(header[2], header[2]), header[3]))
        elif line.strip():
            if current is None:
                message = f"expected the title of a document (ID|t|text), found {line[:40]!r}"
                raise DataError(message, path=source.name, line=number)
            current.rows.append((number, line))
    if current:
        yield current


def _document(lines: _Lines, name: str) -> AnnotatedDocument:
    passages = []
    position = 0
    for kind, text in lines.passages:
        passages.append((position, position + len(text), kind))
        position += len(text) + 1
    text = "\n".join(text for _, text in lines.passages)
    annotations, relations = [], []
    for number, row in lines.rows:
        cells = row.rstrip().split("\t")
        if len(cells) >= 5 and _OFFSET.fullmatch(cells[1]) and _OFFSET.fullmatch(cells[2]):
            annotations.append(_annotation(cells, text, name, number))
        elif len(cells) >= 4 and cells[0] == lines.id and not cells[1].isdecimal():
            arguments = tuple(("", concept) for concept in cells[2:4])
            relations.append(Relation(cells[1], arguments, "\t".join(cells[4:]), number))
        else:
            message = f"expected a mention (ID, start, end, text, type) or a relation in columns, found {row[:60]!r}"
            raise DataError(message, path=name, line=number)
    return AnnotatedDocument(lines.id, text, tuple(annotations), relations=tuple(relations), passages=tuple(passages))


def _annotation(cells: list[str], text: str, name: str, line: int) -> Annotation:
    start, end, shown, kind = int(cells[1]), int(cells[2]), cells[3], cells[4].strip()
    found = text[start:end]
    if found.split() != shown.split():
        message = f"the mention is {shown[:40]!r}, the text from {start} to {end} is {found[:40]!r}"
        hint = "offsets count the characters of the title, one between, and those of the abstract"
        raise DataError(message, path=name, line=line, hint=hint)
    if not kind:
        raise DataError("a mention without a type", path=name, line=line)
    concepts = cells[5] if len(cells) > 5 and cells[5] != _NO_CONCEPT else ""
    return Annotation(((start, end),), kind, concepts=concepts)
