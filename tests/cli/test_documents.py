"""The task of documents: one label each, or several, from training to scores and predictions."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from mslm_cli.corpus.classified import ClassifiedCorpus, read_classified
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import DataError
from mslm_cli.evaluation.thresholds import THRESHOLDS
from mslm_cli.tasks.documents import best_threshold

Mslm = Callable[..., Result]
TRAINING = "--model encoder --epochs 6 --learning-rate 0.02 --tokens-per-step 128 --threads 1 -o out"
TOPICS = {"heart": "acute heart failure", "cancer": "breast cancer gene", "drug": "aspirin dose"}


def run(mslm: Mslm, *arguments: object) -> Result:
    done = mslm(*arguments)
    assert done.exit_code == 0, done.stderr
    return done


def read(path: Path) -> ClassifiedCorpus:
    return read_classified(path, DataOptions())


def documents(n: int, seed: int, most: int) -> list[tuple[str, list[str]]]:
    """Texts with up to ``most`` topics, which their labels name."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        labels = sorted(rng.sample(list(TOPICS), rng.randint(most == 1, most)))
        parts = [*(TOPICS[label] for label in labels), "patients were treated", f"study {rng.randrange(99)}"]
        rng.shuffle(parts)
        found.append((" . ".join(parts), labels))
    return found


def write_json(path: Path, given: list[tuple[str, list[str]]]) -> None:
    path.write_text("".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in given))


FORMS: dict[str, dict[str, str]] = {
    "json": {"a.jsonl": '{"text": "One, two.", "label": "x"}\n{"text": "Three", "label": "y"}\n'},
    "csv": {"a.csv": 'text,label\n"One, two.",x\nThree,y\n'},
    "tsv": {"a.tsv": "One, two.\tx\nThree\ty\n"},
    "tsv with a header": {"a.tsv": "index\tsentence\tlabel\n0\tOne, two.\tx\n1\tThree\ty\n"},
    "folders": {"x/1.txt": "One, two.\n", "y/2.txt": "Three\n"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_labels(tmp_path: Path, form: str) -> None:
    for name, content in FORMS[form].items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    path = tmp_path / "data" if form == "folders" else file
    corpus = read(path)
    assert [(document.sentences[0], document.labels) for document in corpus.documents] == [
        (("One", ",", "two", "."), ("x",)),
        (("Three",), ("y",)),
    ]
    assert not corpus.is_multi
    assert (corpus.types, corpus.n_gold) == (("x", "y"), 2)


def test_several_labels_are_separated_in_a_column_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,labels\nOne,x|y\nTwo,\nThree,z; x\n")
    corpus = read(path)
    assert corpus.is_multi
    assert [document.labels for document in corpus.documents] == [("x", "y"), (), ("x", "z")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("One,x|y\nTwo,x\nThree,y\n", "'x|y' is one label; several belong in a column called labels"),
        ("One,x|y\nTwo,x\n", ""),
        ("One,x;\nTwo,x\n", ""),
    ],
)
def test_several_labels_elsewhere_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, said: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{rows}")
    assert not read(path).is_multi
    told = capsys.readouterr().err
    assert said in told if said else "is one label" not in told


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"label": "x"}\n', ":2: expected text, and label or labels"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": " ", "label": "x"}\n', ":2: a text without words"),
        ("a.csv", "text,label\na,x\nb\n", ":3: 1 cells, where there are 2 columns"),
        ("a.csv", "text,label\na,\n", ":2: a text without a label"),
        ("a.tsv", "just words\n", ":1: 1 cells"),
        ("a.csv", "body,klass\n" + "a text,x\n" * 6, ":1: the first row looks like the names of columns: 'body'"),
    ],
)
def test_bad_input_is_refused_with_its_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert said in str(caught.value)


def test_a_record_of_one_word_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"text": "Aspirin", "label": "drug"}, *([{"text": "a text", "label": "none"}] * 6)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert len(read(path).documents) == 7


def test_long_texts_can_be_read_and_nothing_else_notices(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'word ' * 40_000},x\nshort,y\n", encoding="utf-8")
    before = csv.field_size_limit()
    assert [document.labels for document in read_classified(path, DataOptions()).documents] == [("x",), ("y",)]
    assert csv.field_size_limit() == before


