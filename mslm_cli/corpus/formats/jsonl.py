"""JSON records, one on each line or all in one array: texts with spans, or words with tags (``corpus.records``)."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.formats.format import Format, Part, Writer
from mslm_cli.corpus.json_values import JsonStream, parse_json
from mslm_cli.corpus.records import Record, Records
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.errors import DataError


def matches(path: Path, head: Head) -> bool:
    """Whether it begins with a JSON object, or an array of them."""
    start = head.text.lstrip()
    if start.startswith("["):
        return start[1:].lstrip().startswith("{")
    if not start.startswith("{"):
        return False
    first, newline, _ = start.partition("\n")
    if not newline:
        first = next((line for line in head.lines if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def documents(source: Source) -> Iterator[Document]:
    """The running text of the records."""
    return Records(source, _records(source)).documents()


def labelled(source: Source) -> LabelledCorpus:
    """The labelled sentences of the records."""
    return Records(source, _records(source)).labelled()


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The text of the records with its mentions."""
    return Records(source, _records(source)).annotated()


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """A line for each document: id, text, and entities with start, end, label and text."""
    for document in documents:
        yield Part(json.dumps(_values(document), ensure_ascii=False) + "\n")


FORMAT = Format("jsonl", "JSON records", matches, documents, labelled, annotated, Writer(parts))


def _values(document: AnnotatedDocument) -> dict[str, Any]:
    entities = []
    for annotation in document.annotations:
        start, end = annotation.bounds
        optional = {
            "id": annotation.id,
            "concepts": annotation.concepts,
            "fragments": annotation.fragments if len(annotation.fragments) > 1 else None,
            "score": None if annotation.score is None else round(annotation.score, 6),
        }
        entity = {"start": start, "end": end, "label": annotation.type, "text": document.text[start:end]}
        entities.append(entity | {key: value for key, value in optional.items() if value not in ("", None)})
    relations = [
        {"id": relation.id, "from_id": first, "to_id": second, "type": relation.type}
        | ({} if relation.score is None else {"score": round(relation.score, 6)})
        for relation in document.relations
        if len(relation.arguments) == 2
        for (_, first), (_, second) in [relation.arguments]
    ]
    return {"id": document.id, "text": document.text, "entities": entities} | (
        {"relations": relations} if relations else {}
    )


def _records(source: Source) -> Iterator[Record]:
    if source.head.text.lstrip().startswith("["):
        stream = JsonStream(source.text_blocks(), source.name)
        for number, line in enumerate(stream.elements(), 1):
            yield Record(number, _object(stream.value(), source.name, line), line)
        stream.end()
        return
    for line, text in enumerate(source.lines(), 1):
        if text.strip():
            yield Record(line, _object(parse_json(text, source.name, line), source.name, line), line)


def _object(value: object, name: str, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, found {type(value).__name__}", path=name, line=line)
    return value
