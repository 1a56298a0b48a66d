"""What a format of data is to the rest of the program."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mslm_cli.corpus.documents import Document, LabelledCorpus, document_parts
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, labelled_corpus


class Part(NamedTuple):
    """A piece of what is written: of the file of this name in the output folder, or of the output itself."""

    content: str | bytes
    file: str = ""


@dataclass(frozen=True)
class Writer:
    """How documents are written in a form.

    parts: what is to be written, one piece after the other, given the documents and the output's name.
    is_folder: whether it is a folder of files. is_binary: whether it is one file that is not text.
    """

    parts: Callable[[Iterable[AnnotatedDocument], str], Iterator[Part]]
    is_folder: bool = False
    is_binary: bool = False


@dataclass(frozen=True)
class Format:
    """One form in which people have data.

    name: what ``--format`` calls it.
    help: what it is, in a few words.
    matches: whether a file of this path that begins like this is in the form.
    documents: the running text of a file, as it is asked for; labels do not show in it.
    labelled: the gold sentences of a file, or None where the form has no labels.

    annotated: the documents of a file with their mentions by characters, or None where the form has no labels.
    writer: writes such documents, or None where nothing is written in the form.

    All readers raise DataError, with the line where there is one, for a file that is not in the form.
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
    """The format of a form that annotates characters: text and labelled words follow from the annotated documents."""

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
