"""BioC, in XML or JSON: documents of passages, with annotations by their offset and length.

Source: Comeau et al. 2013, BioC: a minimalist approach to interoperability for biomedical text processing, Database;
JSON as PubTator and PubMed Central provide it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError, SubElement, XMLPullParser, tostring

from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
from mslm_cli.corpus.json_values import JsonStream
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation
from mslm_cli.errors import DataError

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot contain; each is written as a space."""

_MAX_GAP = 1000
"""Passages that begin farther than this from the previous one follow it directly, and their offsets change."""


_KEYS_OF_A_DOCUMENT = {"passages", "annotations", "relations", "infons", "sentences"}


class _Given(NamedTuple):
    """A document as JSON values, and the line where it begins, which is unknown in XML."""

    values: Mapping[str, Any]
    line: int | None = None


class _Piece(NamedTuple):
    """A passage, or a sentence of one, with the input's offsets."""

    offset: int
    text: str
    kind: str
    annotations: Sequence[Mapping[str, Any]]
    goes_on: bool


@dataclass
class _Reading:
    """A document under construction; ``name`` and ``line`` are for messages."""

    id: str
    name: str
    line: int | None
    text: str = ""
    annotations: list[Annotation] = field(default_factory=list)
    passages: list[tuple[int, int, str]] = field(default_factory=list)
    n_ignored: Counter[str] = field(default_factory=Counter)

    def add(self, piece: _Piece) -> None:
        gap = piece.offset - len(self.text)
        if not 0 <= gap <= _MAX_GAP:
            gap = 1 if self.text else 0
        filler = " " * gap if piece.goes_on else "\n" * min(gap, 2) + " " * (gap - 2)
        start = len(self.text) + gap
        self.text += filler + piece.text
        if piece.goes_on and self.passages:
            self.passages[-1] = (self.passages[-1][0], len(self.text), self.passages[-1][2])
        else:
            self.passages.append((start, len(self.text), piece.kind))
        for annotation in piece.annotations:
            self._annotate(annotation, piece, start)

    def add_annotations_of_the_whole(self, annotations: Iterable[Mapping[str, Any]]) -> None:
        """Add annotations outside of all passages; their offsets are relative to the document."""
        whole = _Piece(0, self.text, "", (), goes_on=False)
        for annotation in annotations:
            self._annotate(annotation, whole, 0)

    def _annotate(self, given: Mapping[str, Any], piece: _Piece, start: int) -> None:
        infons = given.get("infons") or {}
        kind, shown, id_ = infons.get("type"), str(given.get("text") or ""), str(given.get("id", ""))
        where = f"document {self.id}, annotation {id_ or shown[:40]!r}"
        places = given.get("locations") or []
        if not places and shown.strip() and piece.text.count(shown) == 1:
            places = [{"offset": piece.offset + piece.text.index(shown), "length": len(shown)}]
        if not places:
            self.n_ignored["annotations without a place"] += 1
            return
        if not isinstance(kind, str) or not kind:
            raise DataError(f"{where}: has no type", path=self.name, line=self.line)
        try:
            spans = sorted((int(p["offset"]) - piece.offset, int(p["length"])) for p in places)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{where}: expected locations with offset and length"
            raise DataError(message, path=self.name, line=self.line) from error
        fragments = [(first, first + length) for first, length in spans]
        if not _fits(fragments, shown, piece.text):
            fragments = [_of_bytes(fragment, piece.text) for fragment in fragments]
        if not _fits(fragments, shown, piece.text):
            first = spans[0][0]
            message = f"{where}: is {shown[:40]!r}, the text at its offset is {piece.text[max(first, 0) :][:40]!r}"
            raise DataError(message, path=self.name, line=self.line)
        concept = next((str(infons[key]) for key in ("identifier", "MESH", "concept_id") if infons.get(key)), "")
        placed = tuple((start + first, start + last) for first, last in fragments)
        self.annotations.append(Annotation(placed, kind, id_, concept))


def matches(path: Path, head: Head) -> bool:
    """Whether it is XML with a collection of documents, or JSON with passages."""
    start = head.text.lstrip()
    if start.startswith("<"):
        return "<collection" in start and ("BioC" in start or "<passage" in start or "<document" in start)
    return start.startswith(("{", "[")) and '"passages"' in start


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The documents, one after the other.

    Text is placed at its offsets if these ascend. Offsets that count bytes are recognised by the annotations' text. An
    annotation without a location is placed at its text, if that occurs once in the passage.

    Raises:
        DataError: the file is damaged, or an annotation differs from the text at its location.
    """
    documents = _from_xml(source) if source.head.text.lstrip().startswith("<") else _from_json(source)
    for number, given in enumerate(documents, 1):
        yield _document(given, source, number)


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """A collection: in XML if the output's name ends in .xml, else in JSON."""
    is_xml = target.endswith(".xml")
    if is_xml:
        yield Part('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n')
        yield Part("<collection><source>mslm</source><date></date><key></key>\n")
    else:
        yield Part('{"source": "mslm", "date": "", "key": "", "infons": {}, "documents": [\n')
    for number, document in enumerate(documents):
        values = _values(document)
        if is_xml:
            element = _element("document", values)
            yield Part(_NOT_XML.sub(" ", tostring(element, encoding="unicode")).replace("\r", "&#13;") + "\n")
        else:
            yield Part(f"{',' * (number > 0)}{json.dumps(values, ensure_ascii=False)}\n")
    yield Part("</collection>\n" if is_xml else "]}\n")


