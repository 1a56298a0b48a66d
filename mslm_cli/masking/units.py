"""What the strategies may mask, and the number that was drawn for it.

A strategy's function takes a ``DrawContext``. It returns, by rate, units, each with a draw, a number of 64 bits:
a unit is masked when its draw is below its rate times 2^64. So a higher rate masks what a lower
one masks and more, and a budget is met by solving for the rate (``masking.budget``). Every
draw is keyed by the global sequence index and a place in the sequence, so a mask does not
depend on the batch it is drawn in.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mslm_cli.masking import pmi, spans
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, DrawnKind, Int64, RaggedBatch, flat_ranges
from mslm_cli.masking.random import (
    Purpose,
    UInt64,
    is_below,
    named_stream,
    ragged_children,
    sequence_keys,
    uniforms,
)
from mslm_cli.masking.strategies import Strategy


class DrawContext(NamedTuple):
    """What masks are drawn for.

    max_rate: no rate will be above this one; saves time for spans. state: what the strategy's preparation built.
    """

    batch: RaggedBatch
    seed: int
    epoch: int
    max_rate: float = 1.0
    state: Any = None


class Units(NamedTuple):
    """What may be masked at one rate: disjoint stretches [start, end) of the flat arrays.

    starts, ends: int64 [U].
    anchors: int64 [U]; where what is corrupted as one begins: the start, or that of the span it belongs to.
    draws: uint64 [U]; a unit is masked when its draw is below the rate times 2^64.
    kind: GENERIC or DS_TERM.
    """

    starts: Int64
    ends: Int64
    anchors: Int64
    draws: UInt64
    kind: int


def token(context: DrawContext) -> dict[str, Units]:
    """Single tokens.

    Source: Devlin et al. 2019 (BERT), section 3.1; there a fixed number of tokens is drawn, here they are i.i.d.
    """
    starts = context.batch.ordinary
    return {"rate": independent(context, starts, starts + 1, stream=Purpose.TOKEN)}


def word(context: DrawContext) -> dict[str, Units]:
    """Whole words.

    Source: whole-word masking of the BERT repository (2019); there a fixed number is drawn, here they are i.i.d.
    """
    starts, ends = context.batch.words
    return {"rate": independent(context, starts, ends, stream=Purpose.WORD)}


def span(context: DrawContext) -> dict[str, Units]:
    """The words of random spans, each corrupted as one; in every sequence the rate is the share of its tokens.

    Spans are sampled one after the other (``spans.sample_spans``), and their words are masked in that order, from left
    to right, until the sequence's share is reached; so the last span loses words at its end. The word at which the
    share is reached is masked with the probability that makes the expected share the rate.

    Source: Joshi et al. 2020 (SpanBERT), section 3.1; lengths as in its code (truncated at 10 and renormalised).
    """
    batch, seed, epoch, max_rate, _ = context
    placed = spans.sample_spans(batch, seed, epoch, max_rate)
    word_starts, word_ends = batch.words
    words = flat_ranges(placed.first, placed.lengths)
    row = np.repeat(placed.row, placed.lengths)
    starts, ends = word_starts[words], word_ends[words]
    sizes = ends - starts
    filled = np.cumsum(sizes) - sizes
    before = filled - filled[np.searchsorted(row, np.arange(len(batch)))[row]]
    crossing = uniforms(sequence_keys(seed, epoch, Purpose.SPAN_END, batch.index), np.zeros(len(batch), np.int64))
    share = (before + crossing[row] * sizes) / np.maximum(batch.n_ordinary, 1)[row]
    draws = (share * 2.0**53).astype(np.uint64) << np.uint64(11)
    return {"rate": Units(starts, ends, np.repeat(word_starts[placed.first], placed.lengths), draws, GENERIC)}


def pmi_grams(context: DrawContext) -> dict[str, Units]:
    """The n-grams of the vocabulary (``context.state``) in the text, and single words where there is none.

    Source: Levine et al. 2021 (PMI-Masking), section 4; there a fixed number is drawn, here they are i.i.d.
    """
    first, lengths = pmi.segment(context.batch, context.state, context.seed, context.epoch)
    starts, ends = context.batch.words
    return {"rate": independent(context, starts[first], ends[first + lengths - 1], stream=Purpose.WORD)}


def entity(context: DrawContext) -> dict[str, Units]:
    """Whole DS-mentions.

    Source: MSLM (arXiv 2403.18025), section 3, entity-level masking. There the number of masked mentions of a
    sequence is the rate times their number, rounded down; here each mention is drawn by itself.
    """
    _, starts, ends = context.batch.mentions
    return {"elm_rate": independent(context, starts, ends, stream=Purpose.MENTION, kind=DS_TERM)}


def mslm(context: DrawContext) -> dict[str, Units]:
    """Whole DS-mentions as ``entity``, and whole words outside all of them.

    Source: MSLM (arXiv 2403.18025), section 3, base-level masking; there over all that is left unmasked.
    """
    starts, ends = context.batch.generic_words
    return entity(context) | {"blm_rate": independent(context, starts, ends, stream=Purpose.WORD)}


def nothing(context: DrawContext) -> dict[str, Units]:
    """Nothing at all."""
    return {}


def independent(context: DrawContext, starts: Int64, ends: Int64, *, stream: int | str, kind: int = GENERIC) -> Units:
    """Units [start, end) of the flat arrays, ascending, each masked by itself with the probability that is the rate.

    Args:
        stream: which random numbers decide; a strategy outside of this package gives its own name.
        kind: GENERIC, or DS_TERM for DS-terms.
    """
    batch = context.batch
    number = named_stream(stream) if isinstance(stream, str) else stream
    keys = sequence_keys(context.seed, context.epoch, number, batch.index)
    draws = ragged_children(keys, batch.offsets[:-1], batch.sizes(starts), starts)
    return Units(starts, ends, starts, draws, kind)


def draw(strategy: Strategy, context: DrawContext, rates: Mapping[str, float]) -> Drawn:
    """What the strategy masks at these rates."""
    n_tokens, parts = len(context.batch.input_ids), []
    for name, found in strategy.units(context).items():
        masked = np.flatnonzero(is_below(found.draws, rates[name]))
        starts = found.starts[masked]
        lengths = found.ends[masked] - starts
        tokens, units = flat_ranges(starts, lengths), np.repeat(found.anchors[masked], lengths)
        if np.any(tokens[1:] < tokens[:-1]):  # spans come in the order in which they were placed
            order = np.argsort(tokens)
            tokens, units = tokens[order], units[order]
        parts.append(DrawnKind(tokens, units, found.kind))
    return Drawn(n_tokens, tuple(parts))
