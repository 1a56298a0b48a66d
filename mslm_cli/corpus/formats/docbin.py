"""spaCy's DocBin (``.spacy``): the texts of its documents, with their entities by characters.

Sentences and words are split as in any other text, regardless of the tokens in the file.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise, repeat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from mslm_cli.corpus.formats.format import Part, Writer, standoff_format
from mslm_cli.corpus.source import Head, Source, copied
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.errors import DataError
from mslm_cli.text.tokens import token_spans

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span
    from spacy.vocab import Vocab

_SPANS_KEY = "sc"
"""The group of spans that spaCy's span categoriser and its tools use."""

_LONG = ("tokens", "spaces")
"""The entries of a DocBin with values for each token: uint64 [n_tokens, n_attributes] and bool [n_tokens]."""

_SIZES_OF_BINARY = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}
"""The number of bytes of the length of a binary value in msgpack, by its first byte."""

_PIECE_BYTES = 1 << 20
_ROWS_AT_ONCE = 1 << 16


def matches(path: Path, head: Head) -> bool:
    """Whether it ends in .spacy, or is compressed by zlib and begins as a DocBin does."""
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
    """The documents with their entities or, if none has any, the spans of the group ``sc``, which may overlap.

    The file is decompressed to a temporary file, from which one document at a time is made.

    Raises:
        DataError: the file is damaged or not a DocBin.
    """
    try:
        with copied(_inflated(source.blocks(), source.name)) as file:
            yield from _documents(_Stored.read(file), source.label)
    except (DataError, OSError, GeneratorExit):
        raise
    except Exception as error:  # from msgpack, numpy or spaCy, whichever finds the damage
        message = f"not a sound DocBin: {type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(message, path=source.name) from error


def parts(documents: Iterable[AnnotatedDocument], target: str) -> Iterator[Part]:
    """One DocBin; mentions are entities or, if any overlap, all are spans of the group ``sc``.

    Its tokens are the words of `mslm`, cut where mentions begin and end, so that mentions consist of whole tokens.
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


def _inflated(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The decompressed ``blocks``, piece by piece."""
    inflater = zlib.decompressobj()
    try:
        for block in blocks:
            rest = block
            while rest and not inflater.eof:
                yield inflater.decompress(rest, _PIECE_BYTES)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise DataError(f"not a sound DocBin: {error}", path=name) from error
    if not inflater.eof:
        raise DataError("not a sound DocBin: it ends before its data does", path=name)


class _Stored:
    """The content of a DocBin, with its long arrays left in ``file``.

    values: the short entries by name. regions: where the long ones begin in ``file``, and their number of bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.values: dict[str, Any] = {}
        self.regions: dict[str, tuple[int, int]] = {}

    @classmethod
    def read(cls, file: IO[bytes]) -> Self:
        """The content of ``file``: a msgpack map of names, whose values are binary, lists or numbers."""
        from srsly.msgpack import Unpacker

        stored = cls(file)
        position = 0

        def following(read: str) -> Any:
            nonlocal position
            file.seek(position)
            unpacker = Unpacker(file, raw=False, use_list=False)
            value = getattr(unpacker, read)()
            position += unpacker.tell()
            return value

        for _ in range(following("read_map_header")):
            name = following("unpack")
            file.seek(position)
            start = file.read(5)
            if name in _LONG and (n_bytes := _SIZES_OF_BINARY.get(start[:1])):
                length = int.from_bytes(start[1 : 1 + n_bytes], "big")
                position += 1 + n_bytes
                stored.regions[name] = (position, length)
                position += length
            else:
                stored.values[name] = following("unpack")
        return stored

    def part(self, name: str, start: int, n_bytes: int) -> bytes:
        """The bytes [start, start + n_bytes) of a long entry."""
        first, length = self.regions[name]
        if start + n_bytes > length:
            raise ValueError(f"{name} ends before the documents do")
        self.file.seek(first + start)
        found = self.file.read(n_bytes)
        if len(found) < n_bytes:
            raise ValueError(f"{name} ends before its data does")
        return found


def _documents(stored: _Stored, label: str) -> Iterator[AnnotatedDocument]:
    with_entities = _has_entities(stored)
    for number, doc in enumerate(_docs(stored), 1):
        spans = doc.ents if with_entities else doc.spans.get(_SPANS_KEY, [])
        annotations = tuple(
            Annotation(((span.start_char, span.end_char),), span.label_, concepts=span.kb_id_)
            for span in spans
            if span.start_char < span.end_char and span.label_
        )
        id_ = str(doc.user_data.get("id", ""))
        yield AnnotatedDocument(id_ or f"{label}:{number}", doc.text, annotations, bool(id_))


def _docs(stored: _Stored) -> "Iterator[Doc]":
    """The documents, each made by a DocBin that contains no other."""
    import numpy as np
    import spacy
    from spacy.tokens import DocBin

    vocab = spacy.blank("xx").vocab
    for string in stored.values["strings"]:
        vocab.strings.add(string)
    one = DocBin()
    one.attrs = list(stored.values["attrs"])
    n_columns = len(one.attrs)
    lengths = np.frombuffer(stored.values["lengths"], "<i4").tolist()
    groups = stored.values.get("span_groups") or repeat(b"")
    flags = stored.values.get("flags") or repeat({})
    user_data = stored.values.get("user_data") or repeat(None)
    first = 0
    # entries that older files lack are replaced by endless defaults
    for length, of_groups, of_flags, of_user in zip(lengths, groups, flags, user_data, strict=False):
        tokens = np.frombuffer(stored.part("tokens", 8 * first * n_columns, 8 * length * n_columns), "<u8")
        spaces = np.frombuffer(stored.part("spaces", first, length), np.bool_)
        one.tokens, one.spaces = [tokens.reshape(length, n_columns)], [spaces.reshape(length, 1)]
        one.cats, one.flags, one.span_groups, one.user_data = [{}], [of_flags], [of_groups], [of_user]
        first += length
        yield from one.get_docs(vocab)


def _has_entities(stored: _Stored) -> bool:
    """Whether any word of any document has an entity type."""
    import numpy as np
    from spacy.attrs import ENT_TYPE

    attributes = list(stored.values["attrs"])
    if ENT_TYPE not in attributes:
        return False
    n_bytes = stored.regions["tokens"][1]
    step = 8 * len(attributes) * _ROWS_AT_ONCE
    for start in range(0, n_bytes, step):
        tokens = np.frombuffer(stored.part("tokens", start, min(step, n_bytes - start)), "<u8")
        if tokens.reshape(-1, len(attributes))[:, attributes.index(ENT_TYPE)].any():
            return True
    return False


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
        # a space after a token is not a token, unless a mention begins or ends with it
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
