"""Counts of candidates in files: written for each block of a corpus, then merged and ranked part by part.

Each file has one record batch for each partition of the keys by a hash, so a partition is merged and ranked without the
others. In memory are the counts of one partition, 40 bytes for each distinct word of the corpus, and the best terms.
"""

import heapq
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.termhood import SmoothedFraction

_PARTITION_BYTES = 6_000_000
_MAX_PARTITIONS = 1024
_MAX_REMEMBERED = 50_000
_MAX_OPEN = 200
"""Files that stay open, of each table: processes may have few."""

_KEYS = {"candidates": ["form"], "surfaces": ["form", "surface"], "words": ["word"], "parts": ["form"]}
_NUMBERS = {
    "candidates": ["n", "n_docs"],
    "surfaces": ["n"],
    "words": ["n", "n_content", "n_ends", "n_before_determiner"],
    "parts": ["total", "n"],
}
TABLES = ("candidates", "surfaces", "words")


def n_partitions(n_bytes: int) -> int:
    """The number of partitions for a corpus of this size."""
    return min(_MAX_PARTITIONS, 1 + n_bytes // _PARTITION_BYTES)


def file_name(table: str, number: int) -> str:
    """The name of the file with the counts of one block, or of one partition of merged counts."""
    return f"{table}-{number:07}.arrow"


def write_counts(folder: Path, number: int, counts: CandidateCounts, partitions: int) -> list[str]:
    """Write the counts of block ``number``; the names of the files."""
    content = counts.content
    rows: dict[str, Iterable[tuple[Any, ...]]] = {
        "candidates": ((form, n, counts.doc_counts[form]) for form, n in counts.counts.items()),
        "surfaces": ((form, surface, n) for form, found in counts.surfaces.items() for surface, n in found.items()),
        "words": (
            (word, n, content[word], counts.ends[word], counts.before_determiner[word])
            for word, n in counts.words.items()
        ),
    }
    for table, found in rows.items():
        write_rows(folder, table, number, found, partitions)
    return [file_name(table, number) for table in TABLES]


def write_rows(folder: Path, table: str, number: int, rows: Iterable[tuple[Any, ...]], partitions: int) -> None:
    """Write the rows of a table, by partition of their first column."""
    columns = list(zip(*rows, strict=True)) or [()] * (len(_KEYS[table]) + len(_NUMBERS[table]))
    n_keys = len(_KEYS[table])
    keys = list(map(_binary, columns[:n_keys]))
    part = np.fromiter((zlib.crc32(key.as_buffer()) % partitions for key in keys[0]), np.int64, len(keys[0]))
    order = pa.array(np.argsort(part, kind="stable"))
    arrays = keys + [pa.array(column, pa.int64()) for column in columns[n_keys:]]
    whole = pa.RecordBatch.from_arrays([a.take(order) for a in arrays], schema=_schema(table))
    ends = np.cumsum(np.bincount(part, minlength=partitions)).tolist()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    path = str(folder / file_name(table, number))
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, whole.schema, options=options) as writer:
        for first, end in zip([0, *ends], ends, strict=False):
            writer.write_batch(whole.slice(first, end - first))


def _schema(table: str) -> pa.Schema:
    keys, numbers = _KEYS[table], _NUMBERS[table]
    return pa.schema([*((key, pa.binary()) for key in keys), *((number, pa.int64()) for number in numbers)])


class Runs:
    """The files of one table of all blocks."""

    def __init__(self, folder: Path, table: str, numbers: Sequence[int]) -> None:
        self._paths = [folder / file_name(table, number) for number in numbers]
        self._table = table

    @cached_property
    def _readers(self) -> list[Any]:
        # not mapped into memory: all parts that were read would stay there
        return [pa.ipc.open_file(pa.OSFile(str(path))) for path in self._paths]

    def _batches(self, partition: int) -> Iterator[Any]:
        if len(self._paths) <= _MAX_OPEN:
            yield from (reader.get_batch(partition) for reader in self._readers)
            return
        for path in self._paths:
            with pa.OSFile(str(path)) as file:
                yield pa.ipc.open_file(file).get_batch(partition)

    def merged(self, partition: int) -> pa.Table:
        """The summed counts of a partition: a row for each key."""
        keys, numbers = _KEYS[self._table], _NUMBERS[self._table]
        every = pa.Table.from_batches(list(self._batches(partition)), _schema(self._table))
        summed = every.group_by(keys, use_threads=False).aggregate([(number, "sum") for number in numbers])
        return summed.select([*keys, *(f"{n}_sum" for n in numbers)]).rename_columns([*keys, *numbers])

    def rows(self, partition: int) -> Iterator[tuple[str, int, int]]:
        """The key and the two numbers of each row of ``merged``."""
        found = self.merged(partition)
        return zip(_strings(found[0]), found[1].to_pylist(), found[2].to_pylist(), strict=True)


class Words(NamedTuple):
    """Counts of all words of a corpus, by hash.

    hashes: uint64 [n], ascending. counts: int64 [4, n]; as in ``CandidateCounts``: words, content, ends,
    before_determiner. heads, verbs: how often a content word ends a noun phrase, and stands before a determiner.
    """

    hashes: NDArray[np.uint64]
    counts: NDArray[np.int64]
    heads: SmoothedFraction
    verbs: SmoothedFraction

    def column(self, number: int) -> "Counter[str]":
        """A counter of words."""
        return _Column(self.hashes, self.counts[number])


