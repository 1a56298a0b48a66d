"""Counts of candidates and mentions in files: written for each block of a corpus, then merged and ranked part by part.

Each file has one record batch for each partition of the keys by a hash, so a partition is merged and ranked without the
others. In memory are the counts of one partition and the best terms. The counts of all words are in a file that all
processes map, 40 bytes for each distinct word.
"""

import zlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.termhood import SmoothedFraction, sums_by_ending

_PARTITION_BYTES = 6_000_000
_MAX_PARTITIONS = 1024
_MAX_REMEMBERED = 50_000
_MAX_OPEN = 200
"""Files that stay open, of each table: processes may have few."""

_KEYS = {
    "candidates": ["form"],
    "surfaces": ["form", "surface"],
    "words": ["word"],
    "mentions": ["key", "what", "value"],
    "parts": ["form"],
}
_NUMBERS = {
    "candidates": ["n", "n_docs"],
    "surfaces": ["n"],
    "words": ["n", "n_content", "n_ends", "n_before_determiner"],
    "mentions": ["n"],
    "parts": ["total", "n"],
}
_ROW = np.dtype([("hash", "<u8"), ("counts", "<i8", (4,))])
"""A word: the hash of its bytes in UTF-8, and its counts, as in ``_NUMBERS``."""

_NONE = (0, 0, 0, 0)
_ENDINGS = pa.schema(
    [("ending", pa.binary()), ("weight", pa.int64()), ("ends", pa.int64()), ("before_determiner", pa.int64())]
)
TABLES = ("candidates", "surfaces", "words", "mentions")
_SPELLING, _TYPE, _DOCUMENTS = "spelling", "type", "documents"
"""What a row of mentions counts: mentions with a spelling or a type, or the documents with one."""


