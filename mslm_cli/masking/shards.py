"""Shards: sequences and their masks in uncompressed, memory-mapped Arrow IPC files.

``data-00000.arrow`` holds one row per sequence; ``masks-003-00000.arrow`` holds the masks of the same rows in the
fourth epoch. Sequences are numbered over all data files, so the division into files does not matter; documents are
numbered within each file.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mslm_cli.errors import ArtifactError
from mslm_cli.masking.batch import DS_TERM, GENERIC, Int32, Int64, Masks, RaggedBatch, UInt8, flat_ranges

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]  # as the import's name

_OTHER_FILES = 256
_INTS = pa.list_(pa.int32())
SEQUENCE_SCHEMA = pa.schema(
    [(name, _INTS) for name in ("input_ids", "word_ids", "spans", "span_types", "sentences")] + [("doc", pa.int32())]
)
MASK_SCHEMA = pa.schema([("positions", _INTS), ("kinds", pa.list_(pa.uint8())), ("replacements", _INTS)])
_REMEDY = "make the shards again with `mslm preprocess ... --overwrite`"

Ragged = tuple[Int64, NDArray[Any]]  # offsets [n + 1] from 0, flat values


@dataclass(frozen=True)
class Sequences:
    """The content of one data file.

    batch: the sequences; its ``index`` holds their global numbers.
    doc: int32 [n]; the number of each sequence's document.
    """

    batch: RaggedBatch
    doc: Int32

    def __len__(self) -> int:
        return len(self.doc)

    def renumbered(self, first_sequence: int, first_document: int) -> "Sequences":
        """The same sequences, numbered from ``first_sequence``, with documents numbered from ``first_document``."""
        index = np.arange(first_sequence, first_sequence + len(self))
        return Sequences(replace(self.batch, index=index), self.doc + np.int32(first_document))

    def rows(self, first: int, last: int) -> "Sequences":
        """The sequences [first, last)."""
        return Sequences(self.batch.rows(first, last), self.doc[first:last])


@dataclass(frozen=True)
class Sequence:
    """One sequence as read-only views of a data file; fields as in ``RaggedBatch`` and ``Sequences``."""

    input_ids: Int32
    word_ids: Int32
    spans: Int32
    span_types: Int32
    sentences: Int32
    doc: int


@dataclass(frozen=True)
class SequenceMask:
    """The predicted tokens of one sequence as read-only views; fields as in ``Masks``."""

    positions: Int32
    kinds: UInt8
    replacements: Int32


def concatenate(parts: Seq[Sequences]) -> Sequences:
    """The sequences of all parts, concatenated."""
    batches = [part.batch for part in parts]
    batch = RaggedBatch(
        offsets=_joined_offsets([b.offsets for b in batches]),
        input_ids=np.concatenate([b.input_ids for b in batches]),
        word_ids=np.concatenate([b.word_ids for b in batches]),
        spans=np.concatenate([b.spans for b in batches]),
        span_types=np.concatenate([b.span_types for b in batches]),
        span_offsets=_joined_offsets([b.span_offsets for b in batches]),
        sentences=np.concatenate([b.sentences for b in batches]),
        sentence_offsets=_joined_offsets([b.sentence_offsets for b in batches]),
        index=np.concatenate([b.index for b in batches]),
    )
    return Sequences(batch, np.concatenate([part.doc for part in parts]))


def _joined_offsets(parts: Seq[Int64]) -> Int64:
    return np.concatenate([[0], np.cumsum(np.concatenate([np.diff(offsets) for offsets in parts]))])


def data_name(number: int) -> str:
    """The name of data file ``number``."""
    return f"data-{number:05}.arrow"


def number_of(path: Path) -> int:
    """The number of a data file."""
    return int(path.stem.removeprefix("data-"))


def mask_name(copy: int, number: int) -> str:
    """The name of the file with the masks of data file ``number`` in epoch ``copy``."""
    return f"masks-{copy:03}-{number:05}.arrow"


def write_sequences(folder: Path, number: int, sequences: Sequences, *, max_batch_tokens: int = 2**29) -> None:
    """Write data file ``number``; record batches are limited because list offsets have 32 bits."""
    batch = sequences.batch
    columns: dict[str, Ragged] = {
        "input_ids": (batch.offsets, batch.input_ids),
        "word_ids": (batch.offsets, batch.word_ids),
        "spans": (batch.span_offsets * 2, batch.spans.reshape(-1)),
        "span_types": (batch.span_offsets, batch.span_types),
        "sentences": (batch.sentence_offsets, batch.sentences),
    }
    path = folder / data_name(number)
    _write(path, SEQUENCE_SCHEMA, columns, {"doc": sequences.doc}, _slices(batch.offsets, max_batch_tokens))


def write_masks(folder: Path, copy: int, number: int, masks: Masks, *, max_batch_tokens: int = 2**29) -> None:
    """Write the masks of data file ``number`` in epoch ``copy``."""
    columns: dict[str, Ragged] = {
        "positions": (masks.offsets, masks.positions),
        "kinds": (masks.offsets, masks.kinds),
        "replacements": (masks.offsets, masks.replacements),
    }
    path = folder / mask_name(copy, number)
    _write(path, MASK_SCHEMA, columns, {}, _slices(masks.offsets, max_batch_tokens))


class ShardReader:
    """Random access to the sequences of a shards folder, by global number.

    doc: int32 [n]; the number of each sequence's document, over all files.

    Raises:
        ArtifactError: a file is missing, not Arrow, or has other columns.
    """

    def __init__(self, folder: Path, paths: Seq[Path] = ()) -> None:
        """``paths``: the data files; default: all of the folder."""
        self.folder = folder
        paths = paths or sorted(folder.glob("data-*.arrow"))
        if not paths:
            raise ArtifactError(f"{folder}: no data-*.arrow files", hint=_REMEDY)
        _allow_files(len(paths) * (1 + len(list(folder.glob(mask_name(0, 0).replace("000-", "*-"))))))
        by_file = [_record_batches(path, SEQUENCE_SCHEMA) for path in paths]
        batches = [b for found in by_file for b in found]
        self._input_ids = _ListColumn(batches, "input_ids")
        self._word_ids = _ListColumn(batches, "word_ids")
        self._spans = _ListColumn(batches, "spans")
        self._span_types = _ListColumn(batches, "span_types")
        self._sentences = _ListColumn(batches, "sentences")
        self.doc: Int32 = _numbered_on([np.concatenate([b.column("doc").to_numpy() for b in f]) for f in by_file if f])
        self.lengths: Int32 = self._input_ids.lengths
        self.n_copies = len({path.name.split("-")[1] for path in folder.glob("masks-*.arrow")})

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sequence:
        return Sequence(
            self._input_ids[index],
            self._word_ids[index],
            self._spans[index].reshape(-1, 2),
            self._span_types[index],
            self._sentences[index],
            int(self.doc[index]),
        )

    def input_ids(self, indices: NDArray[np.integer[Any]]) -> tuple[Int64, Int32]:
        """The ids of the sequences with these numbers, in this order: offsets int64 [k + 1], flat ids int32."""
        offsets, (input_ids,) = _take(indices, self._input_ids)
        return offsets, input_ids

    def batch(self, indices: NDArray[np.integer[Any]]) -> RaggedBatch:
        """The sequences with these numbers, in this order, copied into a ragged batch."""
        offsets, (input_ids, word_ids) = _take(indices, self._input_ids, self._word_ids)
        _, (spans,) = _take(indices, self._spans)
        span_offsets, (span_types,) = _take(indices, self._span_types)
        sentence_offsets, (sentences,) = _take(indices, self._sentences)
        return RaggedBatch(
            offsets,
            input_ids,
            word_ids,
            spans.reshape(-1, 2),
            span_types,
            span_offsets,
            sentences,
            sentence_offsets,
            indices.astype(np.int64),
        )

    def blocks(self, size: int = 65_536) -> Iterator[RaggedBatch]:
        """All sequences in order, ``size`` at a time."""
        for first in range(0, len(self), size):
            yield self.batch(np.arange(first, min(first + size, len(self))))

    def epoch(self, copy: int) -> "StoredEpoch":
        """The stored masks of epoch ``copy``, from 0.

        Raises:
            ArtifactError: the copy is missing or does not match the sequences.
        """
        paths = sorted(self.folder.glob(f"masks-{copy:03}-*.arrow"))
        if not paths:
            raise ArtifactError(
                f"{self.folder}: holds masks for {self.n_copies} epochs, none for epoch {copy} (from 0)", hint=_REMEDY
            )
        masks = StoredEpoch([b for path in paths for b in _record_batches(path, MASK_SCHEMA)])
        if len(masks) != len(self):
            raise ArtifactError(
                f"{paths[0].parent}: masks-{copy:03}-*.arrow hold {len(masks):,} rows for {len(self):,} sequences",
                hint=_REMEDY,
            )
        return masks


class StoredEpoch:
    """Random access to one epoch's masks by sequence number."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._positions = _ListColumn(batches, "positions")
        self._kinds = _ListColumn(batches, "kinds")
        self._replacements = _ListColumn(batches, "replacements")
        self.lengths: Int32 = self._positions.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> SequenceMask:
        return SequenceMask(self._positions[index], self._kinds[index], self._replacements[index])

    def batch(self, indices: NDArray[np.integer[Any]]) -> Masks:
        """The masks of the sequences with these numbers, in this order."""
        offsets, columns = _take(indices, self._positions, self._kinds, self._replacements)
        return Masks(offsets, *columns)

    def count_kinds(self) -> tuple[int, int]:
        """The numbers of predicted tokens of generic words and of DS-terms."""
        counts = sum((np.bincount(v, minlength=3) for v in self._kinds.chunks), np.zeros(3, dtype=np.int64))
        return int(counts[GENERIC]), int(counts[DS_TERM])


