"""PubTator: a title, an abstract, and a line for each mention."""

import gzip
from pathlib import Path

import pytest
from reading import annotated, documents, read_mentions, shown
from sample_data import PUBTATOR

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


def test_pubtator_as_text_and_as_labels(pubtator: Path) -> None:
    assert [(d.id, d.text, d.has_id) for d in documents(pubtator)] == [
        ("1234", "Zorblatitis and quuxamab\nPatients with zorblatitis took quuxamab daily.", True),
        ("1235", "Second paper\nNothing here on quuxamab.", True),
    ]
    assert read_mentions(pubtator) == [
        ("Disease", "Zorblatitis"),
        ("Chemical", "quuxamab"),
        ("Disease", "zorblatitis"),
        ("Chemical", "quuxamab"),
    ]
    first = annotated(pubtator)[0]
    assert first.annotations[0].concepts == "D0001"
    assert [(r.type, r.arguments) for r in first.relations] == [("CID", (("", "C0001"), ("", "D0001")))]
    assert first.passages == ((0, 24, "title"), (25, 71, "abstract"))


@pytest.mark.parametrize(
    "content",
    [
        PUBTATOR.replace("\n\n", "\n"),
        "\n\n" + PUBTATOR + "\n\n\n",
        PUBTATOR.replace("\n", "\r\n"),
        PUBTATOR.replace("\tD0001\n", "\tD0001|D0002\tpart|part\n"),
    ],
    ids=["no blank lines", "blank lines", "CRLF", "seven columns"],
)
def test_pubtator_comes_in_variants(pubtator: Path, content: str) -> None:
    expected = shown(annotated(pubtator))
    pubtator.write_bytes(content.encode())
    assert shown(annotated(pubtator)) == expected
    pubtator.write_bytes(gzip.compress(content.encode()))
    assert shown(annotated(pubtator)) == expected


def test_pubtator_without_abstract(pubtator: Path) -> None:
    pubtator.write_text("1|t|Only quuxamab\n1|a|\n1\t5\t13\tquuxamab\tChemical\tC1\n\n2|t|Title alone\n")
    assert [d.text for d in documents(pubtator)] == ["Only quuxamab\n", "Title alone"]
    assert shown(annotated(pubtator)) == [("1", "Chemical", "quuxamab")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1\t5\t15\tquuxamab\tChemical\tC1", r"corpus\.txt:3: the mention is 'quuxamab', the text from 5 to 15 is"),
        ("1\t5\t13\tquuxamab\t", r"corpus\.txt:3: expected a mention \(ID, start"),
        ("what is this", r"corpus\.txt:3: expected a mention"),
        ("1\t5\t13\tquuxamab\t\tC1", r"corpus\.txt:3: a mention without a type"),
    ],
)
def test_pubtator_with_a_mistake(pubtator: Path, line: str, said: str) -> None:
    pubtator.write_text(f"1|t|Only quuxamab\n1|a|And so\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_labelled(pubtator)
