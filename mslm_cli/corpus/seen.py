"""A sketch of the sentences an artifact has seen, so that test text can be looked up in it later."""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mslm_cli.errors import ArtifactError

MIN_WORDS = 5
"""Shorter sentences ("Methods :", "See Table 1 .") are too common to prove anything, and are passed over."""

WARN_ABOVE_SHARE = 0.005
"""A larger share of a test set's sentences seen before is no accident, and lifts its scores."""

_WORD = re.compile(r"[^\W_]+")
_MERGE_AT = 1 << 20


def sentence_hash(text: str) -> int:
    """The 64-bit BLAKE2b hash of a sentence's letters and digits (NFKC, case folded), all else left out.

    Raw and tokenised text agree: ``IL-2 gene.`` and ``IL - 2 gene .`` have the same hash.
    """
    return _hash(words_of(text))


def is_long_enough(text: str) -> bool:
    """Whether a sentence is long enough to be looked up: ``MIN_WORDS`` words."""
    return len(list(islice(_WORD.finditer(_folded(text)), MIN_WORDS))) == MIN_WORDS


class Sketch:
    """A set of sentence hashes, 8 bytes each, that grows by text and is kept as one file.

    Sentences of fewer than ``MIN_WORDS`` words are passed over by ``add`` and ``count`` alike. Words are runs of
    letters and digits here, not what stands between spaces, so that raw and tokenised text agree on this too.
    """

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new = array("Q")

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Self:
        """The sketch of these sentences."""
        sketch = cls()
        for sentence in sentences:
            sketch.add(sentence)
        return sketch

    def add(self, text: str) -> None:
        """Add one sentence."""
        words = words_of(text)
        if len(words) >= MIN_WORDS:
            self._new.append(_hash(words))
            # Merging when the new ones are as many as the old keeps the total cost at n log n.
            if len(self._new) >= max(_MERGE_AT, len(self._sorted)):
                self.hashes()

    def add_all(self, other: "Sketch") -> None:
        """Add the sentences of another sketch."""
        self._new.frombytes(other.hashes().tobytes())
        if len(self._new) >= max(_MERGE_AT, len(self._sorted)):
            self.hashes()

    def hashes(self) -> NDArray[np.uint64]:
        """All hashes, uint64 [n], ascending, each once."""
        if self._new:
            new = np.frombuffer(self._new, np.uint64)
            self._sorted = np.unique(np.concatenate([self._sorted, new]))
            self._new = array("Q")
        return self._sorted

    def contains(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each of ``hashes`` is that of a sentence in the set: bool [n]."""
        return np.isin(hashes, self.hashes())

    def count(self, sentences: Iterable[str]) -> int:
        """How many of ``sentences`` are contained (a sentence that comes twice counts twice)."""
        asked = [_hash(words) for text in sentences if len(words := words_of(text)) >= MIN_WORDS]
        return int(self.contains(np.array(asked, np.uint64)).sum())

    def save(self, path: Path) -> None:
        """Write the hashes to ``path``: ascending little-endian uint64, nothing else."""
        path.write_bytes(self.hashes().astype("<u8").tobytes())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The sketch that ``save`` wrote to ``path``.

        Raises:
            ArtifactError: the file is missing or is no sketch.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path}: sketch of seen sentences cannot be read: {error.strerror}") from error
        if len(raw) % 8:
            raise ArtifactError(f"{path}: not a sketch of seen sentences: {len(raw)} bytes are no multiple of 8")
        sketch = cls()
        sketch._sorted = np.frombuffer(raw, "<u8").astype(np.uint64)
        if np.any(sketch._sorted[1:] <= sketch._sorted[:-1]):
            raise ArtifactError(f"{path}: not a sketch of seen sentences: its hashes are not in ascending order")
        return sketch


def merge_sketches(paths: Sequence[Path], target: Path) -> None:
    """Write the sketch of all sentences in the sketches at ``paths``; a part of them is in memory at a time.

    Raises:
        OSError: one cannot be read, or ``target`` cannot be written.
    """
    files = [path for path in paths if path.stat().st_size]
    n_ranges = max(1, -(-sum(path.stat().st_size // 8 for path in files) // _MERGE_AT))
    bounds = np.array([2**64 * i // n_ranges for i in range(1, n_ranges)], np.uint64)
    cuts = []
    for path in files:
        part = np.fromfile(path, "<u8")
        cuts.append(np.array([0, *np.searchsorted(part, bounds), len(part)]))
    with target.open("wb") as file:
        for i in range(n_ranges):
            parts = [
                np.fromfile(path, "<u8", cut[i + 1] - cut[i], offset=8 * cut[i])
                for path, cut in zip(files, cuts, strict=True)
            ]
            file.write(np.unique(np.concatenate([np.empty(0, "<u8"), *parts])).astype("<u8").tobytes())


def words_of(text: str) -> list[str]:
    """The runs of letters and digits of a text (NFKC, case folded)."""
    return _WORD.findall(_folded(text))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _hash(words: list[str]) -> int:
    return int.from_bytes(blake2b("".join(words).encode(), digest_size=8).digest(), "little")
