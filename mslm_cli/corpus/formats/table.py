"""Tables of words: a header that names the columns, then a row for each word; comma, tab or semicolon between cells."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.options import COLUMNS
from mslm_cli.corpus.source import Head, Source, no_text
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.corpus.tagged import (
    OpenSentence,
    TaggedSentence,
    is_tag,
    known_tag,
    tagged_annotated,
    tagged_corpus,
    tagged_documents,
)
from mslm_cli.errors import DataError

_USUAL = {
    "word": ("word", "token", "words", "tokens", "form"),
    "tag": ("tag", "label", "ner", "ner_tag", "ner_tags", "tags", "labels", "entity", "iob", "bio"),
    "sentence": ("sentence", "sent_id", "sentence_id", "sentence_idx", "sentence #", "sent", "sentence_number"),
    "doc": ("doc", "doc_id", "document", "document_id", "docid", "pmid"),
}
"""Usual names of columns, lower case, for those that ``--columns`` does not name."""


def matches(path: Path, head: Head) -> bool:
    """Whether the first line names a column of words and one of tags, and the second line has a tag there.

    With ``--columns`` it is enough that the first line names these columns.
    """
    filled = [line for line in head.lines if line.strip()][:2]
    if len(filled) < 2:
        return False
    delimiter = _delimiter(filled[0])
    try:
        header, row = (_cells(line, delimiter) for line in filled)
    except csv.Error:
        return False
    named = head.options.column_names
    place = _places(header, named)
    if named:
        return named.keys() <= place.keys()
    return {"word", "tag"} <= place.keys() and len(row) == len(header) and is_tag(row[place["tag"]].strip())


def names_words_and_tags(line: str) -> bool:
    """Whether a line is a header with a column of words and one of tags."""
    try:
        return {"word", "tag"} <= _places(_cells(line, _delimiter(line)), {}).keys()
    except csv.Error:
        return False


def documents(source: Source) -> Iterator[Document]:
    """Words joined by one space, sentences by a line end; tags are ignored."""
    return tagged_documents(_sentences(source, with_tags=False), source.label)


def labelled(source: Source) -> LabelledCorpus:
    """The sentences with the mentions of the tags, as of CoNLL-style columns."""
    return tagged_corpus(_all(source))


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The text of ``documents`` with the mentions of ``labelled``."""
    return tagged_annotated(_all(source), source.label)


FORMAT = Format("table", "a table of words, CSV or TSV", matches, documents, labelled, annotated)


def _all(source: Source) -> list[TaggedSentence]:
    sentences = list(_sentences(source, with_tags=True))
    if not sentences:
        raise no_text(source.name, is_empty=False)
    return sentences


def _sentences(source: Source, *, with_tags: bool) -> Iterator[TaggedSentence]:
    """The sentences: where the sentence column changes, or where there is none, at blank lines.

    An empty cell of the sentence or document column is that of the row before.

    Raises:
        DataError: a column is missing, a row has another number of cells than the header, or a tag is unknown.
    """
    lines = enumerate(source.lines(), 1)

    def row_of(number: int, text: str) -> list[str]:
        try:
            return _cells(text, delimiter)
        except csv.Error as error:
            raise DataError(f"not a row of a table: {error}", path=source.name, line=number) from error

    number_of_header, first = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    delimiter = _delimiter(first)
    header = row_of(number_of_header, first)
    place = _places(header, source.options.column_names)
    for what in ("word", *(["tag"] if with_tags else [])):
        if what not in place:
            named = source.options.column_names.get(what)
            message = f"no column {named!r}" if named else f"no column is known to hold a {what}"
            hint = f"--columns {what}=NAME; the columns are {', '.join(header)[:200]}"
            raise DataError(message, path=source.name, line=number_of_header, hint=hint)
    names = source.options.label_names
    known: dict[str, str] = {}
    number = doc = ""
    current = OpenSentence(None, False)
    for line, text in lines:
        row = row_of(line, text)
        if not any(cell.strip() for cell in row):
            if current.words:
                yield current.closed()
                current = OpenSentence(current.doc, current.named)
            continue
        if len(row) != len(header):
            message = f"{len(row)} cells, where the header has {len(header)}"
            raise DataError(message, path=source.name, line=line)
        cells = {what: row[at].strip() for what, at in place.items()}
        here = cells.get("sentence") or number, cells.get("doc") or doc
        if current.words and here != (number, doc):
            yield current.closed()
            current = OpenSentence(None, False)
        number, doc = here
        if not current.words:
            current.doc, current.named, current.line = doc or None, bool(doc), line
        current.words.append(cells["word"])
        if with_tags:
            tag = cells["tag"]
            if names and tag.isdecimal() and int(tag) < len(names):
                tag = names[int(tag)]
            current.tags.append(known_tag(tag, known, source.name, line))
    if current.words:
        yield current.closed()


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line; raises csv.Error if it is not a row of a table."""
    if "\r" in line:
        raise csv.Error("a carriage return inside the line")
    # quotes enclose cells between commas, but are words between tabs
    if delimiter == "\t":
        return line.split("\t")
    return next(csv.reader([line], delimiter=delimiter), [])


def _delimiter(header: str) -> str:
    return max("\t,;", key=header.count)


def _places(header: Sequence[str], named: Mapping[str, str]) -> dict[str, int]:
    """The numbers of the columns, by what they contain."""
    names = [cell.strip() for cell in header]
    folded = [name.casefold() for name in names]
    found = {}
    for what in COLUMNS:
        if what in named:
            places = [i for i, name in enumerate(names) if name == named[what]]
        else:
            places = [folded.index(usual) for usual in _USUAL[what] if usual in folded]
        if places:
            found[what] = places[0]
    return found
