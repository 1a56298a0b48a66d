"""Packing tokenised sentences into sequences for the model."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.batch import Int32, Int64, RaggedBatch
from mslm_cli.masking.shards import Sequences

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class TokenisedText:
    """Concatenated sentences, without special tokens and empty sentences.

    offsets: int64 [S + 1]; sentence s is ``[offsets[s], offsets[s + 1])``, from 0.
    doc: int32 [S]; the document of each sentence, ascending.
    input_ids: int32 [T].
    words: int64 [T]; the word of each token, numbered over the whole text without gaps.
    is_special: bool [T]; tokens of words that must not be predicted (unknown to the vocabulary), whole words only.
    mentions: int64 [M, 3]; DS-mentions: [start, end) in tokens of the text, whole words, ascending, disjoint; and the
        number of their type.
    """

    offsets: Int64
    doc: Int32
    input_ids: Int32
    words: Int64
    is_special: Bool
    mentions: Int64


class Packed(NamedTuple):
    """Sequences, and the numbers of words and mentions lost in packing.

    n_cut_words: words longer than a sequence. n_cut_mentions: mentions split by a cut.
    n_special_mentions: mentions with a word that must not be predicted.
    """

    sequences: Sequences
    n_cut_words: int
    n_cut_mentions: int
    n_special_mentions: int


def words_of_tokens(begins: Int64, ends: Int64, words: Int64, cuts: Int64) -> Int64:
    """The word of each token, numbered without gaps: int64 [T]. Words that share a token become one.

    A token of white space only belongs to the word after it.

    Args:
        begins, ends: int64 [T]; character offsets [begin, end) of each token; no begin is after the last word.
        words: int64 [W, 2]; character offsets [start, end) of the words, ascending, disjoint.
        cuts: int64; character offsets, in any order; a word is cut in two at each one inside it.
    """
    # A normaliser may produce a token without characters at an arbitrary offset; it must not break the order.
    begins = np.maximum.accumulate(begins)
    at = np.minimum(np.searchsorted(words[:, 1], cuts, side="right"), len(words) - 1)
    inside = cuts[(words[at, 0] < cuts) & (cuts < words[at, 1])]
    part_starts, part_ends = (np.union1d(words[:, side], inside) for side in (0, 1))
    first = np.searchsorted(part_ends, begins, side="right")
    last = np.maximum(first, np.searchsorted(part_starts, ends, side="left") - 1)
    # +1 where the parts that a token joins to the one before begin, -1 after the last of them.
    n = len(part_ends)
    joins = np.cumsum(np.bincount(first + 1, minlength=n + 1)[:n] - np.bincount(last + 1, minlength=n + 1)[:n])
    word = np.cumsum(joins == 0)[first]
    return np.cumsum(np.diff(word, prepend=word[:1]) != 0)


def whole_words(begins: Int64, ends: Int64, words: Int64, spans: Int64) -> Int64:
    """The tokens [start, end) of all words that each character span touches: int64 [M, K]; empty ones are dropped.

    Args:
        begins, ends: int64 [T]; character offsets [begin, end) of each token, ascending.
        words: int64 [T]; the word of each token, ascending.
        spans: int64 [M, K]; character offsets [start, end), and further columns, which are kept.
    """
    # A normaliser may produce a token without characters at an arbitrary offset; it must not break the order.
    begins, ends = np.maximum.accumulate(begins), np.maximum.accumulate(ends)
    first = np.searchsorted(ends, spans[:, 0], side="right")
    last = np.searchsorted(begins, spans[:, 1], side="left")
    touched = first < last
    first, last = first[touched], last[touched] - 1
    starts, ends = np.searchsorted(words, words[first], side="left"), np.searchsorted(words, words[last], side="right")
    return np.column_stack([starts, ends, spans[touched, 2:]])


def longest_disjoint(spans: Int64) -> Int64:
    """Disjoint spans, chosen greedily by length, on ties the leftmost first: rows of ``spans``, ascending.

    Args:
        spans: int64 [M, K]; [start, end), and further columns.
    """
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    if not np.any(spans[1:, 0] < spans[:-1, 1]):
        return spans
    base = int(spans[0, 0])
    taken = np.zeros(int(spans[:, 1].max()) - base, dtype=np.bool_)
    keep = np.zeros(len(spans), dtype=np.bool_)
    for i in np.lexsort((spans[:, 0], spans[:, 0] - spans[:, 1])):
        start, end = spans[i, :2] - base
        # A shorter span cannot contain a chosen one, so checking its two ends is enough.
        if not (taken[start] or taken[end - 1]):
            taken[start:end] = True
            keep[i] = True
    return spans[keep]


def pack(text: TokenisedText, max_length: int, before: Seq[int], after: Seq[int]) -> Packed:
    """Pack whole sentences of a document greedily into sequences of at most ``max_length`` tokens.

    A longer sentence is cut between words, and a word that is itself too long is cut inside; each part then counts as a
    sentence. A mention split by a cut is dropped, and its words become generic.

    Args:
        before, after: the special tokens around each sequence; they count towards ``max_length``.
    """
    capacity = max_length - len(before) - len(after)
    parts, n_cut_words = _cut(text, capacity)
    doc = text.doc[np.searchsorted(text.offsets, parts[:-1], side="right") - 1]
    first_part = _first_parts(np.diff(parts), doc, capacity)

    n, n_tokens, n_frame = len(first_part), len(text.input_ids), len(before) + len(after)
    content = np.append(parts[first_part], n_tokens)
    offsets = content + np.arange(n + 1) * n_frame
    row = np.repeat(np.arange(n), np.diff(content))
    target = np.arange(n_tokens) + row * n_frame + len(before)
    input_ids = np.empty(offsets[-1], dtype=np.int32)
    for i, token in enumerate(before):
        input_ids[offsets[:-1] + i] = token
    for i, token in enumerate(after):
        input_ids[offsets[1:] - len(after) + i] = token
    input_ids[target] = text.input_ids
    word_ids = np.full(offsets[-1], -1, dtype=np.int32)
    word_ids[target] = np.where(text.is_special, -1, text.words - text.words[content[:-1]][row])

    starts, ends = text.mentions[:, 0], text.mentions[:, 1]
    is_cut = np.searchsorted(parts, starts, side="right") != np.searchsorted(parts, ends - 1, side="right")
    n_special_until = np.concatenate([[0], np.cumsum(text.is_special)])
    has_special = n_special_until[ends] > n_special_until[starts]
    mentions = text.mentions[~is_cut & ~has_special]
    mention_row = row[mentions[:, 0]]
    spans = mentions[:, :2] - content[mention_row, None] + len(before)
    sentences = parts[:-1] - content[row[parts[:-1]]] + len(before)

    batch = RaggedBatch(
        offsets=offsets,
        input_ids=input_ids,
        word_ids=word_ids,
        spans=spans.astype(np.int32),
        span_types=mentions[:, 2].astype(np.int32),
        span_offsets=np.searchsorted(mention_row, np.arange(n + 1)),
        sentences=sentences.astype(np.int32),
        sentence_offsets=np.append(first_part, len(sentences)),
        index=np.arange(n),
    )
    return Packed(Sequences(batch, doc[first_part]), n_cut_words, int(is_cut.sum()), int((has_special & ~is_cut).sum()))


def _cut(text: TokenisedText, capacity: int) -> tuple[Int64, int]:
    """Offsets of parts of at most ``capacity`` tokens: int64 [P + 1]; and the number of cut words."""
    cuts: list[int] = []
    n_cut_words = 0
    for sentence in np.flatnonzero(np.diff(text.offsets) > capacity):
        position, end = int(text.offsets[sentence]), int(text.offsets[sentence + 1])
        words = text.words[position:end]
        sizes = np.diff(np.flatnonzero(np.diff(words, prepend=-1, append=-1)))
        filled = 0
        for size in sizes.tolist():
            if filled and filled + size > capacity:
                cuts.append(position)
                filled = 0
            n_cut_words += size > capacity
            rest = size
            while rest > capacity:
                cuts.append(position + size - rest + capacity)
                rest -= capacity
            filled += rest
            position += size
    return np.sort(np.concatenate([text.offsets, np.array(cuts, dtype=np.int64)])), n_cut_words


def _first_parts(sizes: Int64, doc: Int32, capacity: int) -> Int64:
    """The index of the first part of each sequence: int64 [n]."""
    first: list[int] = []
    filled, current = capacity, -1
    for i, (size, document) in enumerate(zip(sizes.tolist(), doc.tolist(), strict=True)):
        if document != current or filled + size > capacity:
            first.append(i)
            filled, current = 0, document
        filled += size
    return np.array(first, dtype=np.int64)
