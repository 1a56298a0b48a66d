"""The maskable units of each strategy, and their random draws.

A strategy's function takes a ``DrawContext`` and returns units by rate, each with a 64-bit draw: a unit is masked if
its draw is below the rate times 2^64. So a higher rate masks a superset, and a budget is met by solving for the rate
(``masking.budget``). Draws are keyed by global sequence index and position in the sequence, so a mask does not depend
on its batch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mslm_cli.masking import pmi, spans
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, DrawnTokens, Int64, RaggedBatch, flat_ranges
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
    """The input for drawing masks.

    max_rate: an upper bound of the rate; saves time for spans. state: the result of the strategy's preparation.
    """

    batch: RaggedBatch
    seed: int
    epoch: int
    max_rate: float = 1.0
    state: Any = None


class Units(NamedTuple):
    """The maskable units for one rate: disjoint ranges [start, end) of the flat arrays.

    starts, ends: int64 [U].
    anchors: int64 [U]; the start of the unit, or of its span; units with the same anchor are corrupted together.
    draws: uint64 [U]; a unit is masked if its draw is below the rate times 2^64.
    mask_kind: GENERIC or DS_TERM.
    """

    starts: Int64
    ends: Int64
    anchors: Int64
    draws: UInt64
    mask_kind: int


def token(context: DrawContext) -> dict[str, Units]:
    """Single tokens.

    Source: Devlin et al. 2019 (BERT), section 3.1; they draw a fixed number of tokens, we draw independently.
    """
    starts = context.batch.ordinary
    return {"rate": independent(context, starts, starts + 1, stream=Purpose.TOKEN)}


def word(context: DrawContext) -> dict[str, Units]:
    """Whole words.

    Source: whole-word masking of the BERT repository (2019); they draw a fixed number, we draw independently.
    """
    starts, ends = context.batch.words
    return {"rate": independent(context, starts, ends, stream=Purpose.WORD)}


def span(context: DrawContext) -> dict[str, Units]:
    """The words of random spans, each corrupted together; the rate is the fraction of tokens in each sequence.

    Spans are sampled in sequence (``spans.sample_spans``), and their words are masked in that order, from left to
    right, until the rate is reached; so the last span may lose words at its end. The word that reaches the rate is
    masked with the probability that makes the expected fraction equal to the rate.

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
    fraction = (before + crossing[row] * sizes) / np.maximum(batch.n_ordinary, 1)[row]
    draws = (fraction * 2.0**53).astype(np.uint64) << np.uint64(11)
    return {"rate": Units(starts, ends, np.repeat(word_starts[placed.first], placed.lengths), draws, GENERIC)}


def pmi_grams(context: DrawContext) -> dict[str, Units]:
    """The n-grams of the vocabulary (``context.state``) in the text, and single words elsewhere.

    Source: Levine et al. 2021 (PMI-Masking), section 4; they draw a fixed number, we draw independently.
    """
    first, lengths = pmi.segment(context.batch, context.state, context.seed, context.epoch)
    starts, ends = context.batch.words
    return {"rate": independent(context, starts[first], ends[first + lengths - 1], stream=Purpose.WORD)}


def entity(context: DrawContext) -> dict[str, Units]:
    """Whole DS-mentions.

    Source: MSLM (arXiv 2403.18025), section 3, entity-level masking. They mask a fixed number of mentions in a
    sequence, the rate times their number, rounded down; we draw each mention independently.
    """
    _, starts, ends = context.batch.mentions
    return {"elm_rate": independent(context, starts, ends, stream=Purpose.MENTION, mask_kind=DS_TERM)}


def mslm(context: DrawContext) -> dict[str, Units]:
    """Whole DS-mentions as ``entity``, and whole words outside them.

    Source: MSLM (arXiv 2403.18025), section 3, base-level masking; they draw from everything left unmasked.
    """
    starts, ends = context.batch.generic_words
    return entity(context) | {"blm_rate": independent(context, starts, ends, stream=Purpose.WORD)}


def nothing(context: DrawContext) -> dict[str, Units]:
    """No units."""
    return {}


def independent(
    context: DrawContext, starts: Int64, ends: Int64, *, stream: int | str, mask_kind: int = GENERIC
) -> Units:
    """Units [start, end) of the flat arrays, ascending, masked independently with the rate as probability.

    Args:
        stream: the stream of random numbers; a strategy in another package gives its own name.
        mask_kind: GENERIC, or DS_TERM for DS-terms.
    """
    batch = context.batch
    number = named_stream(stream) if isinstance(stream, str) else stream
    keys = sequence_keys(context.seed, context.epoch, number, batch.index)
    draws = ragged_children(keys, batch.offsets[:-1], batch.sizes(starts), starts)
    return Units(starts, ends, starts, draws, mask_kind)


def draw(strategy: Strategy, context: DrawContext, rates: Mapping[str, float]) -> Drawn:
    """The tokens that the strategy masks at these rates."""
    n_tokens, parts = len(context.batch.input_ids), []
    for name, found in strategy.units(context).items():
        masked = np.flatnonzero(is_below(found.draws, rates[name]))
        starts = found.starts[masked]
        if np.any(starts[1:] < starts[:-1]):  # spans are in the order of placement
            at = np.full(n_tokens, -1)
            at[starts] = masked
            masked = at[at >= 0]
            starts = found.starts[masked]
        lengths = found.ends[masked] - starts
        tokens, units = flat_ranges(starts, lengths), np.repeat(found.anchors[masked], lengths)
        parts.append(DrawnTokens(tokens, units, found.mask_kind))
    return Drawn(n_tokens, tuple(parts))
