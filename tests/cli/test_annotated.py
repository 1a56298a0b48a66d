"""Annotated data from end to end: as text, for training and scoring, converted, and as the form of predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mslm_cli.corpus.readers import read_labelled

Mslm = Callable[..., Result]
FORMS = {"pubtator": "txt", "bioc": "xml", "jsonl": "jsonl", "docbin": "spacy", "brat": ""}


@pytest.fixture
def place(workplace: Path, mslm: Mslm) -> Path:
    """A working folder with {train,dev,test} in every form that can be written."""
    for name in ("train", "dev", "test"):
        for form, ending in FORMS.items():
            output = f"{name}-{form}" + (f".{ending}" if ending else "")
            made = mslm("convert", f"{name}.tsv", "--to", form, "-o", output)
            assert (made.exit_code, made.stdout) == (0, f"{output}\n"), made.stderr
    return workplace


def named(name: str, form: str) -> str:
    return f"{name}-{form}" + (f".{FORMS[form]}" if FORMS[form] else "")


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_no_label_becomes_text(place: Path, mslm: Mslm, form: str) -> None:
    for source in ("train.tsv", named("train", form)):
        made = mslm("extract-terms", source, "--pipeline", "none", "-o", f"lexicon-{Path(source).suffix or 'brat'}")
        assert made.exit_code == 0, made.stderr
    assert f"(--format {form})" in made.stderr
    terms = [[line["term"] for line in lines(f"{path}/terms.jsonl")] for path in sorted(Path().glob("lexicon-*"))]
    assert terms[0] == terms[1]
    assert not any(term.casefold() == "disease" or term.startswith("t1") for term in terms[0])
    masked = mslm("preprocess", named("train", form), "--lexicon", "lexicon", "--model", "encoder", "-o", "masked")
    assert masked.exit_code == 2  # the tiny encoder is shorter than the default
    arguments = ("--lexicon", "lexicon", "--model", "encoder", "--max-length", 64)
    for source, output in (("train.tsv", "of-columns"), (named("train", form), "of-form")):
        assert mslm("preprocess", source, *arguments, "-o", output).exit_code == 0
    stats = [json.loads(Path(name, "stats.json").read_bytes()) for name in ("of-columns", "of-form")]
    assert stats[0]["n_tokens"] == stats[1]["n_tokens"]
    assert stats[0]["n_mentions"] == stats[1]["n_mentions"]


@pytest.mark.parametrize("form", ["brat", "pubtator"])
def test_training_and_scoring_on_annotated_text(place: Path, mslm: Mslm, form: str) -> None:
    made = mslm(
        *("finetune", "--train", named("train", form), "--dev", named("dev", form)),
        *("--model", "encoder", "--epochs", 1, "--threads", 1, "-o", "of-form"),
    )
    assert made.exit_code == 0, made.stderr
    manifest = json.loads(Path("of-form/manifest.json").read_bytes())
    assert manifest["run"]["changed_mentions"] == {"train": {}, "dev": {}}
    assert manifest["run"]["words"] == "punctuation"
    scored = mslm("eval", "of-form", "--data", named("test", form), "--train", named("train", form), "--json")
    assert scored.exit_code == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert found["exact_match"]["gold"] == sum(len(s.mentions) for s in read_labelled(Path("test.tsv")).sentences)
    assert found["n_off_boundary_mentions"] == 0
    # what was seen is found again whatever it is read from
    seen = json.loads(mslm("eval", "ner", "--data", named("train", form), "--json").stdout)["seen_upstream"]
    assert seen["finetune-train"] > 20


def test_mentions_inside_words_are_missed_and_said(place: Path, mslm: Mslm) -> None:
    Path("test.jsonl").write_text(
        json.dumps({"id": 1, "text": "The patients with heart failures.", "label": [[18, 31, "Disease"]]}) + "\n"
    )
    scored = mslm("eval", "ner", "--data", "test.jsonl", "--json", "-v")
    assert scored.exit_code == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert found["n_off_boundary_mentions"] == 1
    assert (found["exact_match"]["gold"], found["exact_match"]["correct"]) == (1, 0)
    assert "test.jsonl: 1 mention widened to whole words" in scored.stderr
    assert "1:18-31 Disease: widened: 'heart failure' -> 'heart failures'" in scored.stderr
    assert "1 of 1 gold mentions are not aligned with word boundaries and count as missed" in scored.stderr


def test_train_and_dev_without_a_common_type(place: Path, mslm: Mslm) -> None:
    Path("other.tsv").write_text(Path("dev.tsv").read_text().replace("Disease", "Animal"))
    refused = mslm("finetune", "--train", "train.tsv", "--dev", "other.tsv", "--model", "encoder", "-o", "none")
    assert refused.exit_code == 3
    assert "no type of the dev data is in the training data: Animal there, Disease in training" in refused.stderr
    assert not Path("none.work").exists()


@pytest.mark.parametrize("form", FORMS)
def test_conversion_there_and_back(place: Path, mslm: Mslm, form: str) -> None:
    back = mslm("convert", named("dev", form), "--to", "conll", "-o", "back.tsv")
    assert back.exit_code == 0, back.stderr
    found, expected = (read_labelled(Path(name)) for name in ("back.tsv", "dev.tsv"))
    words = [[word for s in corpus.sentences for word in s.words] for corpus in (found, expected)]
    assert words[0] == words[1]
    assert sum(len(s.mentions) for s in found.sentences) == sum(len(s.mentions) for s in expected.sentences)


def test_columns_in_another_scheme(place: Path, mslm: Mslm) -> None:
    shown = mslm("convert", "dev.tsv", "--to", "conll", "--scheme", "IOBES")
    tags = {line.split("\t")[1] for line in shown.stdout.splitlines() if line}
    assert tags == {"O", "B-Disease", "I-Disease", "E-Disease"}
    Path("iobes.tsv").write_text(shown.stdout)
    assert [s.mentions for s in read_labelled(Path("iobes.tsv")).sentences] == [
        s.mentions for s in read_labelled(Path("dev.tsv")).sentences
    ]


@pytest.mark.parametrize("form", FORMS)
def test_predictions_keep_text_ids_and_offsets(place: Path, mslm: Mslm, form: str) -> None:
    given = [("a-1", "The patients with heart failure\nwere 😀 treated."), ("b", "Colon cancer.")]
    Path("in.jsonl").write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in given))
    records = [json.loads(line) for line in mslm("predict", "ner", "in.jsonl").stdout.splitlines()]
    made = mslm("predict", "ner", "in.jsonl", "--to", form, "-o", named("out", form))
    assert made.exit_code == 0, made.stderr
    again = mslm("convert", named("out", form), "--to", "jsonl")
    documents = [json.loads(line) for line in again.stdout.splitlines()]
    assert [d["id"] for d in documents] == ["a-1", "b"]
    assert documents[0]["text"].replace("\n", " ") == "The patients with heart failure were 😀 treated."
    expected = [(r["doc"], r["start"], r["end"], r["type"]) for r in records]
    assert [(d["id"], e["start"], e["end"], e["label"]) for d in documents for e in d["entities"]] == expected


def test_predictions_in_json_have_their_scores(place: Path, mslm: Mslm) -> None:
    shown = mslm("predict", "ner", "text.txt", "--to", "jsonl")
    entities = [e for line in shown.stdout.splitlines() for e in json.loads(line)["entities"]]
    assert all(0 <= entity["score"] <= 1 for entity in entities)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("convert", "dev.tsv", "--to", "brat"), "--to brat writes a folder: name it with -o"),
        (("convert", "dev.tsv", "--to", "docbin"), "--to docbin writes a binary file: name it with -o"),
        (
            ("convert", "dev.tsv", "--to", "table"),
            "--to: expected conll, docbin, brat, bioc, pubtator, jsonl, f",
        ),
        (("convert", "dev.tsv", "--to", "jsonl", "-o", "dev.tsv"), "dev.tsv exists"),
        (
            ("convert", "dev.tsv", "--to", "brat", "-o", "dev.tsv", "--overwrite"),
            "is a file, and would",
        ),
        (
            ("convert", "dev.tsv", "--to", "jsonl", "-o", "dev-brat", "--overwrite"),
            "is a folder, and would",
        ),
        (("predict", "ner", "dev.tsv", "--to", "docbin"), "--to docbin writes a binary file: name it with -o"),
        (
            ("predict", "ner", "dev.tsv", "--to", "xml"),
            "--to: expected auto, json, conll, html, docbin, brat",
        ),
    ],
)
def test_output_that_cannot_be(place: Path, mslm: Mslm, arguments: tuple[str, ...], said: str) -> None:
    refused = mslm(*arguments)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_a_study_on_annotated_text(place: Path, mslm: Mslm) -> None:
    planned = mslm(
        *("study", "--train", "train-brat", "--dev", "dev-brat", "--test", "test-brat", "--model", "encoder"),
        *("--seeds", 1, "--dry-run", "--threads", 1, "-o", "study"),
    )
    assert planned.exit_code == 0, planned.stderr
