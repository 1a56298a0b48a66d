"""Collocations by pointwise mutual information: their vocabulary, and segmentation of text into them.

A word is the tuple of its token ids, as the model sees it. Words and n-grams are identified by 64-bit hashes: among
100 million n-grams the probability of any collision is 1 in 4,000, and a collision only masks unrelated words together.

Source: Levine et al. 2021 (PMI-Masking, ICLR), sections 3 and 4.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mslm_cli.errors import ArtifactError
from mslm_cli.masking.batch import Drawn, Int64, RaggedBatch, flat_ranges
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.random import Purpose, UInt64, children, sequence_keys
from mslm_cli.masking.strategies import Remark

if TYPE_CHECKING:
    from mslm_cli.masking.units import DrawContext

MAX_N = 5
_MAX_IN_MEMORY = 1 << 23
QUOTAS = {2: 0.5, 3: 0.25, 4: 0.125, 5: 0.125}


@dataclass(frozen=True)
class PmiVocabulary:
    """The n-grams masked as units: their keys (``gram_keys``) for n = 2 to 5, uint64, ascending."""

    keys: dict[int, UInt64]

    def __len__(self) -> int:
        return sum(map(len, self.keys.values()))


class Grams(NamedTuple):
    """The frequent n-grams of one order.

    keys: uint64 [G], ascending. counts: int64 [G]. words: uint64 [G, n]; the keys of their words.
    n_all: the number of n-grams of this order in the text, including rare ones.
    """

    keys: UInt64
    counts: Int64
    words: UInt64
    n_all: int


def word_keys(batch: RaggedBatch) -> UInt64:
    """The key of each word, a hash of its token ids: uint64 [W]."""
    starts, ends = batch.words
    sizes = ends - starts
    tokens = flat_ranges(starts, sizes)
    hashes = children(batch.input_ids[tokens].astype(np.uint64), tokens - np.repeat(starts, sizes))
    return children(np.add.reduceat(hashes, np.cumsum(sizes) - sizes), np.zeros(1, dtype=np.int64))


def gram_keys(words: UInt64) -> UInt64:
    """The key of each n-gram, from the keys of its words: uint64 [G, n] to uint64 [G]."""
    keys = words[:, 0]
    for k in range(1, words.shape[1]):
        keys = children(keys, words[:, k])
    return keys


def count_grams(blocks: Blocks, min_count: int) -> dict[int, Grams]:
    """The word n-grams, n = 1 to 5, that occur more than ``min_count`` times; none crosses a sentence boundary.

    The blocks are read once for each order. Memory is bounded by ``_MAX_IN_MEMORY`` n-grams beside the frequent ones;
    the others are in temporary files.
    """
    frequent: dict[int, Grams] = {}
    for n in range(1, MAX_N + 1):
        n_all = 0
        with GramRuns(n) as runs:
            # both (n - 1)-grams of a frequent n-gram are frequent
            known = frequent[n - 1].keys if n > 1 else None
            for n_here, keys, counts, words in blocks.map(partial(_counter, n, known)):
                n_all += n_here
                runs.add(keys, counts, words)
            frequent[n] = Grams(*runs.merged(min_count), n_all)
    return frequent


def _counter(n: int, known: UInt64 | None) -> Callable[[RaggedBatch], tuple[int, UInt64, Int64, UInt64]]:
    """The function that counts the n-grams of a batch: all of them, then keys, counts and words of those to keep."""

    def count(batch: RaggedBatch) -> tuple[int, UInt64, Int64, UInt64]:
        words = word_keys(batch)
        starts = np.flatnonzero(_room(batch) >= n)
        grams = words[starts[:, None] + np.arange(n)]
        if known is not None:
            grams = grams[_contains(known, gram_keys(grams[:, :-1])) & _contains(known, gram_keys(grams[:, 1:]))]
        return (len(starts), *_unique(grams))

    return count


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
    words, room = word_keys(batch), _room(batch)
    reach = np.zeros(len(words), dtype=np.int64)
    for n in sorted(vocabulary.keys):
        starts = np.flatnonzero(room >= n)
        found = starts[_contains(vocabulary.keys[n], gram_keys(words[starts[:, None] + np.arange(n)]))]
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


def _room(batch: RaggedBatch) -> Int64:
    """The number of words from each word to the end of its run, including itself: int64 [W]."""
    begins = np.flatnonzero(batch.begins_run)
    n_words = len(batch.begins_run)
    ends = np.append(begins[1:], n_words)[: len(begins)]
    room: Int64 = np.repeat(ends, ends - begins) - np.arange(n_words)
    return room


def _contains(keys: UInt64, wanted: UInt64) -> NDArray[np.bool_]:
    """Whether each of ``wanted`` is in the ascending ``keys``: bool."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.bool_)
    found: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found


