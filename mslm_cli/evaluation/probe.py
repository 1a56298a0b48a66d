"""The masked items of a sensitivity probe: DS-mentions and matched generic text; and bootstrap intervals.

Each item is masked on its own in its sequence. Each mention is matched with a run of generic words that has the same
number of words and tokens and, in the probed text, the same frequency (the mean of log2 word counts, rounded down). One
word of each mention is matched with a generic word in the same way. So the format of the probe favours no masking
strategy, and matched items differ only in being a DS-term or not.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.batch import Int64, RaggedBatch
from mslm_cli.masking.grams import word_keys

Float64 = NDArray[np.float64]
_MAX_WORDS = 6


class Items(NamedTuple):
    """Spans [start, end) of whole words in the flat arrays of a batch: int64 [n] each."""

    starts: Int64
    ends: Int64


class Runs(NamedTuple):
    """Maskable runs of words: first word and number of words, int64 [n] each."""

    first: Int64
    n_words: Int64


def matched_items(batch: RaggedBatch, n_max: int, rng: np.random.Generator) -> dict[str, Items]:
    """Mentions with matched generic runs, and words of mentions with matched generic words, in matching order.

    At most ``n_max`` of each; mentions without a match are left out.
    """
    starts, ends = batch.words
    _, mention_starts, mention_ends = batch.mentions
    first = np.searchsorted(starts, mention_starts)
    mentions = Runs(first, np.searchsorted(starts, mention_ends) - first)
    one_word = Runs(first + rng.integers(0, mentions.n_words), np.ones_like(first))
    is_generic = ~batch.in_mention[starts]
    found: dict[str, Items] = {}
    for names, runs, n_words in (
        (("mention", "generic_span"), mentions, range(1, _MAX_WORDS + 1)),
        (("mention_word", "generic_word"), one_word, range(1, 2)),
    ):
        generic = _runs(batch, is_generic, n_words)
        one, other = _pairs(_features(batch, runs), _features(batch, generic), rng)
        chosen = rng.permutation(len(one))[:n_max]
        for name, of, pairs in ((names[0], runs, one), (names[1], generic, other)):
            begin = of.first[pairs[chosen]]
            found[name] = Items(starts[begin], ends[begin + of.n_words[pairs[chosen]] - 1])
    return found


def general_items(batch: RaggedBatch, n_words: Int64, n_max: int, rng: np.random.Generator) -> dict[str, Items]:
    """Random runs of words outside mentions, with lengths ``n_words``, and random words; at most ``n_max`` of each."""
    starts, ends = batch.words
    is_generic = ~batch.in_mention[starts]
    found = {}
    for name, lengths in (("general_span", n_words), ("general_word", np.ones_like(n_words))):
        parts = []
        for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
            runs = _runs(batch, is_generic, range(length, length + 1))
            parts.append((rng.permutation(runs.first)[:count], length))
        first = np.concatenate([np.empty(0, np.int64), *(part for part, _ in parts)])
        size = np.concatenate([np.empty(0, np.int64), *(np.full(len(part), length) for part, length in parts)])
        chosen = rng.permutation(len(first))[:n_max]
        found[name] = Items(starts[first[chosen]], ends[first[chosen] + size[chosen] - 1])
    return found


def words_in(batch: RaggedBatch, items: Items) -> Int64:
    """The number of words of each item: int64 [n]."""
    starts, _ = batch.words
    return np.searchsorted(starts, items.ends) - np.searchsorted(starts, items.starts)


def _runs(batch: RaggedBatch, allowed: NDArray[np.bool_], n_words: range) -> Runs:
    """All runs of ``n_words`` consecutive allowed words in a sentence."""
    begins = np.flatnonzero(batch.begins_run | ~allowed)
    until = np.append(begins, len(allowed))[np.searchsorted(begins, np.arange(len(allowed)), side="right")]
    room = np.where(allowed, until - np.arange(len(allowed)), 0)
    parts = [np.flatnonzero(room >= n) for n in n_words]
    return Runs(
        np.concatenate(parts), np.concatenate([np.full(len(p), n) for p, n in zip(parts, n_words, strict=True)])
    )


def _features(batch: RaggedBatch, runs: Runs) -> Int64:
    """One number that encodes words, tokens and frequency of each run: int64 [n]."""
    starts, ends = batch.words
    _, inverse, counts = np.unique(word_keys(batch), return_inverse=True, return_counts=True)
    summed = np.concatenate([[0.0], np.cumsum(np.log2(counts)[inverse.reshape(-1)])])
    frequency = (summed[runs.first + runs.n_words] - summed[runs.first]) / np.maximum(runs.n_words, 1)
    n_tokens = ends[runs.first + runs.n_words - 1] - starts[runs.first]
    features: Int64 = (runs.n_words * 10_000 + n_tokens) * 100 + frequency.astype(np.int64)
    return features


def _pairs(one: Int64, other: Int64, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Random pairs of equal numbers, each element in at most one pair: their indices, int64 [n_pairs] each."""
    orders, codes = [], []
    for numbers in (one, other):
        shuffled = rng.permutation(len(numbers))
        order = shuffled[np.argsort(numbers[shuffled], kind="stable")]
        ascending = numbers[order]
        rank = np.arange(len(order)) - np.searchsorted(ascending, ascending)
        orders.append(order)
        codes.append(ascending * (len(one) + len(other) + 1) + rank)
    _, in_one, in_other = np.intersect1d(codes[0], codes[1], assume_unique=True, return_indices=True)
    return orders[0][in_one], orders[1][in_other]


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Bootstrap over clusters of items, with the same replicates for every comparison.

    Args:
        n_clusters: the number of documents or sequences.
    """

    def __init__(self, n_clusters: int, n_replicates: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_replicates).astype(
            float
        )

    def mean(self, values: Float64, clusters: Int64) -> Interval:
        """The mean of ``values``, float64 [n], with clusters int64 [n], from 0."""
        return self.difference((values, clusters), (np.empty(0), np.empty(0, dtype=np.int64)))

    def difference(self, one: tuple[Float64, Int64], other: tuple[Float64, Int64]) -> Interval:
        """The mean of ``one`` minus the mean of ``other``, each (values, clusters); an empty mean is 0."""
        totals = np.zeros(len(self._weights) + 1)
        for sign, (values, clusters) in ((1, one), (-1, other)):
            if len(values):
                n = self._weights.shape[1]
                weights = np.vstack([np.ones(n), self._weights])
                sums, counts = (weights @ np.bincount(clusters, w, minlength=n) for w in (values, np.ones(len(values))))
                totals += sign * sums / np.maximum(counts, 1)
        low, high = np.quantile(totals[1:], [0.025, 0.975])
        return Interval(float(totals[0]), float(low), float(high))