class _Column(Counter[str]):
    """A counter over arrays, which remembers what it was asked for; words that never occur are not in it."""

    def __init__(self, hashes: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        super().__init__()
        self._hashes, self._counts = hashes, counts

    def __missing__(self, word: str) -> int:
        wanted = np.uint64(_hash(word.encode("utf-8", "surrogatepass")))
        at = int(self._hashes.searchsorted(wanted))
        n = int(self._counts[at]) if at < len(self._hashes) and self._hashes[at] == wanted else 0
        if len(self) == _MAX_REMEMBERED:
            self.clear()
        self[word] = n
        return n

    def __contains__(self, word: object) -> bool:
        return self[str(word)] > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _Column, (self._hashes, self._counts)


def read_words(folder: Path, partitions: int) -> Words:
    """The words of all partitions of the merged counts in ``folder``."""
    hashes: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    counts: list[list[NDArray[np.int64]]] = [[np.empty(0, np.int64)] for _ in range(4)]
    for number in range(partitions):
        for rows in _batches(folder / file_name("words", number)):
            hashes.append(np.fromiter(map(_hash, rows.column(0).to_pylist()), np.uint64, len(rows)))
            for i, column in enumerate(counts, 1):
                column.append(rows.column(i).to_numpy().copy())
    joined = np.concatenate(hashes)
    order = np.argsort(joined, kind="stable")
    joined = joined[order]
    columns = np.empty((4, len(joined)), np.int64)
    for i in range(4):  # one after the other: together with their parts they would be a large part of memory
        columns[i] = np.concatenate(counts[i])[order]
        counts[i].clear()
    _, content, ends, before = (_Column(joined, column) for column in columns)
    heads, verbs = SmoothedFraction(ends, content), SmoothedFraction(before, content)
    # floating-point sums depend on their order
    for word, n, n_ends, n_before in heapq.merge(*(_content_rows(folder, i) for i in range(partitions))):
        heads.add(word, n_ends, n)
        verbs.add(word, n_before, n)
    return Words(joined, columns, heads, verbs)


def _content_rows(folder: Path, partition: int) -> Iterator[tuple[str, int, int, int]]:
    """The content words of a partition, in order: word, occurrences, ends, before a determiner."""
    for rows in _batches(folder / file_name("words", partition)):
        word, _, *numbers = (column.to_pylist() for column in rows.columns)
        for key, n, n_ends, n_before in zip(word, *numbers, strict=True):
            if n:
                yield key.decode("utf-8", "surrogatepass"), n, n_ends, n_before


def write_merged(target: Path, partition: int, runs: dict[str, Runs], least: int, wanted: set[str]) -> int:
    """Merge a partition: all words, and the candidates that are frequent or wanted, with their spellings.

    Returns:
        The number of distinct candidates.
    """
    candidates = runs["candidates"].merged(partition)
    is_kept = pc.greater_equal(candidates["n"], least)
    if wanted:
        is_kept = pc.or_(is_kept, pc.is_in(candidates["form"], _binary(sorted(wanted))))
    kept = candidates.filter(is_kept)
    surfaces = runs["surfaces"].merged(partition)
    surfaces = surfaces.filter(pc.is_in(surfaces["form"], kept["form"].combine_chunks()))
    words = runs["words"].merged(partition).sort_by("word")
    for table, rows in (("candidates", kept), ("surfaces", surfaces), ("words", words)):
        _write_table(target / file_name(table, partition), rows)
    return len(candidates)


def read_candidates(
    folder: Path, partition: int, words: Words, n_words: int, only: Container[str] | None = None
) -> CandidateCounts:
    """The counts of the candidates of a partition of the merged counts, of ``only`` some if given, and of all words."""
    counts = CandidateCounts(n_words=n_words)
    counts.words, counts.content, counts.ends, counts.before_determiner = (words.column(i) for i in range(4))
    for rows in _batches(folder / file_name("candidates", partition)):
        for form, n, n_docs in zip(
            _strings(rows.column(0)), *(rows.column(i).to_pylist() for i in (1, 2)), strict=True
        ):
            if only is None or form in only:
                counts.counts[form], counts.doc_counts[form] = n, n_docs
    for rows in _batches(folder / file_name("surfaces", partition)):
        columns = _strings(rows.column(0)), _strings(rows.column(1)), rows.column(2).to_pylist()
        for form, surface, n in zip(*columns, strict=True):
            if form in counts.counts:
                counts.surfaces[form][surface] = n
    return counts


def _binary(strings: Iterable[str]) -> pa.Array:
    # text can have what UTF-8 cannot: halves of surrogate pairs, from JSON
    return pa.array([string.encode("utf-8", "surrogatepass") for string in strings], pa.binary())


def _strings(column: Any) -> list[str]:
    return [key.decode("utf-8", "surrogatepass") for key in column.to_pylist()]


def _write_table(path: Path, rows: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=10_000)


def _batches(path: Path) -> Iterator[Any]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return (reader.get_batch(i) for i in range(reader.num_record_batches))


def _hash(word: bytes) -> int:
    return int.from_bytes(blake2b(word, digest_size=8).digest(), "little")
