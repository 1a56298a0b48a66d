"""Shards: what is written comes back, without a copy, however it is cut into files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mslm_cli.errors import ArtifactError
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, DrawnTokens, RaggedBatch
from mslm_cli.masking.corruption import collect
from mslm_cli.masking.shards import Sequences, ShardReader, concatenate, write_masks, write_sequences

LENGTHS = [5, 2, 0, 7, 3, 9, 2, 4]


def make_sequences(lengths: list[int]) -> Sequences:
    """Sequences with recognisable numbers; every sequence of 4 tokens or more has the mention [1, 3)."""
    n = sum(lengths)
    offsets = np.cumsum([0, *lengths])
    has_mention = np.array(lengths) >= 4
    spans = np.array([[1, 3]] * int(has_mention.sum()), dtype=np.int32).reshape(-1, 2)
    n_sentences = [min(length, 2) for length in lengths]
    batch = RaggedBatch(
        offsets,
        np.arange(100, 100 + n, dtype=np.int32),
        np.arange(n, dtype=np.int32) % 5 - 1,
        spans,
        np.arange(len(spans), dtype=np.int32) % 3,
        np.cumsum([0, *has_mention]),
        np.array([s for n in n_sentences for s in range(1, n + 1)], dtype=np.int32),
        np.cumsum([0, *n_sentences]),
        np.arange(len(lengths)),
    )
    return Sequences(batch, np.arange(len(lengths), dtype=np.int32) // 2)


def write(folder: Path, sequences: Sequences, sizes: list[int], copies: int = 2, max_batch_tokens: int = 2**29) -> None:
    """Write data files of ``sizes`` sequences, and masks that depend on the sequence and the copy alone."""
    first = 0
    for number, size in enumerate(sizes):
        part = sequences.rows(first, first + size)
        write_sequences(folder, number, part, max_batch_tokens=max_batch_tokens)
        for copy in range(copies):
            ids = part.batch.input_ids
            kinds = np.where(ids % 3 == copy, np.where(ids % 2, GENERIC, DS_TERM), 0).astype(np.uint8)
            parts = (DrawnTokens(np.flatnonzero(kinds == k), np.flatnonzero(kinds == k), k) for k in (GENERIC, DS_TERM))
            masks = collect(part.batch, Drawn(len(ids), tuple(parts)), ids + 1000 * (copy + 1))
            write_masks(folder, copy, number, masks, max_batch_tokens=max_batch_tokens)
        first += size
    assert first == len(sequences)


def content(folder: Path) -> list[object]:
    reader = ShardReader(folder)
    return [
        [x.tolist() for x in (s.input_ids, s.word_ids, s.spans, s.span_types, s.sentences)]
        + [
            [x.tolist() for x in (m.positions, m.kinds, m.replacements)]
            for copy in range(reader.n_copies)
            for m in [reader.epoch(copy)[i]]
        ]
        for i in range(len(reader))
        for s in [reader[i]]
    ]


def test_documents_are_numbered_over_all_files(tmp_path: Path) -> None:
    """A worker that writes a file does not know how many documents come before."""
    sequences = make_sequences([3, 4, 5, 6, 7])
    write(tmp_path, sequences, [5], copies=0)
    write_sequences(tmp_path, 1, sequences)
    write_sequences(tmp_path, 2, sequences.rows(0, 0))
    write_sequences(tmp_path, 3, sequences)
    assert ShardReader(tmp_path).doc.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    sequences = make_sequences(LENGTHS)
    write(tmp_path, sequences, [len(LENGTHS)])
    reader = ShardReader(tmp_path)
    assert len(reader) == len(LENGTHS)
    assert reader.n_copies == 2
    assert reader.lengths.tolist() == LENGTHS
    assert reader.doc.tolist() == sequences.doc.tolist()
    for i in range(len(LENGTHS)):
        tokens = slice(sequences.batch.offsets[i], sequences.batch.offsets[i + 1])
        assert reader[i].input_ids.tolist() == sequences.batch.input_ids[tokens].tolist()
        assert reader[i].word_ids.tolist() == sequences.batch.word_ids[tokens].tolist()
        assert reader[i].spans.tolist() == ([[1, 3]] if LENGTHS[i] >= 4 else [])
        assert reader[i].span_types.tolist() == ([sum(n >= 4 for n in LENGTHS[:i]) % 3] if LENGTHS[i] >= 4 else [])
        assert reader[i].sentences.tolist() == [1, 2][: LENGTHS[i]]
        expected = [p for p, v in enumerate(range(100, 132)[tokens]) if v % 3 == 1]
        mask = reader.epoch(1)[i]
        assert mask.positions.tolist() == expected
        assert mask.replacements.tolist() == [100 + int(tokens.start) + p + 2000 for p in expected]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_division_into_files_and_record_batches_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lengths)), max_size=4)) | {len(lengths)})
    sizes = np.diff([0, *cuts]).tolist()
    sequences = make_sequences(lengths)
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    write(whole, sequences, [len(lengths)])
    write(parts, sequences, sizes, max_batch_tokens=data.draw(st.integers(1, 20)))
    assert content(parts) == content(whole)
    indices = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8)), dtype=np.int64)
    for reader in (ShardReader(whole), ShardReader(parts)):
        batch, masks = reader.batch(indices), reader.epoch(0).batch(indices)
        assert batch.index.tolist() == indices.tolist()
        for k, i in enumerate(indices.tolist()):
            tokens = slice(batch.offsets[k], batch.offsets[k + 1])
            assert batch.input_ids[tokens].tolist() == reader[i].input_ids.tolist()
            assert batch.word_ids[tokens].tolist() == reader[i].word_ids.tolist()
            here = slice(batch.span_offsets[k], batch.span_offsets[k + 1])
            assert batch.spans[here].tolist() == reader[i].spans.tolist()
            assert batch.span_types[here].tolist() == reader[i].span_types.tolist()
            here = slice(batch.sentence_offsets[k], batch.sentence_offsets[k + 1])
            assert batch.sentences[here].tolist() == reader[i].sentences.tolist()
            predicted = slice(masks.offsets[k], masks.offsets[k + 1])
            assert masks.positions[predicted].tolist() == reader.epoch(0)[i].positions.tolist()
            assert masks.kinds[predicted].tolist() == reader.epoch(0)[i].kinds.tolist()
            assert masks.replacements[predicted].tolist() == reader.epoch(0)[i].replacements.tolist()


@given(st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=4))
def test_concatenated_rows_are_the_whole(groups: list[list[int]]) -> None:
    lengths = [n for group in groups for n in group]
    whole = make_sequences(lengths)
    bounds = np.cumsum([0, *map(len, groups)])
    joined = concatenate([whole.rows(a, b) for a, b in pairwise(bounds)])
    for name, value in vars(whole.batch).items():
        assert getattr(joined.batch, name).tolist() == value.tolist()
    assert joined.doc.tolist() == whole.doc.tolist()


def test_sequences_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [3, 5])
    before = pa.total_allocated_bytes()
    reader = ShardReader(tmp_path)
    views = [reader[3].input_ids, reader[3].spans, reader[7].word_ids, reader.epoch(0)[3].positions]
    assert pa.total_allocated_bytes() == before, "arrow copies nothing out of the file"
    for view in views:
        assert not view.flags.owndata
        assert not view.flags.writeable
    # neighbours in the file are neighbours in memory
    here, following = reader[3].input_ids, reader[4].input_ids
    assert following.ctypes.data == here.ctypes.data + here.nbytes


def test_plain_pyarrow_reads_the_files(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [3, 5], copies=1)
    with pa.memory_map(str(tmp_path / "data-00001.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.names == ["input_ids", "word_ids", "spans", "span_types", "sentences", "doc"]
    assert table.column("input_ids").to_pylist()[0] == list(range(107, 114))
    assert table.column("spans").to_pylist()[0] == [1, 3]
    assert table.column("span_types").to_pylist()[0] == [1]
    with pa.memory_map(str(tmp_path / "masks-000-00001.arrow")) as source:
        masks = pa.ipc.open_file(source).read_all()
    assert masks.schema.field("kinds").type == pa.list_(pa.uint8())
    assert masks.num_rows == table.num_rows


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, make_sequences(LENGTHS), [8])
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_kinds_are_counted_over_all_files(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [3, 5], max_batch_tokens=4)
    n = sum(LENGTHS)
    chosen = [v for v in range(100, 100 + n) if v % 3 == 1]
    expected = (sum(v % 2 == 1 for v in chosen), sum(v % 2 == 0 for v in chosen))
    assert ShardReader(tmp_path).epoch(1).count_kinds() == expected


def test_a_missing_sequence_is_an_index_error(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [8])
    reader = ShardReader(tmp_path)
    assert reader[-1].input_ids.tolist() == reader[7].input_ids.tolist()
    for index in (8, -9):
        with pytest.raises(IndexError, match=f"{index} of 8"):
            reader[index]


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no data-\*\.arrow.*mslm preprocess"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("name", ["data-00000.arrow", "masks-001-00000.arrow"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "text", "other columns"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path, make_sequences(LENGTHS), [3, 5])
    file = tmp_path / name
    if damage == "other columns":
        other = tmp_path / ("masks-000-00000.arrow" if name.startswith("data") else "data-00001.arrow")
        file.write_bytes(other.read_bytes())
    else:
        raw = file.read_bytes()
        file.write_bytes({"truncated": raw[: len(raw) // 2], "emptied": b"", "text": b"not arrow\n" * 50}[damage])
    with pytest.raises(ArtifactError, match=name) as raised:
        ShardReader(tmp_path).epoch(1)
    assert raised.value.exit_code == 4


def test_an_epoch_without_masks_is_refused(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [8], copies=2)
    with pytest.raises(ArtifactError, match="masks for 2 epochs, none for epoch 2"):
        ShardReader(tmp_path).epoch(2)


def test_masks_that_do_not_match_the_sequences_are_refused(tmp_path: Path) -> None:
    write(tmp_path, make_sequences(LENGTHS), [3, 5])
    (tmp_path / "masks-000-00001.arrow").unlink()
    with pytest.raises(ArtifactError, match="3 rows for 8 sequences"):
        ShardReader(tmp_path).epoch(0)