_Run = tuple[UInt64, Int64, UInt64]


class GramRuns:
    """Counts of n-grams from many parts: those that are not in memory are sorted runs in a temporary folder.

    Args:
        n: the order of the n-grams.
    """

    def __init__(self, n: int) -> None:
        self._runs: list[_Run] = []
        self._waiting: list[_Run] = [_unique(np.empty((0, n), dtype=np.uint64))]
        self._n_waiting = self._n_all = 0
        self._folder = TemporaryDirectory(prefix="mslm-pmi-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runs.clear()
        self._folder.cleanup()

    def add(self, keys: UInt64, counts: Int64, words: UInt64) -> None:
        """Add the counts of one part; ``keys``: ascending."""
        self._waiting.append((keys, counts, words))
        self._n_waiting += len(keys)
        if self._n_waiting > _MAX_IN_MEMORY:
            self._waiting = [_merged(self._waiting)]
            self._n_waiting = len(self._waiting[0][0])
            if self._n_waiting > _MAX_IN_MEMORY // 2:
                self._spill()

    def merged(self, min_count: int) -> _Run:
        """Keys, counts and words of the n-grams that occur more than ``min_count`` times, by ascending key."""
        runs = [*self._runs, _merged(self._waiting)]
        n_ranges = max(1, -(-sum(len(run[0]) for run in runs) // _MAX_IN_MEMORY))
        bounds = [2**64 * i // n_ranges for i in range(1, n_ranges)]  # keys are hashes, so ranges are alike
        cuts = [[0, *np.searchsorted(run[0], np.array(bounds, np.uint64)).tolist(), len(run[0])] for run in runs]
        found = []
        for i in range(n_ranges):
            slices = [slice(cut[i], cut[i + 1]) for cut in cuts]
            keys, counts, words = _merged([(k[s], c[s], w[s]) for (k, c, w), s in zip(runs, slices, strict=True)])
            often = counts > min_count
            found.append((keys[often], counts[often], words[often]))
        return _joined(found)

    def _spill(self) -> None:
        paths = [Path(self._folder.name) / f"{len(self._runs)}-{i}.npy" for i in range(3)]
        for path, column in zip(paths, self._waiting[0], strict=True):
            np.save(path, column)
        keys, counts, words = (np.load(path, mmap_mode="r") for path in paths)
        self._runs.append((keys, counts, words))
        self._waiting, self._n_waiting = [], 0


def _joined(parts: list[_Run]) -> _Run:
    keys, counts, words = (np.concatenate(column) for column in zip(*parts, strict=True))
    return keys, counts, words


def _unique(grams: UInt64) -> tuple[UInt64, Int64, UInt64]:
    """Ascending keys, counts and words of the distinct n-grams in ``grams``, uint64 [any, n]."""
    keys, index, counts = np.unique(gram_keys(grams), return_index=True, return_counts=True)
    return keys, counts, grams[index]


def _merged(parts: list[_Run]) -> _Run:
    """As ``_unique``, for all parts together."""
    all_keys, all_counts, all_words = _joined(parts)
    keys, index, inverse = np.unique(all_keys, return_index=True, return_inverse=True)
    counts = np.zeros(len(keys), dtype=np.int64)
    np.add.at(counts, inverse, all_counts)
    return keys, counts, all_words[index]
