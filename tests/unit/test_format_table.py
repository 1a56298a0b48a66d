"""Tables of words with named columns."""

from pathlib import Path

import pytest
from reading import documents, read_mentions

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError, UsageError

TABLE = [["token", "sent_id", "doc_id", "label"], ["Zorblatitis", "0", "a", "B-Disease"], ["took", "0", "a", "O"]]
TABLE += [["quuxamab", "1", "a", "B-Drug"], [".", "1", "a", "O"], ["Mice", "1", "b", "O"]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_tables_of_words_by_their_usual_columns(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "words.csv"
    path.write_text("".join(delimiter.join(row) + "\n" for row in TABLE))
    assert [(d.id, d.text) for d in documents(path)] == [("a", "Zorblatitis took\nquuxamab ."), ("b", "Mice")]
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    assert [s.id for s in read_labelled(path).sentences] == ["a:1", "a:2", "b:1"]


def test_tables_of_words_by_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text('nr,surface,entity class\nSentence 1,Zorblatitis,1\n,"took, daily",0\nSentence 2,quuxamab,3\n')
    options = {"columns": "word=surface,tag=entity class,sentence=nr", "label_names": "O,B-Disease,I-Disease,B-Drug"}
    sentences = read_labelled(path, DataOptions(**options)).sentences
    assert [s.words for s in sentences] == [("Zorblatitis", "took, daily"), ("quuxamab",)]
    assert read_mentions(path, **options) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]


def test_quotes_are_words_between_tabs(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text('word\ttag\n"\tO\nquuxamab\tB-Drug\n"\tO\n\nIt\tO\n')
    assert [s.words for s in read_labelled(path).sentences] == [('"', "quuxamab", '"'), ("It",)]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("word,tag\na,O\nb,O,O\n", {}, "words.csv:3: 3 cells, where the header has 2"),
        ("word,tag\na,O\nb,X\n", {}, "words.csv:3: unknown tag 'X'"),
        ("a,b\nx,O\n", {"columns": "word=a"}, "words.csv:1: no column is known to hold a tag (--columns tag=NAME; the"),
        ("a,b\nx,O\n", {"columns": "word=c,tag=b", "format": "table"}, "words.csv:1: no column 'c'"),
    ],
)
def test_tables_with_a_mistake(tmp_path: Path, content: str, options: dict[str, str], said: str) -> None:
    path = tmp_path / "words.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_labelled(path, DataOptions(**options))
    assert said in str(caught.value)


def test_columns_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match=r"--columns: expected word=NAME, tag=NAME, .*NAME, not 'x=y'"):
        DataOptions.build(columns="x=y")
