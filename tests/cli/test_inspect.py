"""``mslm inspect``: what is in labelled data, and what is odd about it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.relations import read_relations

Mslm = Callable[..., Result]
LONG = "Patients\tO\nwith\tO\nheart\tB-Disease\nfailure\tI-Disease\nwere\tO\nseen\tO\n\n"


def found(mslm: Mslm, *arguments: object) -> dict[str, Any]:
    shown = mslm("inspect", *arguments, "--json")
    assert shown.exit_code == 0, shown.stderr
    result: dict[str, Any] = json.loads(shown.stdout)
    return result


def test_counts(in_tmp: Path, mslm: Mslm) -> None:
    Path("a.tsv").write_text("# doc 1\n" + LONG + "Mice\tB-Species\n\n# doc 2\nAnd\tO\n\tO\nsome\tI-Species\n")
    (of,) = found(mslm, "a.tsv")["sets"].values()
    assert of["formats"] == {"conll": 1}
    assert (of["n_documents"], of["n_sentences"], of["n_words"], of["n_mentions"]) == (2, 3, 10, 3)
    assert of["types"] == {"Disease": 1, "Species": 2}
    assert of["mention_lengths"]["Disease"] == {"1": 0, "2": 1, "3": 0, "4": 0, "5+": 0}
    assert of["scheme"] == "IOB2"
    assert of["odd"]["empty words"] == 1
    assert of["odd"]["mentions that begin with I-"] == 1
    assert of["odd"]["documents without a mention"] == 0
    assert of["odd"]["sentences of one word"] == 1


def test_what_repeats_inside_and_between(in_tmp: Path, mslm: Mslm) -> None:
    other = LONG.replace("B-Disease", "O").replace("I-Disease", "B-Disease")
    Path("train.tsv").write_text(LONG + LONG + other + "Short\tO\n\nShort\tO\n\n")
    text = "Patients with heart failure were seen. And more of them were not seen at all."
    Path("test.jsonl").write_text(json.dumps({"text": text, "label": [[14, 27, "Disease"]]}) + "\n")
    shown = mslm("inspect", "--train", "train.tsv", "--test", "test.jsonl")
    assert "warning: 1 sentences of test (50.0 %) are in train too" in shown.stderr
    result = found(mslm, "--train", "train.tsv", "--test", "test.jsonl")
    assert result["sets"]["train"]["repeated"] == {"sentences": 2, "labelled_differently": 1}
    assert result["shared_sentences"] == [{"of": "test", "in": "train", "n": 1, "n_sentences": 2}]


def test_types_of_some_sets_and_mentions_of_several_types(in_tmp: Path, mslm: Mslm) -> None:
    Path("train.tsv").write_text(LONG + "heart\tB-Organ\nfailure\tI-Organ\n\n")
    Path("test.tsv").write_text("Heart\tB-Disease\nfailure\tI-Disease\n\nmice\tB-Species\n")
    result = found(mslm, "--train", "train.tsv", "--test", "test.tsv")
    assert result["types_of_some_sets"] == {"Organ": ["train"], "Species": ["test"]}
    assert result["mentions_of_several_types"] == [{"text": "heart failure", "types": {"Disease": 2, "Organ": 1}}]
    shown = mslm("inspect", "--train", "train.tsv", "--test", "test.tsv").stdout
    assert "types in train alone: Organ\n" in shown
    assert "  heart failure: Disease 2, Organ 1\n" in shown


def test_what_is_changed_to_read_annotated_text(in_tmp: Path, mslm: Mslm) -> None:
    label = [[0, 4, "X"], [0, 7, "Y"], [9, 12, "X"]]
    Path("a.jsonl").write_text(json.dumps({"text": "Old men, women.", "label": label}) + "\n")
    (of,) = found(mslm, "a.jsonl")["sets"].values()
    assert of["changes"] == {"overlapping": 1, "widened": 1}
    assert of["scheme"] is None
    detailed = mslm("inspect", "a.jsonl", "-v").stderr
    assert "a.jsonl:1:9-12 X: widened: 'wom' -> 'women'" in detailed


def test_what_tokenizer_and_windows_make_of_it(chain: Path, in_tmp: Path, mslm: Mslm) -> None:
    words = ["heart"] * 30 + ["xyz", "☃"]
    Path("a.tsv").write_text(
        "".join(f"{word}\t{'B' if not i else 'I'}-X\n" for i, word in enumerate(words)) + "\nheart\tB-X\n"
    )
    (of,) = found(mslm, "a.tsv", "--model", chain / "encoder", "--max-length", 16, "--overlap", 4)["sets"].values()
    assert of["tokenizer"] == {
        "max_length": 16,
        "pieces_per_word": 35 / 33,
        "n_words_with_unknown_pieces": 1,
        "n_words_longer_than_a_window": 0,
        "n_sentences_longer_than_a_window": 1,
        "n_mentions_longer_than_a_window": 1,
    }


def test_text_without_labels(in_tmp: Path, mslm: Mslm) -> None:
    Path("a.txt").write_text("One sentence. And another one.\n\nA second text.\n")
    (of,) = found(mslm, "a.txt")["sets"].values()
    assert (of["n_documents"], of["n_sentences"], of["n_mentions"]) == (2, 3, 0)
    assert mslm("inspect", "a.txt").exit_code == 0


def test_standard_input_and_nothing(in_tmp: Path, mslm: Mslm) -> None:
    shown = mslm("inspect", "-", "--json", stdin=LONG.encode())
    assert json.loads(shown.stdout)["sets"]["stdin"]["n_mentions"] == 1
    refused = mslm("inspect")
    assert refused.exit_code == 2
    assert "no data were given" in refused.stderr


def test_it_is_readable_at_80_columns(chain: Path, mslm: Mslm, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sets = [f"--{name}" if i == 0 else chain / f"{name}.tsv" for name in ("train", "dev", "test") for i in range(2)]
    shown = mslm("inspect", *sets, chain / "text.txt", "--model", chain / "encoder")
    assert shown.exit_code == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "mentions: Disease" in shown.stdout


def test_relations_are_counted(related_workplace: Path, mslm: Mslm) -> None:
    found = json.loads(mslm("inspect", "--train", "train.pubtator", "--json").stdout)["sets"]["train"]["relations"]
    corpus = read_relations(Path("train.pubtator"), DataOptions())
    assert (found["n"], found["types"]) == (corpus.n_gold, {"CID": corpus.n_gold})
    assert found["between"] == {"Chemical to Disease": corpus.n_gold}
    assert found["in_one_sentence"] == 1
    # two drugs and two diseases in each document, each drug in a sentence with one of them
    assert found["candidates"] == {"sentence": 2 * len(corpus.documents), "document": 4 * len(corpus.documents)}
    shown = mslm("inspect", "train.pubtator").stdout
    assert "candidates, --pairs document" in shown
    text = Path("train.pubtator").read_text()
    Path("train.pubtator").write_text(re.sub(r"\tCID\t(\S+)\t\S+", r"\tCID\t\1\t\1", text, count=1))
    broken = mslm("inspect", "train.pubtator")
    assert broken.exit_code == 0
    assert "its relations cannot be read" in broken.stderr
