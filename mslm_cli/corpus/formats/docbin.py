"""spaCy's DocBin (``.spacy``): the texts of its documents, with their entities by characters.

The words of the file have no part in how sentences and words are split here: that is as for any other text.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.errors import DataError
from mslm_cli.text.tokens import token_spans

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span
    from spacy.vocab import Vocab

_SPANS_KEY = "sc"
"""The group of spans that spaCy's span categoriser and its tools use."""


def matches(path: Path, head: Head) -> bool:
    """Whether it ends in .spacy, or is compressed by zlib and what comes out begins as a DocBin does."""
    if head.raw[:1] != b"\x78":
        return False
    if path.suffix == ".spacy":
        return True
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


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """One DocBin; mentions are entities, or where any overlap, all are spans of the group ``sc``.

    Its words are those of `mslm`, cut where mentions begin and end, so that every mention is of whole ones.
    """
    import spacy
    from spacy.tokens import DocBin

    vocab = spacy.blank("xx").vocab
    docs = [_doc(document, vocab) for document in documents]
    if all(_are_disjoint(doc.spans[_SPANS_KEY]) for doc in docs):
        for doc in docs:
            doc.ents = tuple(doc.spans.pop(_SPANS_KEY))
    yield Part(DocBin(docs=docs, store_user_data=True).to_bytes())


FORMAT = standoff_format("docbin", "a DocBin of spaCy", matches, annotated, Writer(parts, is_binary=True))


def _doc(document: AnnotatedDocument, vocab: "Vocab") -> "Doc":
    """The document with all mentions as spans of the group ``sc``."""
    from spacy.tokens import Doc, Span

    text = document.text
    bounds = [annotation.bounds for annotation in document.annotations]
    outer = {start for start, _ in bounds} | {end - 1 for _, end in bounds}
    cuts = {0, len(text)}.union(*bounds, *token_spans(text))
    words: list[str] = []
    spaces: list[bool] = []
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for start, end in pairwise(sorted(cuts)):
        # a space after a word is no word, unless a mention begins or ends with it
        if text[start:end] == " " and words and not spaces[-1] and start not in outer:
            spaces[-1] = True
            continue
        starts[start] = len(words)
        words.append(text[start:end])
        spaces.append(False)
        ends[end] = len(words)
    doc = Doc(vocab, words=words, spaces=spaces)
    doc.user_data["id"] = document.id
    doc.spans[_SPANS_KEY] = [
        Span(doc, starts[start], ends[end], label=annotation.type, kb_id=annotation.concepts)
        for annotation, (start, end) in zip(document.annotations, bounds, strict=True)
    ]
    return doc


def _are_disjoint(spans: "Iterable[Span]") -> bool:
    ordered = sorted((span.start, span.end) for span in spans)
    return all(one[1] <= other[0] for one, other in pairwise(ordered))
