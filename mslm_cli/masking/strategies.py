"""Masking strategies: which tokens are predicted, as pure functions of (sequences, rates, seed, epoch).

A strategy works on a ragged batch at once and returns the kind of every token and the
unit it was drawn with. Every draw is keyed by the global sequence index and the token
position where its unit begins, so a mask does not depend on the batch it is drawn in.
To add a strategy: one function here, one line in ``draw``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.random import Purpose, sequence_keys, uniforms

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

NOT_PREDICTED, BASE, ENTITY = 0, 1, 2


@dataclass(frozen=True)
class RaggedBatch:
    """Sequences laid end to end; sequence i is ``[offsets[i], offsets[i + 1])`` of the flat arrays.

    offsets: int64 [n + 1], from 0.
    input_ids: int32 [T].
    word_ids: int32 [T]; a word is a run of equal ids inside a sequence, -1 is a special token.
    spans: int32 [S, 2]; DS-mentions [start, end) in tokens of their sequence, whole words,
        ascending and not overlapping.
    span_offsets: int64 [n + 1]; the mentions of sequence i are ``spans[span_offsets[i]:span_offsets[i + 1]]``.
    index: int64 [n]; the global sequence numbers that key the draws.
    """

    offsets: Int64
    input_ids: Int32
    word_ids: Int32
    spans: Int32
    span_offsets: Int64
    index: Int64

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, first: int, last: int) -> "RaggedBatch":
        """The sequences [first, last) of this batch."""
        tokens, spans = self.offsets[first : last + 1], self.span_offsets[first : last + 1]
        return RaggedBatch(
            tokens - tokens[0],
            self.input_ids[tokens[0] : tokens[-1]],
            self.word_ids[tokens[0] : tokens[-1]],
            self.spans[spans[0] : spans[-1]],
            spans - spans[0],
            self.index[first:last],
        )

    @cached_property
    def row(self) -> Int64:
        """The sequence of each token: int64 [T]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def position(self) -> Int32:
        """The place of each token in its sequence: int32 [T]."""
        return (np.arange(len(self.input_ids)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))).astype(np.int32)

    @cached_property
    def words(self) -> tuple[Int64, Int64]:
        """The words as [start, end) in the flat arrays: two int64 [W]."""
        n_tokens = len(self.word_ids)
        begins = np.ones(n_tokens, dtype=np.bool_)
        begins[1:] = self.word_ids[1:] != self.word_ids[:-1]
        begins[self.offsets[self.offsets < n_tokens]] = True
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], n_tokens)
        is_word = self.word_ids[starts] >= 0
        return starts[is_word], ends[is_word]

    @cached_property
    def mentions(self) -> tuple[Int64, Int64, Int64]:
        """The DS-mentions' sequence, and [start, end) in the flat arrays: three int64 [S]."""
        row = np.repeat(np.arange(len(self)), np.diff(self.span_offsets))
        base = self.offsets[row]
        return row, base + self.spans[:, 0], base + self.spans[:, 1]

    @cached_property
    def in_mention(self) -> NDArray[np.bool_]:
        """Whether a token belongs to a DS-mention: bool [T]."""
        _, starts, ends = self.mentions
        inside = np.zeros(len(self.input_ids), dtype=np.bool_)
        inside[flat_ranges(starts, ends - starts)] = True
        return inside


class Drawn(NamedTuple):
    """What a strategy drew.

    kinds: uint8 [T]; NOT_PREDICTED, BASE or ENTITY.
    units: int32 [T]; for a predicted token the position in its sequence where its unit begins, else -1.
    """

    kinds: UInt8
    units: Int32


@dataclass(frozen=True)
class Masks:
    """The predicted tokens of some sequences; those of sequence i are ``[offsets[i], offsets[i + 1])``.

    offsets: int64 [n + 1], from 0.
    positions: int32 [P]; places in their sequence, ascending.
    kinds: uint8 [P]; BASE or ENTITY.
    replacements: int32 [P]; the ids that the model is given there.
    """

    offsets: Int64
    positions: Int32
    kinds: UInt8
    replacements: Int32


