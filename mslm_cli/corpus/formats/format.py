"""What a format of data is to the rest of the program."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, labelled_corpus


@dataclass(frozen=True)
class Format:
    """One form in which people have data.

    name: what ``--format`` calls it.
    help: what it is, in a few words.
    matches: whether a file of this path that begins like this is in the form.
    documents: the running text of a file, as it is asked for; labels do not show in it.
    labelled: the gold sentences of a file, or None where the form has no labels.

    annotated: the documents of a file with their mentions by characters, where the form annotates characters.

    All readers raise DataError, with the line where there is one, for a file that is not in the form.
    """

    name: str
    help: str
    matches: Callable[[Path, Head], bool]
    documents: Callable[[Source], Iterator[Document]]
    labelled: Callable[[Source], LabelledCorpus] | None = None
    annotated: Callable[[Source], Iterator[AnnotatedDocument]] | None = None


def standoff_format(
    name: str,
    help: str,
    matches: Callable[[Path, Head], bool],
    annotated: Callable[[Source], Iterator[AnnotatedDocument]],
) -> Format:
    """The format of a form that annotates characters: text and labelled words follow from the annotated documents."""

    def documents(source: Source) -> Iterator[Document]:
        return (Document(d.id, d.text, None, d.has_id) for d in annotated(source) if not d.text.isspace() and d.text)

    def labelled(source: Source) -> LabelledCorpus:
        options = source.options
        return labelled_corpus(
            annotated(source),
            overlaps=options.overlaps,
            fragments=options.fragments,
            split_words=source.split_words,
        )

    return Format(name, help, matches, documents, labelled, annotated)
