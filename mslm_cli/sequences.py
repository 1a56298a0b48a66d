"""Encoding text as packed sequences of token ids, with the lexicon's mentions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mslm_cli import models
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.over_blocks import packed, unpacked
from mslm_cli.errors import UnavailableError
from mslm_cli.masking.batch import Int32, Int64
from mslm_cli.masking.packing import TokenisedText, longest_disjoint, pack, whole_words, words_of_tokens
from mslm_cli.masking.shards import Sequences
from mslm_cli.terms.matcher import Matcher
from mslm_cli.text.sentences import split_sentences
from mslm_cli.text.tokens import visible, word_spans

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from mslm_cli.models import AnyTokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The parts of a tokenizer that encoding needs; ``special_ids``: int64, ascending; ``before``, ``after``: ids."""

    backend: "Tokenizer"
    before: list[int]
    after: list[int]
    special_ids: Int64


@dataclass
class TextCounts:
    """Counts from encoding a text."""

    n_documents: int = 0
    n_sentences: int = 0
    n_cut_words: int = 0
    n_cut_mentions: int = 0
    n_special_mentions: int = 0
    n_overlapping_mentions: int = 0
    matched_terms: set[int] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """These counts as JSON values."""
        return vars(self) | {"matched_terms": packed(self.matched_terms)}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The counts that ``to_json`` wrote."""
        return cls(**(found | {"matched_terms": unpacked(found["matched_terms"])}))

    def add(self, other: "TextCounts") -> None:
        """Add the counts of ``other``."""
        for name, value in vars(other).items():
            if name != "matched_terms":
                setattr(self, name, getattr(self, name) + value)
        self.matched_terms |= other.matched_terms


def vocabulary_of(tokenizer: "AnyTokenizer", folder: Path) -> Vocabulary:
    """The parts of ``tokenizer`` that encoding needs.

    Raises:
        UnavailableError: it has no mask token, or does not separate words.
    """
    if tokenizer.mask_token_id is None:
        raise UnavailableError(f"{folder}: its tokenizer has no mask token", hint="choose a masked language model")
    backend = models.text_backend(tokenizer)
    if len(set(backend.encode("two words", add_special_tokens=False).word_ids)) < 2:
        raise UnavailableError(f"{folder}: its tokenizer does not separate words, so whole words cannot be masked")
    before, after = models.special_frame(tokenizer)
    special_ids = np.unique(np.array(tokenizer.all_special_ids, dtype=np.int64))
    return Vocabulary(backend, before, after, special_ids)


@dataclass(frozen=True)
class EncodedText:
    """An encoded batch of documents: sequences and documents, numbered from 0; the sentences, in order."""

    sequences: Sequences
    counts: TextCounts
    sentences: list[str]


def encode(
    documents: Sequence[Document], vocabulary: Vocabulary, matcher: Matcher | None, max_length: int
) -> EncodedText:
    """Encode ``documents`` as sequences of whole sentences; no sequence crosses a document boundary."""
    counts = TextCounts(n_documents=len(documents))
    sentences: list[str] = []
    doc: list[int] = []
    for number, document in enumerate(documents):
        bounds = split_sentences(document.text) if document.sentences is None else document.sentences
        visible_ones = filter(None, (" ".join(visible(document.text[start:end]).split()) for start, end in bounds))
        sentences += visible_ones
        doc += [number] * (len(sentences) - len(doc))
    counts.n_sentences = len(sentences)
    text = _tokenise(sentences, np.array(doc, dtype=np.int32), vocabulary, matcher, counts)
    packed = pack(text, max_length, vocabulary.before, vocabulary.after)
    counts.n_cut_words = packed.n_cut_words
    counts.n_cut_mentions = packed.n_cut_mentions
    counts.n_special_mentions = packed.n_special_mentions
    return EncodedText(packed.sequences, counts, sentences)


def _tokenise(
    sentences: Sequence[str],
    doc: Int32,
    vocabulary: Vocabulary,
    matcher: Matcher | None,
    counts: TextCounts,
) -> TokenisedText:
    """Tokenise the sentences, with the lexicon's mentions; sentences without tokens are dropped."""
    encodings: list[Encoding] = vocabulary.backend.encode_batch(list(sentences), add_special_tokens=False)
    lengths = np.array([len(e) for e in encodings], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n_tokens = int(offsets[-1])
    input_ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32, n_tokens)
    # Sentences get consecutive ranges of character offsets, so that one search covers all of them.
    bases = np.cumsum([0, *(len(sentence) + 1 for sentence in sentences)])
    flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
    characters = np.fromiter(flat, np.int64, 2 * n_tokens).reshape(-1, 2) + np.repeat(bases[:-1], lengths)[:, None]
    last_characters = np.repeat(bases[1:] - 2, lengths)
    begins, ends = np.minimum(characters[:, 0], last_characters), characters[:, 1]

    words, mentions = np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=np.int64)
    if n_tokens:
        matches = _matches(sentences, bases, matcher, counts)
        words = words_of_tokens(begins, ends, _flat_spans(map(word_spans, sentences), bases), matches[:, :2].ravel())
        found = whole_words(begins, ends, words, matches)
        mentions = longest_disjoint(found)
        counts.n_overlapping_mentions += len(found) - len(mentions)
    is_special = np.isin(input_ids, vocabulary.special_ids)
    if is_special.any():
        is_special = np.isin(words, words[is_special])
    filled = lengths > 0
    return TokenisedText(
        np.append(offsets[:-1][filled], n_tokens),
        doc[filled],
        input_ids,
        words,
        is_special,
        mentions,
    )


def _matches(sentences: Sequence[str], bases: Int64, matcher: Matcher | None, counts: TextCounts) -> Int64:
    """The lexicon's matches as [start, end) characters of the concatenated sentences, and their types: int64 [M, 3]."""
    if matcher is None:
        return np.empty((0, 3), dtype=np.int64)
    found = [matcher.find(sentence) for sentence in sentences]
    matches = np.array(list(chain.from_iterable(found)), dtype=np.int64).reshape(-1, 3)
    counts.matched_terms.update(matches[:, 2].tolist())
    bounds = matches[:, :2] + np.repeat(bases[:-1], list(map(len, found)))[:, None]
    types = np.array(matcher.types, dtype=np.int64)[matches[:, 2]]
    return np.column_stack([bounds, types])


def _flat_spans(by_sentence: Iterable[Sequence[tuple[int, int]]], bases: Int64) -> Int64:
    """[start, end) characters of each sentence as those of the concatenated sentences: int64 [N, 2]."""
    spans = [
        (base + start, base + end)
        for base, found in zip(bases.tolist(), by_sentence, strict=False)
        for start, end in found
    ]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)