def flat_ranges(starts: NDArray[np.integer[Any]], lengths: NDArray[np.integer[Any]]) -> Int64:
    """The numbers of all ranges ``[start, start + length)``, one range after the other: int64."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Int64 = np.arange(total, dtype=np.int64) + np.repeat(starts - ends + lengths, lengths)
    return numbers


def token(batch: RaggedBatch, rate: float, seed: int, epoch: int) -> Drawn:
    """Single tokens, each with probability ``rate`` (kind BASE).

    Source: Devlin et al. 2019 (BERT), section 3.1; there a fixed number of tokens is drawn, here they are i.i.d.
    """
    drawn = _nothing(batch)
    candidates = np.flatnonzero(batch.word_ids >= 0)
    chosen = candidates[_chosen(batch, Purpose.TOKEN, batch.row[candidates], candidates, rate, seed, epoch)]
    drawn.kinds[chosen] = BASE
    drawn.units[chosen] = batch.position[chosen]
    return drawn


def mslm(batch: RaggedBatch, elm_rate: float, blm_rate: float, seed: int, epoch: int) -> Drawn:
    """Whole mentions with probability ``elm_rate`` (kind ENTITY), then words outside all mentions with ``blm_rate``.

    A word of a mention that was not drawn is never drawn alone, so the two kinds are disjoint.

    Source: MSLM (arXiv 2403.18025), section 3: entity-level, then base-level masking. There the number of masked
    mentions of a sequence is the rate times their number, rounded down; here each mention is drawn by itself.
    """
    drawn = _nothing(batch)
    row, starts, ends = batch.mentions
    chosen = _chosen(batch, Purpose.MENTION, row, starts, elm_rate, seed, epoch)
    _predict(batch, drawn, starts[chosen], ends[chosen], ENTITY)

    starts, ends = batch.words
    generic = ~batch.in_mention[starts]
    starts, ends = starts[generic], ends[generic]
    chosen = _chosen(batch, Purpose.WORD, batch.row[starts], starts, blm_rate, seed, epoch)
    _predict(batch, drawn, starts[chosen], ends[chosen], BASE)
    return drawn


def draw(
    strategy: str, batch: RaggedBatch, *, rate: float, elm_rate: float, blm_rate: float, seed: int, epoch: int
) -> Drawn:
    """What the strategy of that name draws in one epoch; it reads the rates it knows.

    Raises:
        ValueError: there is no such strategy.
    """
    match strategy:
        case "token":
            return token(batch, rate, seed, epoch)
        case "mslm":
            return mslm(batch, elm_rate, blm_rate, seed, epoch)
    raise ValueError(f"no masking strategy {strategy!r}")


def corrupt(
    batch: RaggedBatch,
    drawn: Drawn,
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Int64,
    mask_replace: tuple[float, float, float],
    seed: int,
    epoch: int,
) -> Int32:
    """The input with its predicted tokens replaced: int32 [T]; all others are as they were.

    One draw a unit decides between [MASK], random tokens and no change, with the shares ``mask_replace``;
    random tokens are drawn one by one, uniformly from the ids below ``vocab_size`` that are not special.

    Args:
        special_ids: sorted, no id twice, all below ``vocab_size``.
    """
    masked_share, _, kept_share = mask_replace
    predicted = np.flatnonzero(drawn.kinds)
    row = batch.row[predicted]
    keys = sequence_keys(seed, epoch, Purpose.CORRUPTION, batch.index)
    fate = uniforms(keys[row], drawn.units[predicted])
    corrupted = batch.input_ids.copy()
    corrupted[predicted[fate < masked_share]] = mask_id

    # 1 - kept rather than masked + random: rounding must leave no unit unchanged when the kept share is 0.
    randomised = (fate >= masked_share) & (fate < 1.0 - kept_share)
    predicted, row = predicted[randomised], row[randomised]
    keys = sequence_keys(seed, epoch, Purpose.RANDOM_ID, batch.index)
    rank = uniforms(keys[row], batch.position[predicted]) * (vocab_size - len(special_ids))
    # The r-th ordinary id is r plus the number of special ids below it.
    rank = rank.astype(np.int64)
    below = np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")
    corrupted[predicted] = rank + below
    return corrupted


def collect(batch: RaggedBatch, drawn: Drawn, corrupted: Int32) -> Masks:
    """The predicted tokens alone, out of arrays over all tokens."""
    predicted = np.flatnonzero(drawn.kinds)
    offsets = np.searchsorted(predicted, batch.offsets)
    return Masks(offsets, batch.position[predicted], drawn.kinds[predicted], corrupted[predicted])


def _nothing(batch: RaggedBatch) -> Drawn:
    n_tokens = len(batch.input_ids)
    return Drawn(np.zeros(n_tokens, dtype=np.uint8), np.full(n_tokens, -1, dtype=np.int32))


def _chosen(
    batch: RaggedBatch, purpose: Purpose, row: Int64, starts: Int64, rate: float, seed: int, epoch: int
) -> NDArray[np.bool_]:
    """Whether each unit, given by its sequence and its first token in the flat arrays, is masked: bool."""
    keys = sequence_keys(seed, epoch, purpose, batch.index)
    return uniforms(keys[row], starts - batch.offsets[row]) < rate


def _predict(batch: RaggedBatch, drawn: Drawn, starts: Int64, ends: Int64, kind: int) -> None:
    """Mark the units [start, end) of the flat arrays as predicted."""
    lengths = ends - starts
    tokens = flat_ranges(starts, lengths)
    drawn.kinds[tokens] = kind
    drawn.units[tokens] = np.repeat(batch.position[starts], lengths)
