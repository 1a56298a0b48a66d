"""JSON records: texts with spans, and words with tags, in the keys of several tools."""

import json
from pathlib import Path
from typing import Any

import pytest
from reading import annotated, documents, read_mentions, shown
from sample_data import SENTENCE, SPAN_RECORDS, WORD_RECORDS, WORDS

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


@pytest.mark.parametrize("record", SPAN_RECORDS.values(), ids=SPAN_RECORDS)
@pytest.mark.parametrize("is_array", [False, True])
def test_json_records_of_text_and_spans(tmp_path: Path, record: dict[str, Any], is_array: bool) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps([record], indent=2) if is_array else json.dumps(record) + "\n\n")
    assert [(d.id, d.text, d.has_id) for d in documents(path)] == [("7", SENTENCE, True)]
    assert read_mentions(path) == [("Disease", "zorblatitis"), ("Drug", "quuxamab")]


def test_relations_of_doccano_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps(SPAN_RECORDS["doccano with relations"]))
    ((relation,),) = (d.relations for d in annotated(path))
    assert (relation.type, relation.arguments) == ("treats", (("from", "2"), ("to", "1")))


@pytest.mark.parametrize("record", WORD_RECORDS.values(), ids=WORD_RECORDS)
def test_json_records_of_words_and_tags(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert [d.text for d in documents(path)] == ["Zorblatitis took quuxamab"]
    names = "O,B-Disease,I-Disease,B-Drug"
    expected = [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    assert read_mentions(path, label_names=names) == expected
    assert shown(annotated(path, label_names=names))[1][1:] == ("Drug", "quuxamab")


@pytest.mark.parametrize(
    "content",
    [
        ["O", "B-Disease", "I-Disease", "B-Drug"],
        {"id2label": {"0": "O", "1": "B-Disease", "3": "B-Drug", "2": "I-Disease"}, "other": ["x"]},
        {"label2id": {"B-Drug": 3, "O": 0, "B-Disease": 1, "I-Disease": 2}},
        {
            "features": {
                "tokens": {"feature": {"dtype": "string"}},
                "ner_tags": {"feature": {"names": ["O", "B-Disease", "I-Disease", "B-Drug"], "_type": "ClassLabel"}},
            }
        },
    ],
    ids=["list", "id2label", "label2id", "features"],
)
def test_names_of_labels_come_from_a_file(tmp_path: Path, content: object) -> None:
    path, names = tmp_path / "corpus.jsonl", tmp_path / "names.json"
    path.write_text(json.dumps(WORD_RECORDS["numbers"]) + "\n")
    names.write_text(json.dumps(content))
    assert read_mentions(path, label_names=str(names)) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    assert DataOptions(label_names=str(names)) == DataOptions(label_names="O,B-Disease,I-Disease,B-Drug")


def test_rejected_examples_of_prodigy_are_text_and_no_gold(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    rejected = SPAN_RECORDS["Prodigy"] | {"answer": "reject"}
    path.write_text("".join(json.dumps(r) + "\n" for r in (rejected, SPAN_RECORDS["Prodigy"])))
    assert len(read_labelled(path).sentences) == 1
    assert len(documents(path)) == 2


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": SENTENCE, "label": [[14, 99, "Disease"]]}, "corpus.jsonl:1: span 14 to 99 is not in a text of 39"),
        ({"text": SENTENCE, "label": [[14, "Disease"]]}, "expected a span with start, end and type, found"),
        ({"text": SENTENCE, "label": [[14, 25, ""]]}, "expected a span with start, end and type, found"),
        ({"text": SENTENCE, "spans": [{"start": 0, "end": 3, "label": "X", "text": "Bat"}]}, "the span is 'Bat', the"),
        ({"text": SENTENCE, "label": "positive"}, "expected a list of spans beside the text, found 'positive'"),
        ({"text": SENTENCE}, "corpus.jsonl: no labels in any record: expected one of label, labels, spans"),
        ({"tokens": WORDS, "ner_tags": [1, 0, 3]}, "tag 1 is a number, and what it stands for is not known"),
        ({"tokens": WORDS, "ner_tags": ["O"]}, "expected a tag for each of 3 words"),
        ({"tokens": WORDS, "ner_tags": ["O", "O", "Drug"]}, "unknown tag 'Drug'"),
        ({"words": WORDS, "gold": [[0, 9, "X"]]}, "gold: mention"),
        ({"title": "no text"}, "a record with title: expected text, or tokens with ner_tags"),
    ],
)
def test_json_records_with_a_mistake(tmp_path: Path, record: dict[str, Any], said: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError) as caught:
        read_labelled(path)
    assert said in str(caught.value)


def test_json_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "whole"}\n{"text": "cut\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: not JSON"):
        documents(path)
    path.write_text('{"text": "half \\ud83d of it", "label": []}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: \\ud83d is half of a surrogate pair"):
        documents(path)
    path.write_text('{"text": "whole \\ud83d\\ude00", "label": [[6, 7, "Emoji"]]}\n')
    assert read_mentions(path) == [("Emoji", "😀")]
