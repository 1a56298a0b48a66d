"""Sequences and their masks as flat (ragged) arrays."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

NOT_PREDICTED, GENERIC, DS_TERM = 0, 1, 2


@dataclass(frozen=True)
class RaggedBatch:
    """Concatenated sequences; sequence i is ``[offsets[i], offsets[i + 1])`` of the flat arrays.

    offsets: int64 [n + 1], from 0.
    input_ids: int32 [T].
    word_ids: int32 [T]; a word is a run of equal ids in a sequence; -1 marks a special token.
    spans: int32 [S, 2]; DS-mentions [start, end) in tokens of their sequence, whole words,
        ascending and disjoint.
    span_types: int32 [S]; the type of each mention, an index into ``types`` of the shards' stats.json.
    span_offsets: int64 [n + 1]; the mentions of sequence i are ``spans[span_offsets[i]:span_offsets[i + 1]]``.
    sentences: int32 [K]; the first token of each sentence, as a position in its sequence, ascending.
    sentence_offsets: int64 [n + 1]; as ``span_offsets``, for ``sentences``.
    index: int64 [n]; the global sequence numbers that key the draws.
    """

    offsets: Int64
    input_ids: Int32
    word_ids: Int32
    spans: Int32
    span_types: Int32
    span_offsets: Int64
    sentences: Int32
    sentence_offsets: Int64
    index: Int64

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, first: int, last: int) -> "RaggedBatch":
        """The sequences [first, last) of this batch."""
        tokens, spans = self.offsets[first : last + 1], self.span_offsets[first : last + 1]
        sentences = self.sentence_offsets[first : last + 1]
        return RaggedBatch(
            tokens - tokens[0],
            self.input_ids[tokens[0] : tokens[-1]],
            self.word_ids[tokens[0] : tokens[-1]],
            self.spans[spans[0] : spans[-1]],
            self.span_types[spans[0] : spans[-1]],
            spans - spans[0],
            self.sentences[sentences[0] : sentences[-1]],
            sentences - sentences[0],
            self.index[first:last],
        )

    @cached_property
    def row(self) -> Int64:
        """The sequence of each token: int64 [T]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def position(self) -> Int32:
        """The position of each token in its sequence: int32 [T]."""
        return (np.arange(len(self.input_ids)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))).astype(np.int32)

    @cached_property
    def n_ordinary(self) -> Int64:
        """The number of non-special tokens in each sequence: int64 [n]."""
        until = np.concatenate([[0], np.cumsum(self.word_ids >= 0)])
        return np.diff(until[self.offsets])

    @cached_property
    def ordinary(self) -> Int64:
        """Indices of the non-special tokens in the flat arrays: int64, ascending."""
        return np.flatnonzero(self.word_ids >= 0)

    @cached_property
    def word_edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each token is the first, and whether it is the last of a word: bool [T] each."""
        n_tokens = len(self.word_ids)
        changes = np.ones(n_tokens + 1, dtype=np.bool_)
        np.not_equal(self.word_ids[1:], self.word_ids[:-1], out=changes[1:-1])
        changes[self.offsets] = True
        in_word = self.word_ids >= 0
        return changes[:-1] & in_word, changes[1:] & in_word

    @cached_property
    def words(self) -> tuple[Int64, Int64]:
        """The words as [start, end) in the flat arrays: int64 [W] each."""
        begins, ends = self.word_edges
        return np.flatnonzero(begins), np.flatnonzero(ends) + 1

    @cached_property
    def generic_words(self) -> tuple[Int64, Int64]:
        """The words outside DS-mentions, as ``words``."""
        begins, ends = self.word_edges
        outside = ~self.in_mention
        return np.flatnonzero(begins & outside), np.flatnonzero(ends & outside) + 1

    def sizes(self, tokens: Int64) -> Int64:
        """The number of ``tokens`` (ascending indices into the flat arrays) in each sequence: int64 [n]."""
        return np.diff(np.searchsorted(tokens, self.offsets))

    @cached_property
    def begins_run(self) -> NDArray[np.bool_]:
        """Whether each word begins a run: at the start of a sentence, or after a special token.

        bool [W].
        """
        starts, ends = self.words
        row = np.repeat(np.arange(len(self)), np.diff(self.sentence_offsets))
        begins_sentence = np.zeros(len(self.word_ids) + 1, dtype=np.bool_)
        begins_sentence[self.offsets[row] + self.sentences] = True
        begins_sentence[self.offsets[:-1]] = True
        follows = np.append(-1, ends[:-1])
        begins: NDArray[np.bool_] = begins_sentence[starts] | (starts != follows[: len(starts)])
        return begins

    @cached_property
    def mentions(self) -> tuple[Int64, Int64, Int64]:
        """The sequence of each DS-mention, and its [start, end) in the flat arrays: int64 [S] each."""
        row = np.repeat(np.arange(len(self)), np.diff(self.span_offsets))
        base = self.offsets[row]
        return row, base + self.spans[:, 0], base + self.spans[:, 1]

    @cached_property
    def in_mention(self) -> NDArray[np.bool_]:
        """Whether each token is in a DS-mention: bool [T]."""
        _, starts, ends = self.mentions
        inside = np.zeros(len(self.input_ids), dtype=np.bool_)
        inside[flat_ranges(starts, ends - starts)] = True
        return inside


class DrawnTokens(NamedTuple):
    """The predicted tokens of one mask kind.

    tokens: int64 [P]; indices into the flat arrays, ascending. units: int64 [P]; the first index of each token's unit.
    mask_kind: GENERIC or DS_TERM.
    """

    tokens: Int64
    units: Int64
    mask_kind: int


@dataclass(frozen=True)
class Drawn:
    """The result of a strategy's draw among ``n_tokens`` tokens: a disjoint set of tokens for each mask kind."""

    n_tokens: int
    parts: tuple[DrawnTokens, ...]

    @cached_property
    def kinds(self) -> UInt8:
        """The mask kind of every token, NOT_PREDICTED, GENERIC or DS_TERM: uint8 [T]."""
        kinds = np.zeros(self.n_tokens, dtype=np.uint8)
        for part in self.parts:
            kinds[part.tokens] = part.mask_kind
        return kinds

    @cached_property
    def units(self) -> Int64:
        """The first index, in the flat arrays, of each token's unit; -1 if not predicted: int64 [T]."""
        units = np.full(self.n_tokens, -1, dtype=np.int64)
        for part in self.parts:
            units[part.tokens] = part.units
        return units