def test_one_label_each(chain: Path, workplace: Path, mslm: Mslm) -> None:
    for name, n in (("train", 60), ("dev", 20)):
        rows = [f"{text}\t{labels[0]}" for text, labels in documents(n, n, 1)]
        Path(f"{name}.txt").write_text("\n".join(rows) + "\n")
    done = run(mslm, *f"finetune --task documents --train train.txt --dev dev.txt {TRAINING}".split())
    assert "dev label F1 " in done.stderr
    results: dict[str, Any] = json.loads(run(mslm, "eval", "out", "--data", "dev.txt", "-o", "scores", "--json").stdout)
    match = results["exact_match"]
    assert results["kind"] == "documents"
    assert match["gold"] == match["predicted"] == 20
    assert match["f1"] == match["precision"] == match["recall"] > 0.8
    assert set(match["per_type"]) == set(TOPICS)
    assert results["confidence"]["n"] == 20, "calibration"
    Path("note.txt").write_text("acute heart failure\n\naspirin dose\n")
    lines = [json.loads(line) for line in run(mslm, "predict", "out", "note.txt").stdout.splitlines()]
    assert [line["labels"][0]["label"] for line in lines] == ["heart", "drug"]
    assert "out/thresholds.jsonl" not in map(str, Path("out").iterdir()), "a text has one label at any threshold"
    run(mslm, "compare", "a=scores", "b=scores/predictions.jsonl", "--train", "train.txt")
    again = run(mslm, "eval", "--predictions", "scores/predictions.jsonl", "--train", "train.txt", "--json")
    assert json.loads(again.stdout)["exact_match"] == match


def test_several_labels_with_thresholds_chosen_on_dev(workplace: Path, mslm: Mslm) -> None:
    for name, n in (("train", 80), ("dev", 40), ("test", 20)):
        write_json(Path(f"{name}.jsonl"), documents(n, n, 3))
    longer = TRAINING.replace("--epochs 6", "--epochs 16")
    run(mslm, *f"finetune --task documents --train train.jsonl --dev dev.jsonl {longer}".split())
    config = json.loads(Path("out/config.json").read_bytes())
    assert config["problem_type"] == "multi_label_classification"
    assert len(config["label_thresholds"]) == 3
    assert set(config["label_thresholds"]) <= set(THRESHOLDS)
    results = json.loads(run(mslm, "eval", "out", "--data", "test.jsonl", "--json").stdout)
    assert results["exact_match"]["f1"] > 0.8
    few, many = (
        json.loads(run(mslm, "eval", "out", "--data", "test.jsonl", "--threshold", t, "--json").stdout)["exact_match"]
        for t in (".9", ".1")
    )
    assert few["predicted"] < many["predicted"]
    Path("none.txt").write_text("patients were treated .\n")
    assert json.loads(run(mslm, "predict", "out", "none.txt").stdout)["labels"] == []


def test_the_probabilities_of_a_long_document_are_means_over_its_windows(workplace: Path, mslm: Mslm) -> None:
    for name, n in (("train", 60), ("dev", 20)):
        write_json(Path(f"{name}.jsonl"), documents(n, n, 1))
    run(mslm, *f"finetune --task documents --train train.jsonl --dev dev.jsonl --max-length 16 {TRAINING}".split(),
        "--overlap", "0")  # fmt: skip
    half = "acute heart failure were treated with the of in and for is are to"
    Path("long.txt").write_text(f"{half} {half}\n")
    Path("short.txt").write_text(f"{half}\n")
    long, short = (json.loads(run(mslm, "predict", "out", file).stdout)["labels"] for file in ("long.txt", "short.txt"))
    assert [one["label"] for one in long] == [one["label"] for one in short]
    assert [one["score"] for one in long] == pytest.approx([one["score"] for one in short], abs=1e-5)


def test_a_label_that_all_have_is_nothing_to_learn(workplace: Path, mslm: Mslm) -> None:
    write_json(Path("train.jsonl"), [("a b", ["x"]), ("c d", ["x"])])
    refused = mslm(*f"finetune --task documents --train train.jsonl --dev train.jsonl {TRAINING}".split())
    assert refused.exit_code == 3
    assert "every training document has the label 'x'" in refused.stderr


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_the_threshold_of_a_label_has_the_best_f1(rows: list[tuple[float, bool]]) -> None:
    probabilities, truth = np.array([p for p, _ in rows]), np.array([t for _, t in rows])

    def f1(threshold: float) -> float:
        chosen = [p >= threshold for p, _ in rows]
        right = sum(c and t for c, (_, t) in zip(chosen, rows, strict=True))
        return 2 * right / (sum(chosen) + sum(truth)) if any(truth) else 0.0

    found = best_threshold(probabilities, truth)
    if truth.sum() < 5:
        assert found == 0.5
    else:
        assert f1(found) == max(map(f1, THRESHOLDS))
