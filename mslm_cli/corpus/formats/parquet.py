"""Parquet and Arrow files of records, as ``datasets`` saves them and hubs provide them (``corpus.records``)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.options import names_in
from mslm_cli.corpus.records import Record, Records
from mslm_cli.corpus.source import Head, Source
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET, _ARROW, _STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_BUFFER_BYTES = 1 << 20
_ROWS_AT_ONCE = 256


def matches(path: Path, head: Head) -> bool:
    """Whether it begins as Parquet, an Arrow file or an Arrow stream does."""
    return head.raw.startswith((_PARQUET, _ARROW, _STREAM))


def documents(source: Source) -> Iterator[Document]:
    """The running text of the records."""
    return _records(source).documents()


def labelled(source: Source) -> LabelledCorpus:
    """The labelled sentences of the records."""
    return _records(source).labelled()


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The text of the records with its mentions."""
    return _records(source).annotated()


FORMAT = Format("parquet", "Parquet or Arrow records", matches, documents, labelled, annotated)


def _records(source: Source) -> Records:
    """The rows, and the names of their labels where the file gives them."""
    import pyarrow as pa

    file = source.seekable()
    try:
        schema, batches = _opened(file)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # pyarrow raises OSError for most damage
        file.close()
        raise DataError(f"not a sound Parquet or Arrow file: {_said(error)}", path=source.name) from error
    return Records(source, _rows(file, batches, source.name), _label_names(schema))


def _opened(file: IO[bytes]) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    """The schema, and the rows in batches that are read lazily."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = file.read(8)
    file.seek(0)
    if start.startswith(_PARQUET):
        # with a buffer, columns are read page by page, otherwise each row group as a whole
        parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        return parquet.schema_arrow, parquet.iter_batches(_ROWS_AT_ONCE, use_threads=False)
    if start.startswith(_ARROW):
        opened = pa.ipc.open_file(file)
        return opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, iter(stream)


def _rows(file: IO[bytes], batches: "Iterator[pa.RecordBatch]", name: str) -> Iterator[Record]:
    import pyarrow as pa

    number = 0
    try:
        with file:
            for batch in batches:
                batch.validate(full=True)  # damaged offsets could point outside the batch
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    for row in batch.slice(start, _ROWS_AT_ONCE).to_pylist():
                        number += 1
                        yield Record(number, row, number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"damaged after row {number}: {_said(error)}", path=name) from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())


def _label_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """By column, the names of its labels, from what ``datasets`` writes into the schema."""
    try:
        features: dict[str, Any] = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {column: names for column, feature in features.items() if (names := names_in(feature))}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
