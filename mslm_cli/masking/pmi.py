"""Collocations by pointwise mutual information: their vocabulary, and segmentation of text into them.

Source: Levine et al. 2021 (PMI-Masking, ICLR), sections 3 and 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.errors import ArtifactError
from mslm_cli.masking.batch import Drawn, Int64, RaggedBatch, flat_ranges
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.grams import MAX_N, Grams, contains, count_grams, gram_keys, word_keys, words_to_end
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.random import Purpose, UInt64, children, sequence_keys
from mslm_cli.masking.strategies import Remark

if TYPE_CHECKING:
    from mslm_cli.masking.units import DrawContext

QUOTAS = {2: 0.5, 3: 0.25, 4: 0.125, 5: 0.125}


@dataclass(frozen=True)
class PmiVocabulary:
    """The n-grams masked as units: their keys (``gram_keys``) for n = 2 to 5, uint64, ascending."""

    keys: dict[int, UInt64]

    def __len__(self) -> int:
        return sum(map(len, self.keys.values()))


def mutual_information(grams: dict[int, Grams], n: int) -> NDArray[np.float64]:
    """PMI of each n-gram of order ``n``: float64 [G], in nats.

    The minimum, over all segmentations of the n-gram into two or more pieces, of log p(n-gram) / prod p(piece), where p
    is the count divided by the number of n-grams of that order.

    Source: Levine et al. 2021, equation 2, over all segmentations except the n-gram itself.
    """
    words = grams[n].words
    # The likeliest segmentation of words [i, j), including the unsegmented piece, except for the n-gram itself.
    best: dict[tuple[int, int], NDArray[np.float64]] = {}
    for length in range(1, n + 1):
        order = grams[length]
        for i in range(n - length + 1):
            j = i + length
            cuts = [best[i, k] + best[k, j] for k in range(i + 1, j)]
            if length < n:
                at = np.searchsorted(order.keys, gram_keys(words[:, i:j]))
                cuts.append(np.log(order.counts[at] / order.n_all))
            best[i, j] = np.max(cuts, axis=0)
    uncut: NDArray[np.float64] = np.log(grams[n].counts / grams[n].n_all)
    return uncut - best[0, n]


def build(blocks: Blocks, min_count: int, size: int | None = None) -> PmiVocabulary:
    """The n-grams with the highest PMI: half of ``size`` for n = 2, a quarter for 3, an eighth each for 4 and 5.

    Args:
        min_count: an n-gram must occur more often than this.
        size: default: half the number of such n-grams.
    """
    grams = count_grams(blocks, min_count)
    if size is None:
        size = sum(len(grams[n].keys) for n in QUOTAS) // 2
    chosen = {}
    for n, quota in QUOTAS.items():
        order = np.lexsort((grams[n].keys, -grams[n].counts, -mutual_information(grams, n)))
        chosen[n] = np.sort(grams[n].keys[order[: round(size * quota)]])
    return PmiVocabulary(chosen)


def prepare(blocks: Blocks, options: MaskingOptions) -> PmiVocabulary:
    """Build the vocabulary by the options."""
    return build(blocks, options.pmi_min_count, options.pmi_size)


def save(folder: Path, vocabulary: PmiVocabulary) -> None:
    """Write the vocabulary, one file for each order."""
    for n, keys in vocabulary.keys.items():
        np.save(folder / f"collocations-{n}.npy", keys)


def load(folder: Path) -> PmiVocabulary:
    """Read the vocabulary written by ``save``.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    try:
        return PmiVocabulary({n: np.load(folder / f"collocations-{n}.npy") for n in QUOTAS})
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}: cannot read the collocations: {error}", hint="make the shards again") from error


class Collocations:
    """Statistics: the number of collocations in the vocabulary, by number of words."""

    def __init__(self, options: MaskingOptions) -> None:
        self._min_count = options.pmi_min_count
        self._n: dict[int, int] = {}

    def add(self, context: "DrawContext", drawn: Drawn) -> None:
        """Read the numbers from the vocabulary."""
        self._n = {n: len(keys) for n, keys in context.state.keys.items()}

    def merge(self, other: "Collocations") -> None:
        """Take over the numbers, which are the same in all batches."""
        self._n = other._n

    def to_json(self) -> dict[str, Any]:
        """``n_collocations`` of stats.json."""
        return {"n_collocations": self._n}

    def remarks(self) -> Iterator[Remark]:
        """The numbers, or a warning if there are none."""
        if any(self._n.values()):
            yield Remark("collocations: " + ", ".join(f"{count:,} of {n} words" for n, count in self._n.items()))
        else:
            problem = f"no collocation occurs more than {self._min_count} times: single words are masked"
            yield Remark(f"{problem}; lower --pmi-min-count", is_warning=True)


def segment(batch: RaggedBatch, vocabulary: PmiVocabulary, seed: int, epoch: int) -> tuple[Int64, Int64]:
    """Segment the text into vocabulary n-grams and single words: first word and number of words, int64 [U] each.

    N-grams inside a longer one are ignored. Of n-grams that overlap partially, the first in a random order wins.
    """
    starts, ends = _longest(batch, vocabulary)
    word_starts, _ = batch.words
    keys = sequence_keys(seed, epoch, Purpose.OVERLAP, batch.index)
    first_token = word_starts[starts]
    priority = children(keys[batch.row[first_token]], batch.position[first_token])
    kept = _disjoint(starts, ends, priority)
    starts, ends = starts[kept], ends[kept]
    lengths = np.ones(len(word_starts), dtype=np.int64)
    lengths[flat_ranges(starts, ends - starts)] = 0
    lengths[starts] = ends - starts
    first = np.flatnonzero(lengths)
    return first, lengths[first]


def _longest(batch: RaggedBatch, vocabulary: PmiVocabulary) -> tuple[Int64, Int64]:
    """The vocabulary n-grams that are not inside a longer one, as words [start, end): both ascending."""
    words, room = word_keys(batch), words_to_end(batch)
    reach = np.zeros(len(words), dtype=np.int64)
    for n in sorted(vocabulary.keys):
        starts = np.flatnonzero(room >= n)
        found = starts[contains(vocabulary.keys[n], gram_keys(words[starts[:, None] + np.arange(n)]))]
        reach[found] = found + n
    starts = np.flatnonzero(reach)
    ends = reach[starts]
    before = np.maximum.accumulate(np.append(0, ends))[:-1]
    return starts[ends > before], ends[ends > before]


def _disjoint(starts: Int64, ends: Int64, priority: UInt64) -> Int64:
    """Indices of disjoint spans, chosen greedily by descending priority: int64 [K].

    Starts and ends ascend and no span is longer than 5, so only 4 neighbours on each side can overlap.
    """
    left = np.arange(len(starts))
    taken: list[Int64] = []
    while len(left):
        is_first, is_hit = np.ones(len(left), dtype=np.bool_), np.zeros(len(left), dtype=np.bool_)
        overlaps = [ends[left[:-k]] > starts[left[k:]] for k in range(1, min(MAX_N, len(left)))]
        for k, overlap in enumerate(overlaps, 1):
            left_wins = priority[left[:-k]] >= priority[left[k:]]
            is_first[:-k] &= left_wins | ~overlap
            is_first[k:] &= ~(left_wins & overlap)
        for k, overlap in enumerate(overlaps, 1):
            is_hit[:-k] |= is_first[k:] & overlap
            is_hit[k:] |= is_first[:-k] & overlap
        taken.append(left[is_first])
        left = left[~is_first & ~is_hit]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *taken]))
