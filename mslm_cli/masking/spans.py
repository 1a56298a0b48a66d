"""Random spans of whole words: their lengths and positions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mslm_cli.masking.batch import Drawn, Int64, RaggedBatch
from mslm_cli.masking.counts import share
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.random import Purpose, sequence_keys, uniforms
from mslm_cli.masking.strategies import Remark

if TYPE_CHECKING:
    from mslm_cli.masking.units import DrawContext

MAX_LENGTH = 10
_P = 0.2
LENGTH_PROBABILITIES = (1 - _P) ** np.arange(MAX_LENGTH) / ((1 - (1 - _P) ** MAX_LENGTH) / _P)
"""P(length = l) for l = 1 to 10: a geometric distribution, truncated and renormalised; its mean is 3.80."""


class Placed(NamedTuple):
    """Spans of whole words, ordered by sequence, then in the order of placement.

    row: int64 [K]; the sequence. first: int64 [K]; index of the first word in ``RaggedBatch.words``.
    lengths: int64 [K]; in words. drawn: int64 [K]; the drawn length, before shortening to fit.
    """

    row: Int64
    first: Int64
    lengths: Int64
    drawn: Int64


def sample_spans(batch: RaggedBatch, seed: int, epoch: int, max_fraction: float) -> Placed:
    """Sample disjoint spans within sentences until they cover ``max_fraction`` of each sequence's tokens.

    The length is drawn first, then the start, uniformly over all positions in the sequence where a span of that length
    fits; if there is none, the span gets the longest length that fits somewhere.
    """
    # ``room``: the runs of uncovered words, one column for each unfinished sequence
    row = np.flatnonzero(batch.n_ordinary)
    room_start, room = _runs(batch, row)
    word_starts, word_ends = batch.words
    length_keys = sequence_keys(seed, epoch, Purpose.SPAN_LENGTH, batch.index)
    start_keys = sequence_keys(seed, epoch, Purpose.SPAN_START, batch.index)
    bounds = np.cumsum(LENGTH_PROBABILITIES)[:-1]
    wanted = max_fraction * batch.n_ordinary
    covered = np.zeros(len(batch), dtype=np.int64)
    parts: list[Placed] = []
    while True:
        going = np.flatnonzero((covered[row] < wanted[row]) & room.any(axis=0))
        if not len(going):
            break
        if len(going) < len(row):
            row, room, room_start = row[going], room.take(going, axis=1), room_start.take(going, axis=1)
        number = np.full(len(row), len(parts))
        drawn = np.searchsorted(bounds, uniforms(length_keys[row], number), side="right") + 1
        length = np.minimum(drawn, room.max(axis=0))
        until = np.cumsum(np.maximum(room - (length - 1), 0), axis=0)
        rank = (uniforms(start_keys[row], number) * until[-1]).astype(np.int64)
        here = np.count_nonzero(until <= rank, axis=0), np.arange(len(row))
        free = room[here]
        offset = rank - (until[here] - (free - length + 1))
        first = room_start[here] + offset
        parts.append(Placed(row, first, length, drawn))

        room[here] = offset
        room_start = np.vstack([room_start, first + length])
        room = np.vstack([room, free - offset - length])
        covered[row] += word_ends[first + length - 1] - word_starts[first]
    nothing = np.empty(0, dtype=np.int64)
    parts.append(Placed(nothing, nothing, nothing, nothing))
    joined = Placed(*map(np.concatenate, zip(*parts, strict=True)))
    order = np.argsort(joined.row, kind="stable")
    return Placed(*(column[order] for column in joined))


def count_lengths(batch: RaggedBatch, drawn: Drawn, seed: int, epoch: int, rate: float) -> tuple[Int64, Int64]:
    """The numbers of spans drawn and masked with 0, 1, ... 10 words: int64 [11] each."""
    asked = np.bincount(sample_spans(batch, seed, epoch, rate).drawn, minlength=MAX_LENGTH + 1)
    starts, _ = batch.words
    starts = starts[drawn.kinds[starts] > 0]
    _, n_words = np.unique(drawn.units[starts], return_counts=True)
    return asked, np.bincount(n_words, minlength=MAX_LENGTH + 1)


class SpanLengths:
    """Statistics: the numbers of spans with 0, 1, ... 10 words, as drawn and as masked."""

    def __init__(self, options: MaskingOptions) -> None:
        self._counts = {name: np.zeros(MAX_LENGTH + 1, dtype=np.int64) for name in ("drawn", "realised")}

    def add(self, context: "DrawContext", drawn: Drawn) -> None:
        """Count one batch in one epoch."""
        found = count_lengths(context.batch, drawn, context.seed, context.epoch, context.max_rate)
        for counts, more in zip(self._counts.values(), found, strict=True):
            counts += more

    def merge(self, other: "SpanLengths") -> None:
        """Add the counts of another batch."""
        for name, counts in other._counts.items():
            self._counts[name] += counts

    def to_json(self) -> dict[str, Any]:
        """``span_lengths`` of stats.json."""
        shown = {
            name: {"mean": _mean(counts), "counts": {n: int(counts[n]) for n in range(1, len(counts))}}
            for name, counts in self._counts.items()
        }
        return {"span_lengths": shown}

    def remarks(self) -> Iterator[Remark]:
        """The mean lengths."""
        drawn, realised = map(_mean, self._counts.values())
        yield Remark(f"mean span length: {drawn:.2f} words drawn, {realised:.2f} masked")


def _mean(counts: Int64) -> float:
    return share(int(np.arange(len(counts)) @ counts), int(counts.sum()))


def _runs(batch: RaggedBatch, rows: Int64) -> tuple[Int64, Int64]:
    """The runs of words of these sequences, none of which is empty.

    First word and number of words of each run: int64 [max runs, n] each, padded with 0 words.
    """
    starts, _ = batch.words
    first = np.flatnonzero(batch.begins_run)
    n_words = np.diff(np.append(first, len(starts)))
    per_row = np.bincount(batch.row[starts[first]], minlength=len(batch))[rows]
    used = np.arange(per_row.max(initial=0)) < per_row[:, None]
    room_start, room = np.zeros(used.shape, dtype=np.int64), np.zeros(used.shape, dtype=np.int64)
    room_start[used], room[used] = first, n_words
    return room_start.T.copy(), room.T.copy()
