"""Texts with labels of their own, for classification: JSON lines, CSV, TSV, or a folder for each class."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mslm_cli import console
from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.json_values import parse_json
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import opened_files
from mslm_cli.corpus.relations import words_and_sentences
from mslm_cli.corpus.source import Source, no_text
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError
from mslm_cli.text.tokens import token_spans

_TEXTS = ("text", "sentence", "abstract", "document", "content")
_LABELS = ("label", "labels", "class", "category")
_IDS = ("id", "doc", "doc_id", "document_id", "pmid")
_SEPARATORS = "|;"
_FIELD_LIMIT = 10_000_000


class LabelledText(NamedTuple):
    """A text as read: its id if it has one, its labels, and the line it is in."""

    id: str
    text: str
    labels: tuple[str, ...]
    line: int | None


@dataclass(frozen=True, slots=True)
class ClassifiedDocument:
    """A document with its labels; ``sentences``: the words of each."""

    id: str
    sentences: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassifiedCorpus(LabelledCorpus):
    """Documents with labels; ``types`` are these. ``is_multi``: whether any has other than one label."""

    documents: tuple[ClassifiedDocument, ...] = ()
    is_multi: bool = False

    @property
    def n_gold(self) -> int:
        """The number of labels."""
        return sum(len(document.labels) for document in self.documents)


def read_classified(path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> ClassifiedCorpus:
    """The labelled texts of a file or folder.

    JSON lines have ``text`` and ``label``, or ``labels``, a list. Tables have columns of these names, or without a
    header two: text and label; in a column ``labels`` several are separated by bars or semicolons. In a folder of
    folders, each of these is a class, and each file a text.

    Raises:
        DataError: a file is unreadable, has no such columns, or a text is empty; with path and line.
        UsageError: the encoding is unknown.
    """
    texts: list[LabelledText] = []
    is_of_folders = path.is_dir() and any(each.is_dir() for each in path.iterdir() if each.name[:1] != ".")
    for source in opened_files([path], options):
        is_table = not is_of_folders and not source.head.text.lstrip().startswith("{")
        if is_of_folders:
            label = source.path.relative_to(path).parts[0]
            found: Iterator[LabelledText] = iter([LabelledText(source.label, source.text(), (label,), None)])
        else:
            found = _of_table(source) if is_table else _of_records(source)
        n_before = len(texts)
        for number, one in enumerate(found, 1):
            if not one.text.strip():
                raise DataError("a text without words", path=source.name, line=one.line)
            texts.append(one._replace(id=one.id or f"{source.label}:{number}"))
        if len(texts) == n_before:
            raise no_text(source.name, is_empty=False)
        if is_table:
            _check_for_header(texts[n_before:], source.name)
            _report_joined(texts[n_before:], source.name)
    return classified_corpus(texts, split_words)


def classified_corpus(texts: Sequence[LabelledText], split_words: SplitWords) -> ClassifiedCorpus:
    """The corpus of ``texts``."""
    documents, sentences = [], []
    for text in texts:
        words, bounds = words_and_sentences(text.text, split_words)
        shown = tuple(tuple(text.text[a:b] for a, b in words[first:last]) for first, last in bounds)
        documents.append(ClassifiedDocument(text.id, shown, tuple(sorted(set(text.labels)))))
        sentences += [
            LabelledSentence(f"{text.id}:{number}", text.id, own, (), ("O",) * len(own))
            for number, own in enumerate(shown, 1)
        ]
    types = sorted(set(chain.from_iterable(document.labels for document in documents)))
    is_multi = any(len(document.labels) != 1 for document in documents)
    return ClassifiedCorpus(tuple(sentences), tuple(types), "IOB2", 0, documents=tuple(documents), is_multi=is_multi)


def _of_records(source: Source) -> Iterator[LabelledText]:
    for number, line in enumerate(source.lines(), 1):
        if not line.strip():
            continue
        values = parse_json(line, source.name, number)
        if not isinstance(values, dict):
            raise DataError(f"expected a JSON object, found {type(values).__name__}", path=source.name, line=number)
        text = next((values[key] for key in _TEXTS if isinstance(values.get(key), str)), None)
        given = next((values[key] for key in _LABELS if values.get(key) is not None), None)
        labels = given if isinstance(given, list) else [given]
        if text is None or not all(isinstance(label, str | int) for label in labels):
            keys = ", ".join(list(values)[:8])
            message = f"expected text, and label or labels, found a record with {keys or 'nothing'}"
            raise DataError(message, path=source.name, line=number)
        id_ = next((str(values[key]) for key in _IDS if values.get(key) is not None), "")
        yield LabelledText(id_, text, tuple(map(str, labels)), number)


def _of_table(source: Source) -> Iterator[LabelledText]:
    first = next((line for line in source.head.lines if line.strip()), "")
    delimiter = max("\t,;", key=first.count)
    is_quoted = delimiter != "\t"  # quotes are text between tabs
    rows = csv.reader(
        (f"{line}\n" for line in source.lines()),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
        strict=is_quoted,
    )
    columns: list[str] | None = None
    usual_limit = csv.field_size_limit(_FIELD_LIMIT)  # of the whole process
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells)
                if columns is not None:
                    continue
                columns = ["text", "label"]
            if len(cells) != len(columns):
                hint = (
                    "give a table with the columns text and label, JSON lines with these keys, or a folder of texts"
                    " for each class"
                )
                message = f"{len(cells)} cells, where there are {len(columns)} columns"
                raise DataError(message, path=source.name, line=rows.line_num, hint=hint)
            yield _of_row(dict(zip(columns, cells, strict=True)), rows.line_num, source.name)
    except csv.Error as error:
        raise DataError(f"not a row of a table: {error}", path=source.name, line=rows.line_num) from error
    finally:
        csv.field_size_limit(usual_limit)


def _check_for_header(texts: Sequence[LabelledText], name: str) -> None:
    """Refuse a first row that can only be the names of columns: a single word, with a label that no other row has.

    Raises:
        DataError: it is one.
    """
    first, *others = texts
    known = {label for text in others for label in text.labels}
    if len(others) >= 5 and first.line == 1 and len(first.text.split()) == 1 and not known & set(first.labels):
        shown = f"{first.text!r} and {', '.join(map(repr, first.labels))}"
        hint = "call the columns text and label"
        raise DataError(f"the first row looks like the names of columns: {shown}", path=name, line=1, hint=hint)


def _report_joined(texts: Sequence[LabelledText], name: str) -> None:
    """Warn of labels that look like several others, which only a column ``labels`` can hold."""
    known = {label for text in texts for label in text.labels}
    joined = [label for label in known if len(parts := _parts(label)) > 1 and known.issuperset(parts)]
    if joined:
        console.warn(f"{name}: {min(joined)!r} is one label; several belong in a column called labels")


def _parts(label: str) -> list[str]:
    """The labels that bars and semicolons separate."""
    parts = [label]
    for separator in _SEPARATORS:
        parts = [part.strip() for found in parts for part in found.split(separator)]
    return [part for part in parts if part]


def _columns(cells: list[str]) -> list[str] | None:
    """The names of the columns in the first row, if it is a header."""
    names = [cell.lower() for cell in cells]
    return names if set(names) & set(_TEXTS) and set(names) & set(_LABELS) else None


def _of_row(values: dict[str, str], line: int, name: str) -> LabelledText:
    text = next(values[key] for key in _TEXTS if key in values)
    key = next(key for key in _LABELS if key in values)
    labels = [values[key]]
    if key == "labels":
        labels = _parts(values[key])
    elif not values[key]:
        raise DataError("a text without a label", path=name, line=line, hint="a column labels may be empty")
    id_ = next((values[key] for key in _IDS if values.get(key)), "")
    return LabelledText(id_, text, tuple(labels), line)


def json_line(doc: str, labels: Sequence[tuple[str, float]]) -> str:
    """A line of output with the predicted labels of a document."""
    found = [{"label": label, "score": round(score, 6)} for label, score in labels]
    return json.dumps({"doc": doc, "labels": found}, ensure_ascii=False) + "\n"