FORMAT = standoff_format("bioc", "BioC, XML or JSON", matches, annotated, Writer(parts))


def _values(document: AnnotatedDocument) -> dict[str, Any]:
    """A document in BioC's JSON form: its passages, or one with all of the text.

    All keys are written, and every annotation has an id, because other libraries require them.
    """
    passages = []
    taken = {annotation.id for annotation in document.annotations}
    unused = (str(number) for number in count(1) if str(number) not in taken)
    annotations = [each if each.id else replace(each, id=next(unused)) for each in document.annotations]
    bounds = document.passages or ((0, len(document.text), "passage"),)
    for number, (start, end, kind) in enumerate(bounds):
        after = bounds[number + 1][0] if number + 1 < len(bounds) else len(document.text) + 1
        inside = [
            annotation
            for annotation in annotations
            if annotation.bounds[0] < after and (number == 0 or annotation.bounds[0] >= start)
        ]
        end = max([end, *(annotation.bounds[1] for annotation in inside)])
        passages.append(
            {
                "infons": {"type": kind},
                "offset": start,
                "text": document.text[start:end],
                "sentences": [],
                "annotations": [_annotation_values(annotation, document.text) for annotation in inside],
                "relations": [],
            }
        )
    relations = [
        {
            "id": relation.id or f"R{number}",
            "infons": {"type": relation.type} | ({} if relation.score is None else {"score": f"{relation.score:.6f}"}),
            "nodes": [{"refid": target, "role": role} for role, target in relation.arguments],
        }
        for number, relation in enumerate(document.relations)
    ]
    return {"id": document.id, "infons": {}, "passages": passages, "relations": relations}


def _annotation_values(annotation: Annotation, text: str) -> dict[str, Any]:
    infons = {"type": annotation.type} | ({"identifier": annotation.concepts} if annotation.concepts else {})
    return {
        "id": annotation.id,
        "infons": infons | ({} if annotation.score is None else {"score": f"{annotation.score:.6f}"}),
        "text": " ".join(text[start:end] for start, end in annotation.fragments),
        "locations": [{"offset": start, "length": end - start} for start, end in annotation.fragments],
    }


def _element(tag: str, values: Mapping[str, Any]) -> Element:
    """The XML element that ``_xml_values`` reads as ``values``."""
    own = ("annotation", "relation", "location", "node")
    attributes = {"id": str(values["id"])} if tag in own and values.get("id") else {}
    element = Element(tag, attributes)
    if tag in ("location", "node"):
        element.attrib |= {key: str(value) for key, value in values.items()}
        return element
    if tag == "document":
        SubElement(element, "id").text = str(values["id"])
    for key, value in values.get("infons", {}).items():
        SubElement(element, "infon", {"key": key}).text = value
    for inner in ("locations", "nodes"):
        element.extend(_element(inner[:-1], value) for value in values.get(inner, ()))
    for inner in ("offset", "text"):
        if inner in values:
            SubElement(element, inner).text = str(values[inner])
    for inner in ("passages", "annotations", "relations"):
        element.extend(_element(inner[:-1], value) for value in values.get(inner, ()))
    return element