def read_file(path: Path, first: int) -> RaggedBatch:
    """All sequences of a data file, numbered from ``first``.

    Raises:
        ArtifactError: it is damaged.
    """
    reader = ShardReader(path.parent, [path])
    batch = reader.batch(np.arange(len(reader)))
    return replace(batch, index=batch.index + first)


def _numbered_on(documents: list[Int32]) -> Int32:
    """The numbers of the documents of all files, from those within each file."""
    first, numbers = 0, [np.empty(0, np.int32)]
    for doc in documents:
        numbers.append(doc + np.int32(first))
        first += int(doc.max(initial=-1)) + 1
    return np.concatenate(numbers)


def _allow_files(n: int) -> None:
    """Raise the limit of open files of this process, if it can be, for ``n`` that stay mapped to memory."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n + _OTHER_FILES if hard == resource.RLIM_INFINITY else min(n + _OTHER_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _ListColumn:
    """A list column over several record batches, as numpy views of the mapped files."""

    def __init__(self, batches: list[pa.RecordBatch], name: str) -> None:
        # `.values` is the child of the whole array and ignores slices; the offsets index into it.
        arrays = [b.column(name) for b in batches]
        self.chunks: list[NDArray[Any]] = [a.values.to_numpy(zero_copy_only=True) for a in arrays]
        self.offsets: list[Int32] = [a.offsets.to_numpy(zero_copy_only=True) for a in arrays]
        self.first = np.cumsum([0, *(len(a) for a in arrays)])
        self.begins: Int32 = np.concatenate([np.empty(0, np.int32), *(o[:-1] for o in self.offsets)])
        self.lengths: Int32 = np.concatenate([np.empty(0, np.int32), *map(np.diff, self.offsets)])

    def __getitem__(self, index: int) -> NDArray[Any]:
        n = len(self.lengths)
        if not -n <= index < n:
            raise IndexError(f"sequence {index} of {n}")
        index %= n
        chunk = int(np.searchsorted(self.first, index, side="right")) - 1
        row = index - self.first[chunk]
        offsets = self.offsets[chunk]
        return self.chunks[chunk][offsets[row] : offsets[row + 1]]


def _take(indices: NDArray[np.integer[Any]], *columns: _ListColumn) -> tuple[Int64, list[NDArray[Any]]]:
    """The lists of these rows, in this order: offsets int64 [k + 1], and the flat values of each column.

    Args:
        columns: from the same files, with lists of the same lengths.
    """
    first = columns[0]
    lengths = first.lengths[indices].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if len(first.chunks) == 1:
        source = flat_ranges(first.offsets[0][indices], lengths)
        return offsets, [column.chunks[0].take(source) for column in columns]
    # A step of training has few sequences of each of many files: slices, one for each run of neighbours.
    chunk_of = np.searchsorted(first.first, indices, side="right") - 1
    runs = np.flatnonzero((np.diff(indices, prepend=-2) != 1) | (np.diff(chunk_of, prepend=-1) != 0))
    lasts = np.append(runs[1:], len(indices))[: len(runs)] - 1
    begins = first.begins[indices[runs]].tolist()
    ends = (first.begins[indices[lasts]] + first.lengths[indices[lasts]]).tolist()
    slices = list(zip(chunk_of[runs].tolist(), begins, ends, strict=True))
    empty = [np.empty(0, dtype=c.chunks[0].dtype if c.chunks else np.int32) for c in columns]
    return offsets, [
        np.concatenate([none, *(column.chunks[chunk][begin:end] for chunk, begin, end in slices)])
        for none, column in zip(empty, columns, strict=True)
    ]


def _slices(offsets: Int64, max_tokens: int) -> Iterator[slice]:
    """Runs of rows with at most ``max_tokens`` tokens, or a single row."""
    first, n_rows = 0, len(offsets) - 1
    while first < n_rows:
        last = int(np.searchsorted(offsets, offsets[first] + max_tokens, side="right")) - 1
        last = min(max(last, first + 1), n_rows)
        yield slice(first, last)
        first = last


def _write(
    path: Path, schema: pa.Schema, lists: Mapping[str, Ragged], numbers: Mapping[str, Int32], rows: Iterator[slice]
) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for part in rows:
            arrays = [_list_array(*lists[n], part) if n in lists else pa.array(numbers[n][part]) for n in schema.names]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _list_array(offsets: Int64, values: NDArray[Any], rows: slice) -> pa.ListArray:
    within = offsets[rows.start : rows.stop + 1]
    flat = pa.array(values[within[0] : within[-1]])
    return pa.ListArray.from_arrays(pa.array((within - within[0]).astype(np.int32)), flat)


def _record_batches(path: Path, schema: pa.Schema) -> list[pa.RecordBatch]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(schema):
            raise ArtifactError(
                f"{path}: expected the columns {schema.names}, found {reader.schema.names}", hint=_REMEDY
            )
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: not a readable Arrow file: {error}", hint=_REMEDY) from error
    return [batch for batch in batches if batch.num_rows]