def n_partitions(n_bytes: int) -> int:
    """The number of partitions for a corpus of this size."""
    return min(_MAX_PARTITIONS, 1 + n_bytes // _PARTITION_BYTES)


def file_name(table: str, number: int) -> str:
    """The name of the file with the counts of one block, or of one partition of merged counts."""
    return f"{table}-{number:07}.arrow"


def write_counts(
    folder: Path, number: int, counts: CandidateCounts, mentions: MentionCounts, partitions: int
) -> list[str]:
    """Write the counts of block ``number``; the names of the files."""
    content = counts.content
    rows: dict[str, Iterable[tuple[Any, ...]]] = {
        "candidates": ((form, n, counts.doc_counts[form]) for form, n in counts.counts.items()),
        "surfaces": ((form, surface, n) for form, found in counts.surfaces.items() for surface, n in found.items()),
        "words": (
            (word, n, content[word], counts.ends[word], counts.before_determiner[word])
            for word, n in counts.words.items()
        ),
        "mentions": _mention_rows(mentions),
    }
    for table, found in rows.items():
        write_rows(folder, table, number, found, partitions)
    return [file_name(table, number) for table in TABLES]


def _mention_rows(mentions: MentionCounts) -> Iterator[tuple[str, str, str, int]]:
    for what, table in ((_SPELLING, mentions.spellings), (_TYPE, mentions.types)):
        for key, found in table.items():
            yield from ((key, what, value, n) for value, n in found.items())
    yield from ((key, _DOCUMENTS, "", n) for key, n in mentions.doc_counts.items())


def write_rows(folder: Path, table: str, number: int, rows: Iterable[tuple[Any, ...]], partitions: int) -> None:
    """Write the rows of a table, by partition of their first column."""
    columns = list(zip(*rows, strict=True)) or [()] * (len(_KEYS[table]) + len(_NUMBERS[table]))
    n_keys = len(_KEYS[table])
    keys = list(map(_binary, columns[:n_keys]))
    part = np.fromiter((_partition(key.as_buffer(), partitions) for key in keys[0]), np.int64, len(keys[0]))
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


class WordFile:
    """The counts of all words of a corpus, in a file that is mapped into memory.

    Rows are of type ``_ROW``: those of each partition together, by ascending hash.

    Args:
        starts: the first row of each partition, and the number of rows.
    """

    def __init__(self, path: Path, starts: Sequence[int]) -> None:
        self._path, self._starts = path, starts
        self._found: dict[str, tuple[int, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return WordFile, (self._path, self._starts)

    @cached_property
    def _rows(self) -> NDArray[np.void]:
        return np.memmap(self._path, _ROW, "r") if self._starts[-1] else np.empty(0, _ROW)

    def __getitem__(self, word: str) -> tuple[int, ...]:
        """As in ``CandidateCounts``: words, content, ends, before_determiner; zeros for a word that never occurs."""
        if (found := self._found.get(word)) is not None:
            return found
        partition, key_hash = self._place(word)
        wanted, hashes = np.uint64(key_hash), self._rows["hash"]
        first, end = self._starts[partition : partition + 2]
        at = bisect_left(hashes, wanted, first, end)
        is_there = at < end and hashes[at] == wanted
        if len(self._found) >= _MAX_REMEMBERED:
            self._found.clear()
        self._found[word] = tuple(self._rows["counts"][at].tolist()) if is_there else _NONE
        return self._found[word]

    def read(self, words: Iterable[str]) -> None:
        """Look up many words partition by partition, without mapping all of the file."""
        by_partition: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        for word in words:
            partition, key_hash = self._place(word)
            by_partition[partition].append((key_hash, word))
        for partition, wanted in by_partition.items():
            first, end = self._starts[partition : partition + 2]
            rows = np.fromfile(self._path, _ROW, end - first, offset=first * _ROW.itemsize)
            at_hash = dict(zip(rows["hash"].tolist(), range(len(rows)), strict=True))
            for key_hash, word in wanted:
                at = at_hash.get(key_hash)
                self._found[word] = _NONE if at is None else tuple(rows["counts"][at].tolist())

    def _place(self, word: str) -> tuple[int, int]:
        """The partition of a word, and its hash."""
        key = word.encode("utf-8", "surrogatepass")
        return _partition(key, len(self._starts) - 1), _hash(key)


class _Column(Counter[str]):
    """One of the counts of all words; words that never occur are not in it."""

    def __init__(self, file: WordFile, number: int) -> None:
        super().__init__()
        self._file, self._number = file, number

    def __missing__(self, word: str) -> int:
        return self._file[word][self._number]

    def __contains__(self, word: object) -> bool:
        return self[str(word)] > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _Column, (self._file, self._number)


class Words(NamedTuple):
    """All words of a corpus; fractions: of content words that end a noun phrase, and stand before a determiner."""

    file: WordFile
    fractions: tuple[SmoothedFraction, SmoothedFraction]

    def columns(self) -> "tuple[Counter[str], ...]":
        """Counters of the words, as in ``CandidateCounts``: words, content, ends, before_determiner."""
        return tuple(_Column(self.file, number) for number in range(4))


def join_words(folder: Path, partitions: int) -> Words:
    """Join the words of all partitions of the merged counts in ``folder`` in a file there."""
    starts, totals = [0], np.zeros(4, np.int64)
    joined = folder / "words"
    with joined.open("wb") as file:
        for partition in range(partitions):
            rows = np.fromfile(_rows_file(folder, partition), _ROW)
            file.write(rows.tobytes())  # tofile does not say why it fails, such as a full disk
            starts.append(starts[-1] + len(rows))
            totals += rows["counts"].sum(axis=0)
    every = pa.Table.from_batches(
        [rows for i in range(partitions) for rows in _batches(folder / file_name("endings", i))], _ENDINGS
    )
    summed = every.group_by("ending", use_threads=False).aggregate([(name, "sum") for name in _ENDINGS.names[1:]])
    endings, weights = _strings(summed["ending"]), summed["weight_sum"].to_pylist()
    words = WordFile(joined, starts)

    def fraction(name: str, number: int) -> SmoothedFraction:
        sums = dict(zip(endings, zip(weights, summed[f"{name}_sum"].to_pylist(), strict=True), strict=True))
        overall = int(totals[number]) / max(1, int(totals[1]))
        return SmoothedFraction(_Column(words, number), _Column(words, 1), sums, overall)

    return Words(words, (fraction("ends", 2), fraction("before_determiner", 3)))


def _rows_file(folder: Path, partition: int) -> Path:
    return folder / f"words-{partition:07}"


def frequent_mentions(runs: Runs, partition: int, least: int) -> MentionCounts:
    """The mentions of a partition that occur at least ``least`` times in all."""
    every = runs.merged(partition)
    spelled = every.filter(pc.equal(every["what"], _SPELLING.encode()))
    totals = spelled.group_by("key", use_threads=False).aggregate([("n", "sum")])
    frequent = totals.filter(pc.greater_equal(totals["n_sum"], least))["key"].combine_chunks()
    kept = every.filter(pc.is_in(every["key"], frequent))
    counts = MentionCounts()
    for key, what, value, n in zip(*map(_strings, kept.columns[:3]), kept["n"].to_pylist(), strict=True):
        if what == _DOCUMENTS:
            counts.doc_counts[key] = n
        else:
            (counts.spellings if what == _SPELLING else counts.types)[key][value] = n
    return counts


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
    words = runs["words"].merged(partition)
    rows = np.empty(len(words), _ROW)
    rows["hash"] = np.fromiter(map(_hash, words["word"].to_pylist()), np.uint64, len(words))
    rows["counts"] = np.stack([words[name].to_numpy() for name in _NUMBERS["words"]], axis=1)
    _rows_file(target, partition).write_bytes(rows[np.argsort(rows["hash"], kind="stable")].tobytes())
    for table, found in (("candidates", kept), ("surfaces", surfaces), ("endings", _endings(words))):
        _write_table(target / file_name(table, partition), found)
    return len(candidates)


def _endings(words: pa.Table) -> pa.Table:
    """The sums over the content words with each ending: weights, weighted fractions at ends and before determiners."""
    content = words.filter(pc.greater(words["n_content"], 0))
    n, *some = (content[name].to_pylist() for name in ("n_content", "n_ends", "n_before_determiner"))
    sums = sums_by_ending(zip(_strings(content["word"]), n, zip(*some, strict=True), strict=True))
    columns = zip(*sums.values(), strict=True) if sums else [()] * 3
    return pa.table([_binary(sums), *(pa.array(column, pa.int64()) for column in columns)], schema=_ENDINGS)


class MergedCounts(NamedTuple):
    """The merged counts in ``folder``; partitions: their number. n_words: words without punctuation in the corpus."""

    folder: Path
    partitions: int
    n_words: int
    words: Words

    def candidates(self, partition: int) -> CandidateCounts:
        """The counts of the candidates of a partition, and of all words."""
        return self._counts([partition], None)

    def candidates_among(self, forms: Iterable[str]) -> CandidateCounts:
        """The counts of the candidates with these forms, and of all words."""
        return self._counts(range(self.partitions), _binary(forms))

    def _counts(self, partitions: Iterable[int], forms: pa.Array | None) -> CandidateCounts:
        counts = CandidateCounts(n_words=self.n_words)
        counts.words, counts.content, counts.ends, counts.before_determiner = self.words.columns()
        for partition in partitions:
            _add_candidates(self.folder, partition, forms, counts)
        return counts


def _add_candidates(folder: Path, partition: int, forms: pa.Array | None, counts: CandidateCounts) -> None:
    for rows in _of_forms(folder / file_name("candidates", partition), forms):
        for form, n, n_docs in zip(
            _strings(rows.column(0)), *(rows.column(i).to_pylist() for i in (1, 2)), strict=True
        ):
            counts.counts[form], counts.doc_counts[form] = n, n_docs
    for rows in _of_forms(folder / file_name("surfaces", partition), forms):
        columns = _strings(rows.column(0)), _strings(rows.column(1)), rows.column(2).to_pylist()
        for form, surface, n in zip(*columns, strict=True):
            counts.surfaces[form][surface] = n


def _of_forms(path: Path, forms: pa.Array | None) -> Iterator[Any]:
    """The rows of a table of candidates or surfaces, in batches; those of ``forms`` if given."""
    for rows in _batches(path):
        yield rows if forms is None else rows.filter(pc.is_in(rows["form"], forms))


def _binary(strings: Iterable[str]) -> pa.Array:
    # text can have what UTF-8 cannot: halves of surrogate pairs, from JSON
    return pa.array([string.encode("utf-8", "surrogatepass") for string in strings], pa.binary())


def _strings(column: Any) -> list[str]:
    return list(map(_string, column.to_pylist()))


def _string(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def _write_table(path: Path, rows: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=10_000)


def _batches(path: Path) -> Iterator[Any]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return (reader.get_batch(i) for i in range(reader.num_record_batches))


def _partition(key: bytes, partitions: int) -> int:
    return zlib.crc32(key) % partitions


def _hash(word: bytes) -> int:
    return int.from_bytes(blake2b(word, digest_size=8).digest(), "little")