def _document(document: _Given, source: Source, number: int) -> AnnotatedDocument:
    given = document.values
    id_ = str(given.get("id") or given.get("_id") or given.get("pmid") or "")
    reading = _Reading(id_ or f"{source.label}:{number}", source.name, document.line)
    try:
        relations = [_relation(relation, document.line) for relation in given.get("relations") or ()]
        for passage in given["passages"]:
            for piece in _pieces(passage):
                reading.add(piece)
            relations += [_relation(relation, document.line) for relation in passage.get("relations") or ()]
        reading.add_annotations_of_the_whole(given.get("annotations") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"document {reading.id}: expected passages with offset and text ({type(error).__name__}: {error})"
        raise DataError(message, path=source.name, line=document.line) from error
    return AnnotatedDocument(
        reading.id,
        reading.text,
        tuple(reading.annotations),
        bool(id_),
        tuple(relations),
        tuple(reading.passages),
        tuple(sorted(reading.n_ignored.items())),
    )


def _pieces(passage: Mapping[str, Any]) -> Iterator[_Piece]:
    """The passage, or its sentences if they contain the text; annotations of the passage go with the first."""
    infons = passage.get("infons") or {}
    kind = str(infons.get("type") or infons.get("section_type") or "passage")
    own, sentences = list(passage.get("annotations") or ()), list(passage.get("sentences") or ())
    if passage.get("text") or not sentences:
        own += [annotation for sentence in sentences for annotation in sentence.get("annotations") or ()]
        yield _Piece(int(passage["offset"]), str(passage.get("text") or ""), kind, own, goes_on=False)
        return
    for number, sentence in enumerate(sentences):
        annotations = [*(own if not number else ()), *(sentence.get("annotations") or ())]
        yield _Piece(int(sentence["offset"]), str(sentence["text"]), kind, annotations, goes_on=number > 0)


def _relation(given: Mapping[str, Any], line: int | None) -> Relation:
    arguments = tuple((str(node.get("role", "")), str(node.get("refid", ""))) for node in given.get("nodes") or ())
    return Relation(str((given.get("infons") or {}).get("type", "")), arguments, str(given.get("id", "")), line)


def _fits(fragments: Sequence[tuple[int, int]], shown: str, text: str) -> bool:
    inside = all(0 <= start < end <= len(text) for start, end in fragments)
    return inside and (not shown or "".join(shown.split()) == "".join("".join(text[a:b].split()) for a, b in fragments))


def _of_bytes(fragment: tuple[int, int], text: str) -> tuple[int, int]:
    """Offsets in the bytes of UTF-8 as offsets in characters."""
    start, end = (len(text.encode()[: max(0, at)].decode(errors="ignore")) for at in fragment)
    return start, end


def _from_json(source: Source) -> Iterator[_Given]:
    """The documents of a collection, of an array of collections or documents, or of JSON lines."""
    stream = JsonStream(source.text_blocks(), source.name)
    while stream.peek():
        yield from _streamed(stream, source.name)


def _streamed(stream: JsonStream, name: str) -> Iterator[_Given]:
    """The documents in the next value, read lazily."""
    line = stream.line
    if stream.peek() == "[":
        for _ in stream.elements():
            yield from _streamed(stream, name)
        return
    if stream.peek() != "{":
        yield from _documents_in(stream.value(), name, line)
        return
    values: dict[str, Any] = {}
    has_documents = False
    for key in stream.members():
        if key in _KEYS_OF_A_DOCUMENT or "passages" in values or stream.peek() != "[":
            values[key] = stream.value()
            continue
        whole: list[object] = []
        is_of_documents = False
        for at in stream.elements():
            value = stream.value()
            is_of_documents |= not whole and isinstance(value, dict) and "passages" in value
            if is_of_documents:
                yield from _documents_in(value, name, at)
            else:
                whole.append(value)
        values |= {} if is_of_documents else {key: whole}
        has_documents |= is_of_documents
    if not has_documents:
        yield from _documents_in(values, name, line)


def _documents_in(value: object, name: str, line: int) -> Iterator[_Given]:
    """The document ``value``, or the documents in it if it is a collection, or a list of these."""
    if isinstance(value, list):
        for inner in value:
            yield from _documents_in(inner, name, line)
    elif isinstance(value, dict) and "passages" in value:
        yield _Given(value, line)
    elif isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        if not lists:
            raise DataError("expected a collection of documents with passages", path=name, line=line)
        for inner in lists:
            yield from _documents_in(inner, name, line)
    else:
        raise DataError(f"expected a document with passages, found {str(value)[:40]}", path=name, line=line)


def _from_xml(source: Source) -> Iterator[_Given]:
    parser: Any = XMLPullParser(events=("start", "end"))
    root: Element | None = None
    try:
        for block in source.blocks():
            parser.feed(block)
            for event, element in parser.read_events():
                assert isinstance(element, Element)
                root = element if root is None else root
                if event == "end" and element.tag == "document":
                    yield _Given(_xml_values(element))
                    root.clear()
        parser.close()
    except ParseError as error:
        raise DataError(f"not XML: {error}", path=source.name, line=error.position[0]) from error
    except (LookupError, ValueError) as error:  # for an encoding in the first line that is unknown or unsupported
        raise DataError(f"not XML: {error}", path=source.name, line=1) from error


def _xml_values(element: Element) -> Mapping[str, Any]:
    """A document, passage, sentence, annotation or relation with the keys of BioC JSON."""
    found: dict[str, Any] = dict(element.attrib)
    for child in element:
        if child.tag == "infon":
            found.setdefault("infons", {})[child.get("key", "")] = child.text or ""
        elif child.tag in ("location", "node"):
            found.setdefault(f"{child.tag}s", []).append(dict(child.attrib))
        elif child.tag in ("passage", "sentence", "annotation", "relation"):
            found.setdefault(f"{child.tag}s", []).append(_xml_values(child))
        else:
            found[child.tag] = child.text or ""
    return found
