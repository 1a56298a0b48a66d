"""The units that readers hand out: documents for text, labelled sentences for gold data."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mslm_cli.corpus.labels import Mention, tags_from_mentions
from mslm_cli.errors import UsageError

EMPTY_WORD = "\ufffd"
"""Stands for a word that is empty in a labelled file."""

OWN_HEADER = "# written_by = mslm\n"
"""The first line of columns that this program wrote, in UTF-8, for another command to read."""

MAX_DOCUMENT_CHARS = 500_000
"""Longer documents are read in parts, cut after a line, else after a sentence, so that memory is bounded."""


class CharSpan(NamedTuple):
    """A mention: characters [start, end) of its document's text, and its type."""

    start: int
    end: int
    type: str


class Change(NamedTuple):
    """An annotated mention that was changed or left out when it was read.

    kind: what was done, such as ``widened``. before, after: its text as annotated and as read; ``after`` is empty if it
    was left out.
    """

    kind: str
    span: CharSpan
    before: str
    after: str = ""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of running text.

    ``sentences``: character spans [start, end) if the input marks sentences, else None.
    ``has_id``: whether ``id`` comes from the input; otherwise it is the file's name and a number.
    ``words``: the words of each sentence; without the empty ones, and joined by single spaces, they are its text.
    ``first``: the offset of ``text`` in the input's document, which comes in parts if it is long.
    """

    id: str
    text: str
    sentences: tuple[tuple[int, int], ...] | None
    has_id: bool
    words: tuple[tuple[str, ...], ...] | None = None
    first: int = 0


def document_parts(document: Document) -> Iterator[Document]:
    """The document, or parts of it, without sentences, if its text is longer than ``MAX_DOCUMENT_CHARS``."""
    if len(document.text) <= MAX_DOCUMENT_CHARS:
        yield document
        return
    first = document.first
    for text in short_pieces(document.text):
        if text.strip():
            yield Document(document.id, text, None, document.has_id, first=first)
        first += len(text)


def short_pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most ``MAX_DOCUMENT_CHARS``, cut after a line, else a sentence, else a word."""
    start = 0
    while len(text) - start > MAX_DOCUMENT_CHARS:
        limit = start + MAX_DOCUMENT_CHARS
        ends = (text.rfind(mark, start, limit) + len(mark.rstrip(" ")) for mark in ("\n", ". ", " "))
        cut = next((end for end in ends if end > start), limit)
        yield text[start:cut]
        start = cut
    yield text[start:]


BATCH_CHARS = 200_000


def document_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in batches of about ``BATCH_CHARS`` characters, whose bounds depend only on the text."""
    batch: list[Document] = []
    n_chars = 0
    for document in documents:
        batch.append(document)
        n_chars += len(document.text)
        if n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class LabelledSentence:
    """One sentence of gold data, its mentions in order and not overlapping.

    ``id`` is unique in its file: the document and the sentence's number in it (``10051005:3``), or the
    number alone, from 1. ``doc`` is the document's id from the input, ``doc1``, ``doc2``... if the input marks
    documents without naming them, and None if it marks none. ``tags``: as in the file. ``offsets``: the characters
    [start, end) of each word in the document's text, and ``gold``: the mentions as they were annotated, disjoint; both
    None unless the input annotates characters.
    """

    id: str
    doc: str | None
    words: tuple[str, ...]
    mentions: tuple[Mention, ...]
    tags: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...] | None = None
    gold: tuple[CharSpan, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelledCorpus:
    """The labelled sentences of one file, and how its labels were read.

    ``types``: sorted. ``scheme``: IOB2, IOB1, IO, IOBES or BILOU, as detected. ``n_orphans``: mentions without a start
    tag, in schemes that require one. ``n_empty_words``: words that are empty in the file, each replaced by U+FFFD so
    that word numbers still match the file's lines. ``changes``: mentions that were changed or left out.
    ``n_ignored``: annotations that are not mentions, by kind.
    """

    sentences: tuple[LabelledSentence, ...]
    types: tuple[str, ...]
    scheme: str
    n_orphans: int
    n_empty_words: int = 0
    changes: tuple[Change, ...] = ()
    n_ignored: tuple[tuple[str, int], ...] = ()

    @property
    def n_gold(self) -> int:
        """The number of gold labels that a system is scored on: here, mentions."""
        return sum(len(sentence.mentions) for sentence in self.sentences)


def unlabelled_corpus(sentences: Sequence[Sequence[str]], documents: Sequence[object] | None = None) -> LabelledCorpus:
    """Sentences, given as words, without labels.

    Args:
        documents: of each sentence, if known; None for a sentence without.
    """
    docs = [None] * len(sentences) if documents is None else [None if doc is None else str(doc) for doc in documents]
    rows = enumerate(zip(sentences, docs, strict=True), 1)
    found = (LabelledSentence(str(i), doc, tuple(words), (), ("O",) * len(words)) for i, (words, doc) in rows)
    return LabelledCorpus(tuple(found), (), "IOB2", 0)


def renamed(corpus: LabelledCorpus, names: Mapping[str, str]) -> LabelledCorpus:
    """The corpus with types renamed; a type that is not in ``names`` keeps its own."""

    def sentence(old: LabelledSentence) -> LabelledSentence:
        mentions = tuple((start, end, names.get(kind, kind)) for start, end, kind in old.mentions)
        return replace(old, mentions=mentions, tags=tuple(tags_from_mentions(mentions, len(old.words))))

    types = tuple(sorted({names.get(kind, kind) for kind in corpus.types}))
    return replace(corpus, sentences=tuple(map(sentence, corpus.sentences)), types=types, scheme="IOB2")


def check_renamed(names: Mapping[str, str], types: Collection[str], where: str) -> None:
    """Check that every type to rename is one of ``types``, those of the data ``where``.

    Raises:
        UsageError: one is not, and would be ignored.
    """
    if missing := sorted(names.keys() - set(types)):
        found = ", ".join(sorted(types)) or "none"
        raise UsageError(f"no type {missing[0]!r} to rename in {where}; the types there: {found}")
