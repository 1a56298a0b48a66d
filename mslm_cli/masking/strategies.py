"""Masking strategies: what may be masked, and the number that was drawn for it.

A strategy is a function of (sequences, seed, epoch). It returns units, each with a draw, a number of 64 bits:
a unit is masked when its draw is below its rate times 2^64. So a higher rate masks what a lower
one masks and more, and a budget is met by solving for the rate (``masking.budget``). Every
draw is keyed by the global sequence index and a place in the sequence, so a mask does not
depend on the batch it is drawn in. To add a strategy: one function here, one line in ``units``.
"""

from typing import NamedTuple

import numpy as np

from mslm_cli.masking import pmi, spans
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, DrawnKind, Int64, RaggedBatch, flat_ranges
from mslm_cli.masking.random import Purpose, UInt64, is_below, ragged_children, sequence_keys, uniforms

RATES: dict[str, tuple[str, ...]] = {
    "token": ("rate",),
    "word": ("rate",),
    "span": ("rate",),
    "pmi": ("rate",),
    "entity": ("elm_rate",),
    "mslm": ("elm_rate", "blm_rate"),
    "none": (),
}
"""The rates that each strategy has; a budget solves for the last one."""


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


def token(batch: RaggedBatch, seed: int, epoch: int) -> Units:
    """Single tokens.

    Source: Devlin et al. 2019 (BERT), section 3.1; there a fixed number of tokens is drawn, here they are i.i.d.
    """
    starts = batch.ordinary
    return _independent(batch, starts, starts + 1, Purpose.TOKEN, GENERIC, seed, epoch)


def word(batch: RaggedBatch, seed: int, epoch: int) -> Units:
    """Whole words.

    Source: whole-word masking of the BERT repository (2019); there a fixed number is drawn, here they are i.i.d.
    """
    starts, ends = batch.words
    return _independent(batch, starts, ends, Purpose.WORD, GENERIC, seed, epoch)


def span(batch: RaggedBatch, seed: int, epoch: int, max_rate: float) -> Units:
    """The words of random spans, each corrupted as one; in every sequence the rate is the share of its tokens.

    Spans are sampled one after the other (``spans.sample_spans``), and their words are masked in that order, from left
    to right, until the sequence's share is reached; so the last span loses words at its end. The word at which the
    share is reached is masked with the probability that makes the expected share the rate.

    Args:
        max_rate: spans are placed for rates up to this one.

    Source: Joshi et al. 2020 (SpanBERT), section 3.1; lengths as in its code (truncated at 10 and renormalised).
    """
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
    return Units(starts, ends, np.repeat(word_starts[placed.first], placed.lengths), draws, GENERIC)


def pmi_grams(batch: RaggedBatch, seed: int, epoch: int, vocabulary: pmi.PmiVocabulary) -> Units:
    """The n-grams of ``vocabulary`` in the text, and single words where there is none.

    Source: Levine et al. 2021 (PMI-Masking), section 4; there a fixed number is drawn, here they are i.i.d.
    """
    first, lengths = pmi.segment(batch, vocabulary, seed, epoch)
    starts, ends = batch.words
    return _independent(batch, starts[first], ends[first + lengths - 1], Purpose.WORD, GENERIC, seed, epoch)


def entity(batch: RaggedBatch, seed: int, epoch: int) -> Units:
    """Whole DS-mentions.

    Source: MSLM (arXiv 2403.18025), section 3, entity-level masking. There the number of masked mentions of a
    sequence is the rate times their number, rounded down; here each mention is drawn by itself.
    """
    _, starts, ends = batch.mentions
    return _independent(batch, starts, ends, Purpose.MENTION, DS_TERM, seed, epoch)


def generic_word(batch: RaggedBatch, seed: int, epoch: int) -> Units:
    """Whole words outside all DS-mentions; so they are disjoint from what ``entity`` masks.

    Source: MSLM (arXiv 2403.18025), section 3, base-level masking; there over all that is left unmasked.
    """
    starts, ends = batch.generic_words
    return _independent(batch, starts, ends, Purpose.WORD, GENERIC, seed, epoch)


def units(
    strategy: str,
    batch: RaggedBatch,
    seed: int,
    epoch: int,
    *,
    max_rate: float = 1.0,
    vocabulary: pmi.PmiVocabulary | None = None,
) -> dict[str, Units]:
    """The units of the strategy of that name, by the rate they are masked at (see ``RATES``).

    Args:
        max_rate: no rate will be above this one; saves time for spans.
        vocabulary: needed by pmi.

    Raises:
        ValueError: there is no such strategy, or pmi is without a vocabulary.
    """
    match strategy:
        case "token":
            return {"rate": token(batch, seed, epoch)}
        case "word":
            return {"rate": word(batch, seed, epoch)}
        case "span":
            return {"rate": span(batch, seed, epoch, max_rate)}
        case "pmi" if vocabulary is not None:
            return {"rate": pmi_grams(batch, seed, epoch, vocabulary)}
        case "entity":
            return {"elm_rate": entity(batch, seed, epoch)}
        case "mslm":
            return {"elm_rate": entity(batch, seed, epoch), "blm_rate": generic_word(batch, seed, epoch)}
        case "none":
            return {}
    raise ValueError(f"no masking strategy {strategy!r}, or no vocabulary for it")


def draw(
    strategy: str,
    batch: RaggedBatch,
    *,
    rate: float = 0.0,
    elm_rate: float = 0.0,
    blm_rate: float = 0.0,
    seed: int,
    epoch: int,
    vocabulary: pmi.PmiVocabulary | None = None,
) -> Drawn:
    """What the strategy of that name draws in one epoch; it reads the rates it has (see ``RATES``).

    Raises:
        ValueError: as ``units``.
    """
    rates = {"rate": rate, "elm_rate": elm_rate, "blm_rate": blm_rate}
    n_tokens, parts = len(batch.input_ids), []
    for name, found in units(strategy, batch, seed, epoch, max_rate=rate, vocabulary=vocabulary).items():
        masked = np.flatnonzero(is_below(found.draws, rates[name]))
        starts = found.starts[masked]
        lengths = found.ends[masked] - starts
        parts.append(DrawnKind(flat_ranges(starts, lengths), np.repeat(found.anchors[masked], lengths), found.kind))
    if strategy == "span":
        # spans come in the order in which they were placed
        unit_of = Drawn(n_tokens, tuple(parts)).units
        tokens = np.flatnonzero(unit_of >= 0)
        parts = [DrawnKind(tokens, unit_of[tokens], GENERIC)]
    return Drawn(n_tokens, tuple(parts))


def _independent(
    batch: RaggedBatch, starts: Int64, ends: Int64, purpose: Purpose, kind: int, seed: int, epoch: int
) -> Units:
    """Units that are drawn each by itself."""
    keys = sequence_keys(seed, epoch, purpose, batch.index)
    draws = ragged_children(keys, batch.offsets[:-1], batch.sizes(starts), starts)
    return Units(starts, ends, starts, draws, kind)
