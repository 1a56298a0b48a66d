"""Documents of a corpus that are the same as an earlier one, or nearly.

Source: Broder (1997), "On the resemblance and containment of documents": the resemblance of two documents is the
Jaccard similarity of their sets of runs of words, which MinHash estimates; bands of it find the pairs to compare.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.corpus.blocks import Block, Work
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.options import Way
from mslm_cli.corpus.seen import words_of

SIMILARITY = 0.8
"""The estimated resemblance from which on two documents are nearly the same."""

_N_WORDS = 5
_N_EXACT, _N_HASHES, _N_BANDS = 2, 128, 16
_SEED = 1


def signer(way: Way) -> Work[NDArray[np.uint32]]:
    """The function from the documents of a block to their signatures: uint32 [n, 2] for exact, [n, 128] for near."""
    sign, width = (_exact, _N_EXACT) if way == "exact" else (_min_hash(), _N_HASHES)

    def signatures(_: Block, documents: Iterable[Document]) -> NDArray[np.uint32]:
        found = [sign(words_of(document.text)) for document in documents]
        return np.array(found, np.uint32).reshape(len(found), width)

    return signatures


def duplicates(way: Way, by_block: Iterable[NDArray[np.uint32]]) -> list[tuple[int, ...]]:
    """For each block, the positions of the documents that are nearly or exactly the same as an earlier one.

    Signatures are kept in a temporary file; memory holds some 50 bytes for each document.
    """
    with TemporaryDirectory(prefix="mslm-duplicates-") as folder:
        path = Path(folder) / "signatures"
        sizes = []
        with path.open("wb") as file:
            for signatures in by_block:
                file.write(signatures.tobytes())
                sizes.append(len(signatures))
        width = _N_EXACT if way == "exact" else _N_HASHES
        if not sum(sizes):
            return [() for _ in sizes]
        rows = np.memmap(path, np.uint32, "r").reshape(-1, width)
        is_later = np.zeros(len(rows), np.bool_)
        for earlier, later in _pairs(rows, 1 if way == "exact" else _N_BANDS):
            is_later[later[_are_alike(rows, earlier, later)]] = True
        del rows
    ends = np.cumsum(sizes)
    return [tuple(np.flatnonzero(is_later[end - n : end]).tolist()) for end, n in zip(ends, sizes, strict=True)]


def _pairs(rows: NDArray[np.uint32], n_bands: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Documents that agree in a band: with the first and with the last one before them that does."""
    width = rows.shape[1] // n_bands
    for band in range(n_bands):
        columns = rows[:, band * width : (band + 1) * width]
        keys = np.fromiter((_hash(row.tobytes()) for row in columns), np.uint64, len(rows))
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]]) + 1
        starts = np.flatnonzero(np.append(True, keys[order[1:]] != keys[order[:-1]]))
        first = order[starts[np.searchsorted(starts, same, side="right") - 1]]
        yield first, order[same]
        yield order[same - 1], order[same]


def _are_alike(
    rows: NDArray[np.uint32], earlier: NDArray[np.int64], later: NDArray[np.int64], n: int = 65_536
) -> NDArray[np.bool_]:
    least = 1 if rows.shape[1] == _N_EXACT else SIMILARITY
    slices = [slice(i, i + n) for i in range(0, len(later), n)]
    parts = [(rows[earlier[s]] == rows[later[s]]).mean(axis=1) >= least for s in slices]
    return np.concatenate([np.empty(0, np.bool_), *parts])


def _exact(words: Sequence[str]) -> list[int]:
    number = _hash(" ".join(words).encode())
    return [number & 0xFFFFFFFF, number >> 32]


def _min_hash() -> Callable[[Sequence[str]], list[int]]:
    from rensa import RMinHash

    def sign(words: Sequence[str]) -> list[int]:
        min_hash: Any = RMinHash(num_perm=_N_HASHES, seed=_SEED)
        n = max(1, len(words) - _N_WORDS + 1)
        min_hash.update([" ".join(words[i : i + _N_WORDS]) for i in range(n)])
        found: list[int] = min_hash.digest()
        return found

    return sign


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
