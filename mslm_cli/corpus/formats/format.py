"""The interface of a data format."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mslm_cli.corpus.documents import Document, LabelledCorpus, document_parts
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, labelled_corpus


class Part(NamedTuple):
    """A piece of output: for the file of this name in the output folder, or for the output itself."""

    content: str | bytes
    file: str = ""


@dataclass(frozen=True)
class Writer:
    """How documents are written in a format.

    parts: yields the output piece by piece, given the documents and the output's name.
    is_folder: whether the output is a folder of files. is_binary: whether it is a file that is not text.
    """

    parts: Callable[[Iterable[AnnotatedDocument], str], Iterator[Part]]
    is_folder: bool = False
    is_binary: bool = False


@dataclass(frozen=True)
class Format:
    """A data format.

    name: its value of ``--format``.
    help: a description in a few words.
    matches: whether a file with this path and beginning is in the format.
    documents: yields the running text of a file, read lazily and without labels.
    labelled: returns the gold sentences of a file; None if the format has no labels.
    annotated: yields the documents of a file with their mentions by characters; None if the format has no labels.
    writer: writes such documents; None if the format cannot be written.

    All readers raise DataError, with the line if there is one, for a file that is not in the format.
    """

    name: str
    help: str
    matches: Callable[[Path, Head], bool]
    documents: Callable[[Source], Iterator[Document]]
    labelled: Callable[[Source], LabelledCorpus] | None = None
    annotated: Callable[[Source], Iterator[AnnotatedDocument]] | None = None
    writer: Writer | None = None


def standoff_format(
    name: str,
    help: str,
    matches: Callable[[Path, Head], bool],
    annotated: Callable[[Source], Iterator[AnnotatedDocument]],
    writer: Writer | None = None,
) -> Format:
    """A format that annotates characters: text and labelled words are derived from the annotated documents."""

    def documents(source: Source) -> Iterator[Document]:
        for d in annotated(source):
            if d.text.strip():
                yield from document_parts(Document(d.id, d.text, None, d.has_id))

    def labelled(source: Source) -> LabelledCorpus:
        options = source.options
        return labelled_corpus(
            annotated(source),
            overlaps=options.overlaps,
            fragments=options.fragments,
            split_words=source.split_words,
        )

    return Format(name, help, matches, documents, labelled, annotated, writer)
