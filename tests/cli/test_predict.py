"""``mslm predict``: what it finds, in every form, with offsets into the text; and that it does so as text comes in."""

import gzip
import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mslm_cli import bert_tokenizer
from mslm_cli.corpus import documents
from mslm_cli.corpus.seen import sentence_hash
from mslm_cli.stages import predict as stage
from mslm_cli.training import bert_classifier

Mslm = Callable[..., Result]

DISEASES = ["acute kidney failure", "renal-toxicity", "familial colon cancer", "diabetes type-2", "heart failure"]
DRUGS = ["aspirin", "drugx"]
TEXT = """\
Patients were with diabetes type-2 treated, 🧬 drugx. Patients
with heart
failure treated (aspirin).

Nothing was here.

naı\u0308ve patients with renal-toxicity: treated aspirin.
"""


FILLER = "the a of in and with for was were to is are patients treated had showed Nothing here , : ( )".split()  # noqa: SIM905 - as in conftest.py


def sentence(i: int, n_filler: int | None = None) -> str:
    """A sentence with a disease and a drug somewhere among other words, one word and tag a line."""
    rng = random.Random(i)
    rows = [f"{word}\tO" for word in rng.choices(FILLER, k=rng.randrange(12) if n_filler is None else n_filler)]
    for mention, kind in ((rng.choice(DISEASES), "Disease"), (rng.choice(DRUGS), "Drug")):
        first, *others = mention.split()
        inside = "\n".join([f"{first}\tB-{kind}", *(f"{word}\tI-{kind}" for word in others)])
        rows.insert(rng.randrange(len(rows) + 1), inside)
    return "\n".join([*rows, ".\tO"]) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, mslm: Mslm) -> Path:
    """A folder with test.tsv, which has a sentence of 96 words, and a NER model that has learned all mentions in it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.tsv").write_text("\n".join(sentence(i) for i in range(1000)))
    (folder / "dev.tsv").write_text("\n".join(sentence(i) for i in range(1000, 1030)))
    (folder / "test.tsv").write_text(
        "\n".join([*(sentence(i) for i in range(1030, 1040)), sentence(1040, n_filler=90)])
    )
    made = mslm(
        "finetune", "--train", folder / "train.tsv", "--dev", folder / "dev.tsv", "--model", tiny_encoder,
        "--epochs", "5", "--learning-rate", "0.01", "--tokens-per-step", "256", "--threads", "1",
        "--label-pieces", "all", "-o", folder / "ner",
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    return folder


@pytest.fixture
def place(trained: Path, in_tmp: Path) -> Path:
    """The working folder, with links to ner and test.tsv, and TEXT in text.txt."""
    for name in ("ner", "test.tsv"):
        (in_tmp / name).symlink_to(trained / name)
    (in_tmp / "text.txt").write_text(TEXT, encoding="utf-8")
    return in_tmp


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def run(mslm: Mslm, *arguments: object, stdin: str | bytes | None = None) -> str:
    result = mslm("predict", "ner", *arguments, "--threads", "1", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_line_for_each_mention_with_offsets_into_its_document(place: Path, mslm: Mslm) -> None:
    found = records(run(mslm, "text.txt"))
    assert [(r["doc"], r["text"], r["type"]) for r in found] == [
        ("text.txt:1", "diabetes type-2", "Disease"),
        ("text.txt:1", "drugx", "Drug"),
        ("text.txt:1", "heart\nfailure", "Disease"),
        ("text.txt:1", "aspirin", "Drug"),
        ("text.txt:3", "renal-toxicity", "Disease"),
        ("text.txt:3", "aspirin", "Drug"),
    ]
    documents = TEXT.strip().split("\n\n")
    for record in found:
        assert list(record) == ["doc", "start", "end", "text", "type", "score"]
        text = documents[int(record["doc"].split(":")[1]) - 1]
        assert text[record["start"] : record["end"]] == record["text"]
        assert 0.3 < record["score"] <= 1


def test_mentions_are_those_that_transformers_finds(place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = run(mslm, "test.tsv", "--to", "conll")
    assert "B-Disease" in tags
    monkeypatch.setattr(bert_classifier, "load", lambda folder: None)
    monkeypatch.setattr(bert_tokenizer, "read", lambda folder: None)
    assert run(mslm, "test.tsv", "--to", "conll") == tags


@pytest.mark.parametrize("invisible", ["\u200b", "\u00ad", "\u200e", "\u3164", "\ufe0f", "\U000e0041"])
def test_invisible_characters_are_neither_words_nor_parts_of_them(place: Path, mslm: Mslm, invisible: str) -> None:
    text = "The patients~ had heart fail~ure and ~diabetes type~-2; ~ nothing ~.~ Treated with aspi~rin~."
    found = records(run(mslm, "-", stdin=text.replace("~", invisible)))
    twin = records(run(mslm, "-", stdin=text.replace("~", "")))
    assert len(twin) == 3
    assert [r["text"].replace(invisible, "") for r in found] == [r["text"] for r in twin]
    assert [r["score"] for r in found] == [r["score"] for r in twin]
    columns = run(mslm, "-", "--to", "conll", stdin=text.replace("~", invisible))
    assert columns.replace(invisible, "") == run(mslm, "-", "--to", "conll", stdin=text.replace("~", ""))


def test_files_folders_gzip_and_standard_input_give_the_same(place: Path, mslm: Mslm) -> None:
    (place / "folder").mkdir()
    (place / "folder" / "a.gz").write_bytes(gzip.compress(TEXT.encode(), mtime=0))

    def found(text: str) -> list[object]:
        return [[r["start"], r["end"], r["type"], r["score"]] for r in records(text)]

    expected = found(run(mslm, "text.txt"))
    assert found(run(mslm, "folder")) == found(run(mslm, "-", stdin=TEXT.encode())) == expected


def test_neither_rounds_nor_batches_change_what_is_found(
    place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*arguments: object) -> list[list[object]]:
        rows = records(run(mslm, "text.txt", "test.tsv", *arguments))
        return [[r["doc"], r["start"], r["end"], r["type"], pytest.approx(r["score"], abs=1e-4)] for r in rows]

    expected = found()
    monkeypatch.setattr(stage, "WORDS_PER_ROUND", 1)
    assert found("--batch-tokens", "16") == expected


def test_a_labelled_file_is_text_and_keeps_its_words(place: Path, mslm: Mslm) -> None:
    columns = run(mslm, "test.tsv", "--to", "conll")
    assert columns == (place / "test.tsv").read_text() + "\n"  # the model has learned them all, the long one too
    scored = mslm("eval", "ner", "--data", "test.tsv", "-o", "scores")
    assert scored.exit_code == 0, scored.stderr
    rows = records(Path("scores/predictions.jsonl").read_text())
    found = records(run(mslm, "test.tsv"))
    assert [score for row in rows for score in row["scores"]] == [
        pytest.approx(record["score"], abs=1e-4) for record in found
    ]
    assert sum(len(row["pred"]) for row in rows) == len(found) == 22


def test_its_columns_can_be_scored(place: Path, mslm: Mslm) -> None:
    by_model = mslm("eval", "ner", "--data", "test.tsv", "--json", "-o", "scores")
    columns = run(mslm, "test.tsv", "--to", "conll")
    by_columns = mslm("eval", "--predictions", "-", "--data", "test.tsv", "--json", stdin=columns)
    assert by_columns.exit_code == 0, by_columns.stderr
    scores = [json.loads(result.stdout)["exact_match"] for result in (by_model, by_columns)]
    assert scores[0] == scores[1]
    assert scores[0]["correct"] == 22


def test_offsets_continue_in_the_next_part_of_a_long_document(
    place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("long.tsv").write_text("# doc_id = 7\n" + (place / "test.tsv").read_text())
    expected = run(mslm, "long.tsv", "--no-text")
    monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARS", 100)
    assert run(mslm, "long.tsv", "--to", "conll").count("# doc_id = 7") > 3
    in_parts = records(run(mslm, "long.tsv", "--no-text"))
    assert [(r["doc"], r["start"], r["end"]) for r in in_parts] == [
        (r["doc"], r["start"], r["end"]) for r in records(expected)
    ]


def test_an_empty_word_keeps_its_line(place: Path, mslm: Mslm) -> None:
    Path("empty.tsv").write_text("# doc_id = 7\nheart\tO\nfailure\tO\n\tO\ntreated\tO\naspirin\tO\n")
    assert run(mslm, "empty.tsv", "--to", "conll").startswith(
        "# doc_id = 7\nheart\tB-Disease\nfailure\tI-Disease\n\ufffd\t"
    )
    assert [r["text"] for r in records(run(mslm, "empty.tsv"))] == ["heart failure", "aspirin"]


def test_raw_text_is_split_like_the_training_data(place: Path, mslm: Mslm) -> None:
    manifest = json.loads((place / "ner" / "manifest.json").read_text())
    assert manifest["run"]["words"] == "joined"
    words = [line.split("\t")[0] for line in run(mslm, "text.txt", "--to", "conll").splitlines()]
    assert {"# doc_id = text.txt:1", "renal-toxicity", "type-2"} <= set(words)
    words = [
        line.split("\t")[0] for line in run(mslm, "text.txt", "--to", "conll", "--words", "punctuation").splitlines()
    ]
    assert "toxicity" in words


def test_brat_standoff_names_the_text(place: Path, mslm: Mslm) -> None:
    assert run(mslm, "text.txt", "--to", "brat", "-o", "annotations") == "annotations\n"
    assert sorted(p.name for p in Path("annotations").iterdir()) == [
        "annotation.conf", *(f"text_txt_{i}.{end}" for i in (1, 2, 3) for end in ("ann", "txt"))
    ]  # fmt: skip
    assert Path("annotations/text_txt_2.ann").read_text() == ""
    text = Path("annotations/text_txt_1.txt").read_bytes().decode()
    lines = Path("annotations/text_txt_1.ann").read_text().splitlines()
    assert len(lines) == 4
    assert "\nT3\tDisease 67 72;73 80\theart failure\n" in "\n".join(lines) + "\n"
    for line in lines:
        _, place_of, shown = line.split("\t")
        parts = [text[int(a) : int(b)] for a, b in re.findall(r"(\d+) (\d+)", place_of)]
        assert " ".join(parts) == shown
    again = mslm("predict", "ner", "text.txt", "--to", "brat", "-o", "annotations")
    assert again.exit_code == 2
    assert run(mslm, "text.txt", "--to", "brat", "-o", "annotations", "--overwrite")
    Path("annotations/mine.md").write_text("notes")
    refused = mslm("predict", "ner", "text.txt", "--to", "brat", "-o", "annotations", "--overwrite")
    assert refused.exit_code == 2
    assert "mine.md" in refused.stderr
    assert Path("annotations/mine.md").read_text() == "notes"


def test_a_page_with_the_mentions_marked(place: Path, mslm: Mslm) -> None:
    Path("text.txt").write_text("Patients with heart failure < treated & aspirin .")
    assert run(mslm, "text.txt", "--to", "html", "-o", "page.html") == "page.html\n"
    page = Path("page.html").read_text()
    assert page.count("<mark") >= 2
    assert "&lt;" in page


def test_without_text_there_are_only_offsets_and_hashes(place: Path, mslm: Mslm) -> None:
    out = run(mslm, "text.txt", "--no-text")
    assert not re.search("heart|aspirin|drugx|toxicity", out)
    found = records(out)
    assert {tuple(r) for r in found} == {("doc", "start", "end", "hash", "type", "score")}
    assert found[-1]["hash"] == f"{sentence_hash(TEXT.strip().rsplit(chr(10), 1)[1]):016x}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("text.txt", "--to", "brat"), "name it with -o"),
        (("text.txt", "--to", "conll", "--no-text"), "--no-text"),
        (("text.txt", "-o", "text.txt"), "text.txt exists"),
        (("text.txt", "-o", "ner", "--overwrite"), "is a folder"),
        (("text.txt", "--to", "brat", "-o", "text.txt", "--overwrite"), "is a file"),
        (("text.txt", "--to", "brat", "-o", "ner", "--overwrite"), "cannot be overwritten"),
    ],
)
def test_invalid_outputs_are_refused_and_nothing_is_lost(
    place: Path, mslm: Mslm, arguments: tuple[str, ...], said: str
) -> None:
    result = mslm("predict", "ner", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert Path("text.txt").read_text() == TEXT
    assert Path("ner/model.safetensors").is_file()


def test_bad_text_leaves_no_file(place: Path, mslm: Mslm) -> None:
    Path("bad.txt").write_bytes(b"Patients.\n\xff\n")
    result = mslm("predict", "ner", "text.txt", "bad.txt", "-o", "out.jsonl")
    assert result.exit_code == 3
    assert "bad.txt:2" in result.stderr
    assert not list(place.glob("*out.jsonl*"))


def test_the_first_results_come_before_the_last_text(place: Path) -> None:
    command = [sys.executable, "-m", "mslm_cli", "predict", "ner", "-", "--threads", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        giving_up = threading.Timer(120, process.kill)
        giving_up.start()
        document = b"Patients with heart failure treated aspirin.\n\n"
        process.stdin.write(document * (2 * stage.WORDS_PER_ROUND // 7))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == "heart failure"  # standard input is still open
        process.stdin.close()
        assert process.stdout.read().count(b"\n") > 1000
        giving_up.cancel()


@pytest.mark.parametrize("strategy", ["first", "simple"])
def test_a_pipeline_of_transformers_finds_the_same_mentions(place: Path, mslm: Mslm, strategy: str) -> None:
    """On a checkpoint of which all pieces of a word were labelled, words of several pieces and punctuation included."""
    from transformers import pipeline

    tagger = pipeline("token-classification", model=str(place / "ner"), aggregation_strategy=strategy, device="cpu")
    sentences = [
        " ".join(row.split("\t")[0] for row in block.splitlines())
        for block in (place / "test.tsv").read_text().split("\n\n")
    ]
    for text in sentences[:10]:  # it cuts the long one
        ours = records(run(mslm, "-", "--one-per-line", stdin=text))
        theirs = tagger(text)
        assert [(r["start"], r["end"], r["type"]) for r in ours] == [
            (e["start"], e["end"], e["entity_group"]) for e in theirs
        ]
        assert len(ours) == 2
