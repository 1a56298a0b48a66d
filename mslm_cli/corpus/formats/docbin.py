"""spaCy's DocBin (``.spacy``): the texts of its documents, with their entities by characters.

The words of the file have no part in how sentences and words are split here: that is as for any other text.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

from mslm_cli.corpus.formats.format import standoff_format
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.errors import DataError

_SPANS_KEY = "sc"
"""The group of spans that spaCy's span categoriser and its tools use."""


def matches(path: Path, head: Head) -> bool:
    """Whether it is compressed by zlib, and what comes out begins as a DocBin does."""
    if head.raw[:1] != b"\x78":
        return False
    try:
        start = zlib.decompressobj().decompress(head.raw, 100)
    except zlib.error:
        return False
    return b"version" in start and b"attrs" in start


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The documents; their entities, or where none has one, the spans of the group ``sc``, which may overlap.

    Raises:
        DataError: the file is no sound DocBin.
    """
    import spacy
    from spacy.tokens import DocBin

    try:
        docs = list(DocBin().from_bytes(b"".join(source.blocks())).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # of zlib, msgpack or spaCy, whichever comes upon the damage
        message = f"not a sound DocBin: {type(error).__name__}: {error}"
        raise DataError(message, path=source.name) from error
    with_entities = any(doc.ents for doc in docs)
    for number, doc in enumerate(docs, 1):
        spans = doc.ents if with_entities else doc.spans.get(_SPANS_KEY, [])
        annotations = tuple(
            Annotation(((span.start_char, span.end_char),), span.label_, concepts=span.kb_id_)
            for span in spans
            if span.start_char < span.end_char and span.label_
        )
        id_ = str(doc.user_data.get("id", ""))
        yield AnnotatedDocument(id_ or f"{source.label}:{number}", doc.text, annotations, bool(id_))


FORMAT = standoff_format("docbin", "a DocBin of spaCy", matches, annotated)
