"""Counts of word n-grams: written to files for each block of sequences, then merged range by range of their keys.

A word is the tuple of its token ids, as the model sees it. Words and n-grams are identified by 64-bit hashes: among
100 million n-grams the probability of any collision is 1 in 4,000, and a collision only masks unrelated words together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.batch import Int64, RaggedBatch, flat_ranges
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.random import UInt64, children

MAX_N = 5
_MAX_IN_MEMORY = 1 << 21
"""How many n-grams of one order are merged at a time: up to 56 bytes each, some three times in the merge."""


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

    The blocks are read once for each order. In memory are the frequent n-grams and, where blocks are worked on, the
    n-grams of a block or of a range of keys.
    """
    frequent: dict[int, Grams] = {}
    for n in range(1, MAX_N + 1):
        # both (n - 1)-grams of a frequent n-gram are frequent
        known = frequent[n - 1].keys if n > 1 else None
        with TemporaryDirectory(prefix="grams-", dir=blocks.folder) as name:
            folder = Path(name)
            counted = list(blocks.map(partial(_counter, folder, n, known)))
            bounds = _bounds(sum(block.n_distinct for block in counted))
            merge = partial(_merger, [block.path for block in counted], n, min_count)
            merged = list(blocks.run(merge, bounds))
        keys, counts, words = (np.concatenate(column) for column in zip(*merged, strict=True))
        frequent[n] = Grams(keys, counts, words, sum(block.n_all for block in counted))
    return frequent


class _Counted(NamedTuple):
    """The n-grams of one block: their number, and the file that has the distinct ones that may be frequent."""

    n_all: int
    n_distinct: int
    path: Path


_Counts = tuple[UInt64, Int64, UInt64]
"""Ascending keys, counts and words of distinct n-grams."""


def _counter(folder: Path, n: int, known: UInt64 | None) -> Callable[[RaggedBatch], _Counted]:
    """The function that counts the n-grams of a batch."""

    def count(batch: RaggedBatch) -> _Counted:
        words = word_keys(batch)
        starts = np.flatnonzero(words_to_end(batch) >= n)
        grams = words[starts[:, None] + np.arange(n)]
        if known is not None:
            grams = grams[contains(known, gram_keys(grams[:, :-1])) & contains(known, gram_keys(grams[:, 1:]))]
        keys, index, counts = np.unique(gram_keys(grams), return_index=True, return_counts=True)
        first = int(batch.index[0]) if len(batch.index) else -1
        path = folder / f"{first}.u64"
        with path.open("wb") as file:
            for column in (keys, counts.astype(np.uint64), grams[index]):
                file.write(column.tobytes())
        return _Counted(len(starts), len(keys), path)

    return count


def _bounds(n_grams: int) -> list[tuple[int, int]]:
    """Ranges of keys, [first, end), with at most about ``_MAX_IN_MEMORY`` of ``n_grams``; keys are hashes."""
    n_ranges = max(1, -(-n_grams // _MAX_IN_MEMORY))
    cuts = [2**64 * i // n_ranges for i in range(n_ranges + 1)]
    return list(pairwise(cuts))


def _merger(paths: Sequence[Path], n: int, min_count: int) -> Callable[[tuple[int, int]], _Counts]:
    """The function that finds the n-grams of a range of keys that occur more than ``min_count`` times in all blocks."""

    def merge(bounds: tuple[int, int]) -> _Counts:
        keys, counts, words = (np.concatenate(c) for c in zip(*(_in_range(p, n, bounds) for p in paths), strict=True))
        distinct, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
        totals = np.zeros(len(distinct), np.int64)
        np.add.at(totals, inverse, counts)
        often = totals > min_count
        return distinct[often], totals[often], words[index[often]]

    return merge


def _in_range(path: Path, n: int, bounds: tuple[int, int]) -> _Counts:
    """The n-grams with a key in the range [first, end), from a file that ``_counter`` wrote."""
    size = path.stat().st_size // (8 * (2 + n))
    if not size:
        return np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, n), np.uint64)
    every = np.memmap(path, np.uint64, "r")
    # the end can be 2 ** 64, one more than uint64 holds
    first = int(np.searchsorted(every[:size], np.uint64(bounds[0])))
    end = int(np.searchsorted(every[:size], np.uint64(bounds[1] - 1), side="right"))
    at = slice(first, end)
    words = every[2 * size :].reshape(size, n)
    return np.array(every[:size][at]), every[size : 2 * size][at].astype(np.int64), np.array(words[at])


def words_to_end(batch: RaggedBatch) -> Int64:
    """The number of words from each word to the end of its run, including itself: int64 [W]."""
    begins = np.flatnonzero(batch.begins_run)
    n_words = len(batch.begins_run)
    ends = np.append(begins[1:], n_words)[: len(begins)]
    left: Int64 = np.repeat(ends, ends - begins) - np.arange(n_words)
    return left


def contains(keys: UInt64, wanted: UInt64) -> NDArray[np.bool_]:
    """Whether each of ``wanted`` is in the ascending ``keys``: bool."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.bool_)
    found: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found
