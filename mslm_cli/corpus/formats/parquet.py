"""Parquet and Arrow files of records, as ``datasets`` saves and hubs serve them (``corpus.records``)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """The rows, and the names of their labels where the file says them."""
    import pyarrow as pa

    content = pa.py_buffer(b"".join(source.blocks()))
    try:
        schema, batches = _opened(content)
    except pa.ArrowException as error:
        raise DataError(f"not a sound Parquet or Arrow file: {error}", path=source.name) from error
    return Records(source, _rows(batches, source.name), _label_names(schema))


def _opened(content: "pa.Buffer") -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = content.slice(0, 8).to_pybytes()
    if start.startswith(_PARQUET):
        file = pq.ParquetFile(pa.BufferReader(content))
        return file.schema_arrow, file.iter_batches()
    if start.startswith(_ARROW):
        opened = pa.ipc.open_file(content)
        return opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
    stream = pa.ipc.open_stream(content)
    return stream.schema, iter(stream)


def _rows(batches: "Iterator[pa.RecordBatch]", name: str) -> Iterator[Record]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield Record(number, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"damaged after row {number}: {error}", path=name) from error


def _label_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """By column, the names of its labels, from what ``datasets`` writes into the schema."""
    try:
        features: dict[str, Any] = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {column: names for column, feature in features.items() if (names := names_in(feature))}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
