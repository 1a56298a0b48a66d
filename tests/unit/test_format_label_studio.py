"""Label Studio's JSON export."""

import json
from pathlib import Path
from typing import Any

import pytest
from reading import annotated, documents, read_mentions
from sample_data import SENTENCE

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


def task(**value: Any) -> dict[str, Any]:
    results = [
        {"id": "a", "type": "labels", "value": {"start": 14, "end": 25, "text": "zorblatitis", "labels": ["Disease"]}},
        {"id": "b", "type": "labels", "value": {"start": 31, "end": 39, "text": "quuxamab", "labels": ["Drug"]}},
        {"type": "relation", "from_id": "b", "to_id": "a", "labels": ["treats"]},
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    return {"id": 5, "data": {"note": SENTENCE}, "annotations": [{"result": results}]} | value


def test_label_studio(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    skipped = {"was_cancelled": True, "result": []}
    second = {"result": []}
    path.write_text(
        json.dumps(
            [task(), task(id=6, annotations=[skipped, *task()["annotations"], second]), task(id=7, annotations=[])]
        )
    )
    assert [(d.id, d.text) for d in documents(path)] == [(number, SENTENCE) for number in "567"]
    assert read_mentions(path) == [("Disease", "zorblatitis"), ("Drug", "quuxamab")] * 2
    assert read_labelled(path).n_ignored == (("annotations by a second annotator", 1), ("results of type choices", 2))
    assert [(r.type, r.arguments) for r in annotated(path)[0].relations] == [("treats", (("from", "b"), ("to", "a")))]


def test_label_studio_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task(data={"text": "Another text that is as long as this"})]))
    with pytest.raises(DataError, match=r"export\.json:1: task 1: the span is 'zorblatitis', the text there"):
        read_labelled(path)
    path.write_text(json.dumps([task(data={"n": 3})]))
    with pytest.raises(DataError, match="task 1: its data have no text"):
        read_labelled(path)
    found = task()
    found["annotations"][0]["result"][0]["value"]["labels"] = "Disease"
    path.write_text(json.dumps([task(), found], indent=1))
    with pytest.raises(DataError, match=r"export\.json:\d\d: task 2: expected names of labels, found Disease"):
        read_labelled(path)
    path.write_text(json.dumps({"data": {}, "annotations": []}))
    with pytest.raises(DataError, match=r"export\.json:1: expected an array of tasks"):
        read_labelled(path, DataOptions(format="label-studio"))
