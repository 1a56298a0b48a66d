"""BRAT standoff: a text, and a file of annotations beside it."""

import gzip
from pathlib import Path

import pytest
from reading import annotated, documents, read_mentions, shown
from sample_data import TEXT

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


def test_brat_as_text_and_as_labels(brat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [("Disease", "zorblatitis"), ("Drug", "quuxamab"), ("Disease", "Zorblatitis")]
    assert [(d.id, d.text, d.has_id) for d in documents(brat / "a.txt")] == [("a", TEXT, True)]
    for path in (brat, brat / "a.txt", brat / "a.ann"):
        assert read_mentions(path) == expected
    assert f"{brat}: skipped 1 .conf\n" in capsys.readouterr().err
    (found,) = annotated(brat / "a.txt")
    assert [(r.type, r.arguments) for r in found.relations] == [("Treats", (("Arg1", "T2"), ("Arg2", "T1")))]
    assert found.n_ignored == (("attributes", 1), ("normalisations", 1), ("notes", 1))


def test_brat_as_gzip_and_with_windows_line_ends(brat: Path) -> None:
    text = "One line\r\nand heart\r\nfailure."
    (brat / "a.txt").write_bytes(gzip.compress(text.encode()))
    for annotation in (
        "T1\tDisease 14 28\theart failure",
        "T1\tDisease 13 26\theart failure",
    ):  # each counted as other tools do
        (brat / "a.ann").write_bytes(f"{annotation}\r\n".encode())
        ((_, kind, found),) = shown(annotated(brat / "a.txt"))
        assert (kind, found.split()) == ("Disease", ["heart", "failure"])


def test_brat_fragments(brat: Path) -> None:
    (brat / "a.txt").write_text("left and right atria, quuxamab")
    (brat / "a.ann").write_text("T1\tOrgan 0 4;15 20\tleft atria\nT2\tDrug 22 30\tquuxamab\n")
    assert shown(annotated(brat / "a.txt")) == [("a", "Organ", "left ... atria"), ("a", "Drug", "quuxamab")]
    assert read_mentions(brat) == [("Organ", "left and right atria"), ("Drug", "quuxamab")]
    assert read_mentions(brat, fragments="first") == [("Organ", "left"), ("Drug", "quuxamab")]
    assert read_mentions(brat, fragments="drop") == [("Drug", "quuxamab")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("T1\tDisease 14 27\tzorblatitis", r"a\.ann:1: the mention is 'zorblatitis', the text at its offsets is"),
        ("T1\tDisease 14 999\tzorblatitis", r"a\.ann:1: the mention is"),
        ("T1\tDisease 14\tzorblatitis", r"a\.ann:1: expected a line of BRAT"),
        ("X1\twhat", r"a\.ann:1: expected a line of BRAT"),
    ],
)
def test_brat_with_a_mistake(brat: Path, line: str, said: str) -> None:
    (brat / "a.ann").write_text(line + "\n")
    with pytest.raises(DataError, match=said):
        read_labelled(brat / "a.txt")


def test_annotations_without_their_text(brat: Path) -> None:
    (brat / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.ann: no text \(\.txt\) of this name beside it"):
        read_labelled(brat / "a.ann")
    with pytest.raises(DataError, match="the folder holds no data files"):
        read_labelled(brat)
