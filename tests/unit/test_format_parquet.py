"""Parquet and Arrow files, saved data sets, and data sets of the hub."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import documents, read_mentions
from sample_data import SENTENCE, WORDS

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_annotated, read_labelled
from mslm_cli.errors import DataError, UnavailableError


def words_table(with_names: bool) -> pa.Table:
    table = pa.table(
        {"id": ["0", "1"], "tokens": [WORDS, ["Mice"]], "pos_tags": [[0, 1, 0], [0]], "ner_tags": [[1, 0, 3], [0]]}
    )
    features = {
        "pos_tags": {"feature": {"names": ["NN", "VB"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "ner_tags": {
            "feature": {"names": ["O", "B-Disease", "I-Disease", "B-Drug"], "_type": "ClassLabel"},
            "_type": "Sequence",
        },
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return table.replace_schema_metadata(metadata) if with_names else table


def write_table(path: Path, table: pa.Table, form: str) -> None:
    if form == "parquet":
        pq.write_table(table, path)
    else:
        opened = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}[form]
        with opened(path, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_parquet_and_arrow(tmp_path: Path, form: str) -> None:
    path = tmp_path / "train-00000"
    write_table(path, words_table(with_names=True), form)
    assert [d.text for d in documents(path)] == ["Zorblatitis took quuxamab\nMice"]
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    write_table(path, words_table(with_names=False), form)
    with pytest.raises(DataError, match="tag 1 is a number"):
        read_labelled(path)
    assert len(read_mentions(path, label_names="O,B-A,I-A,B-B")) == 2
    spans = pa.table({"text": [SENTENCE], "entities": [[{"start": 14, "end": 25, "label": "Disease"}]]})
    write_table(path, spans, form)
    assert read_mentions(path) == [("Disease", "zorblatitis")]
    path.write_bytes(path.read_bytes()[:-20] if form == "parquet" else path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"train-00000: (not a sound Parquet or Arrow file|damaged after)"):
        read_labelled(path)


def test_a_saved_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    write_table(folder / "data-00000-of-00001.arrow", words_table(with_names=True), "stream")
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text("{}")
    assert read_mentions(folder) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match=r"a data set with the splits train \(name the folder of one of them\)"):
        read_labelled(tmp_path / "saved")


class HubSet(list[dict[str, Any]]):
    """What ``datasets`` gives: rows, and features with the names of labels."""

    features = {  # noqa: RUF012 - as the original has it
        "tokens": types.SimpleNamespace(feature=types.SimpleNamespace(dtype="string")),
        "ner_tags": types.SimpleNamespace(feature=types.SimpleNamespace(names=["O", "B-Disease"])),
    }


def test_data_sets_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> HubSet:
        asked.append((name, split))
        if name == "nobody/nothing":
            raise FileNotFoundError("no such data set")
        return HubSet([{"tokens": ["Zorblatitis", "helps"], "ner_tags": [1, 0]}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    for reference in ("hf:somebody/corpus", "hf:somebody/corpus:test"):
        (document,) = read_annotated([Path(reference)], DataOptions())
        assert document.text == "Zorblatitis helps"
        assert [(a.bounds, a.type) for a in document.annotations] == [((0, 11), "Disease")]
    assert asked == [("somebody/corpus", "train"), ("somebody/corpus", "test")]
    with pytest.raises(UnavailableError, match="hf:nobody/nothing: cannot be had: FileNotFoundError: no such data set"):
        list(read_annotated([Path("hf:nobody/nothing")], DataOptions()))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnavailableError, match=r"need the package `datasets` \(pip install 'mslm\[datasets\]'\)"):
        list(read_annotated([Path("hf:somebody/corpus")], DataOptions()))


def test_a_column_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "words.parquet"
    write_table(path, words_table(with_names=False), "parquet")
    path.write_bytes(path.read_bytes().replace(b"tokens", b"\xecokens"))
    with pytest.raises(DataError, match="not a sound Parquet or Arrow file"):
        read_labelled(path)
