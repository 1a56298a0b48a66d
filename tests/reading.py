"""What is read from files: all of it, in forms that are short to compare."""

from pathlib import Path
from typing import Any

from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.corpus.source import Source
from mslm_cli.corpus.standoff import AnnotatedDocument


def documents(*files: Path, **options: object) -> list[Document]:
    return list(read_documents(files, DataOptions.build(**options)))


def texts(*files: Path, **options: object) -> list[str]:
    return [document.text for document in documents(*files, **options)]


def annotated(path: Path, **options: Any) -> list[AnnotatedDocument]:
    """The annotated documents of a file in the format that it is recognised as."""
    source = Source(path, DataOptions(**options))
    chosen = next(f for f in FORMATS if f.matches(path, source.head))
    assert chosen.annotated is not None
    return list(chosen.annotated(source))


def shown(found: list[AnnotatedDocument]) -> list[tuple[str, str, str]]:
    """Document, type and text of every mention."""
    return [
        (d.id, a.type, " ... ".join(d.text[start:end] for start, end in a.fragments))
        for d in found
        for a in d.annotations
    ]


def read_mentions(path: Path, **options: Any) -> list[tuple[str, str]]:
    """Type and words of every mention that is read."""
    return [
        (kind, " ".join(sentence.words[start:end]))
        for sentence in read_labelled(path, DataOptions(**options)).sentences
        for start, end, kind in sentence.mentions
    ]