@dataclass(frozen=True)
class Masks:
    """The predicted tokens of sequences; those of sequence i are ``[offsets[i], offsets[i + 1])``.

    offsets: int64 [n + 1], from 0.
    positions: int32 [P]; positions in their sequence, ascending.
    kinds: uint8 [P]; GENERIC or DS_TERM.
    replacements: int32 [P]; the ids that the model gets instead.
    """

    offsets: Int64
    positions: Int32
    kinds: UInt8
    replacements: Int32


def flat_ranges(starts: NDArray[np.integer[Any]], lengths: NDArray[np.integer[Any]]) -> Int64:
    """The concatenation of the ranges ``[start, start + length)``: int64."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total == len(lengths) and total == np.count_nonzero(lengths):
        return starts.astype(np.int64)
    numbers: Int64 = np.arange(total, dtype=np.int64) + np.repeat(starts - ends + lengths, lengths)
    return numbers


def take_rows(offsets: Int64, rows: NDArray[np.integer[Any]]) -> tuple[Int64, Int64]:
    """Locate the values of selected rows in a ragged array.

    Returns:
        The offsets of the selected rows, int64 [k + 1], from 0; and the indices of their values, int64.
    """
    lengths = np.diff(offsets)[rows]
    return np.concatenate([[0], np.cumsum(lengths)]), flat_ranges(offsets[rows], lengths)
