"""What holds for all formats: folders, insisting on one, and that no annotated file is read as text."""

import json
from pathlib import Path

import pytest
from reading import documents, read_mentions
from sample_data import BIOC, PUBTATOR, SPAN_RECORDS

from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import count_formats, read_labelled
from mslm_cli.errors import DataError, UsageError


def test_a_folder_of_several_files_is_one_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text(PUBTATOR)
    (tmp_path / "b.tsv").write_text("quuxamab\tB-Drug\nhelps\tO\n\nmice\tO\n")
    (tmp_path / "c.jsonl").write_text(json.dumps(SPAN_RECORDS["doccano"]) + "\n")
    corpus = read_labelled(tmp_path)
    assert corpus.types == ("Chemical", "Disease", "Drug")
    ids = [sentence.id for sentence in corpus.sentences]
    assert len(set(ids)) == len(ids)
    assert ids[-3:] == ["b.tsv:1", "b.tsv:2", "7:1"]
    told = capsys.readouterr().err
    assert [told.count(f"(--format {name})") for name in ("pubtator", "conll", "jsonl")] == [1, 0, 1]


def test_a_format_can_be_insisted_on(pubtator: Path) -> None:
    assert documents(pubtator, format="text")[0].text.startswith("1234|t|Zorblatitis")
    with pytest.raises(UsageError, match=r"--format text has no labels \(those with labels: "):
        read_labelled(pubtator, DataOptions(format="text"))
    with pytest.raises(DataError, match=r"corpus\.txt:1: not JSON"):
        read_labelled(pubtator, DataOptions(format="jsonl"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('<?xml version="1.0"?>\n<abstract>Text <cons sem="protein">IL-2</cons></abstract>', "XML or HTML"),
        ("<doc>\n<s>One <e>IL-2</e></s>\n<s>Two</s>\n</doc>", "XML or HTML"),
        ("<!DOCTYPE html>\n<html><body>Text</body></html>", "XML or HTML"),
        ('{\n "version": 2,\n "n": 3\n}', "a JSON document"),
        ('["Zorblatitis", "quuxamab"]', "a JSON document"),
        ("#FORMAT=WebAnno TSV 3.2\n\n#Text=One\n", "WebAnno TSV"),
        ("{\\rtf1\\ansi Text}", "RTF"),
        ("Aspirin,B-Drug\nhelps,O\nmice,O\nand,O\n", "a table of words and tags"),
        ('"text": "One",\n "label": "Disease",\n },\n {\n', "JSON with something else in it"),
        ('3\n{"text": "One", "label": [[0, 3, "Disease"]]}\n', "JSON with something else in it"),
        ("1|a|An abstract\n1\t0\t2\tAn\tX\tC1\n1\t3\t5\tab\tX\tC1\n", "PubTator that does not begin with a title"),
        ("T1\tDisease 0 11\tzorblatitis\nT2\tDrug 3 5;7 9\tq a\n", "annotations of BRAT"),
        ("<?xlection><document><passage><text>One</text></passage></document></collection>", "XML or HTML"),
        ('1,1,"heart",B-Disease\n1,1,failure,I-Disease\n', "a table of words and tags"),
        ("It O\rhelps O\rmice B-Species\r", "columns of words and tags whose lines end in carriage returns"),
        ("doc_id,word,tag\n,heart\n1,failure\n", "a table of words and tags"),
        ("word,tag\rIt,O\rhelps,O\rmice,O\r", "a table of words and tags"),
        ("# text = It is\n" + "".join(f"{i}\tw\tw\tNOUN\tNN\t_\t0\troot\t_\t_\n" for i in range(1, 5)), "CoNLL-U"),
    ],
)
def test_annotated_forms_that_are_not_read_are_no_text(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    for read in (documents, read_labelled):
        with pytest.raises(DataError, match=rf"corpus\.txt(:1)?: this looks like {what} \("):
            read(path)
    assert documents(path, format="text")


@pytest.mark.parametrize(
    "content",
    [
        "<p> in mice was 0.05.\n\nAnd < 0.1 in men.\n",
        "[1] Smith et al. found it.\n",
        "{Aspirin} is in braces.\n",
        "One, two, O\nand three.\n",
        "It is vitamin B, O\n",
    ],
)
def test_prose_with_odd_characters_is_text(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(content)
    assert documents(path)


def test_mentions_without_their_documents_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mentions.jsonl"
    path.write_text('{"doc": "1", "start": 0, "end": 8, "text": "quuxamab", "type": "Drug", "score": 0.9}\n')
    for read in (documents, read_labelled):
        with pytest.raises(DataError, match=r"mentions\.jsonl:1: a mention by `mslm predict` or `mslm match`, without"):
            read(path)


def test_artifacts_are_no_text(chain: Path) -> None:
    for name, kind in (("lexicon", "lexicon"), ("shards", "shards"), ("ner", "ner")):
        with pytest.raises(DataError, match=rf"{name}: a {kind} artifact of mslm, where data were expected"):
            source_files([chain / name])
    with pytest.raises(DataError, match=r"terms\.jsonl:1: a record with term, sources"):
        documents(chain / "lexicon" / "terms.jsonl")


@pytest.mark.parametrize(
    ("content", "insisted", "said"),
    [
        (PUBTATOR, "conll", "this looks like PubTator: --format pubtator"),
        (PUBTATOR, "brat", "this looks like PubTator: --format pubtator"),
        (json.dumps(BIOC), "conll", "this looks like BioC, XML or JSON: --format bioc"),
        (json.dumps(SPAN_RECORDS["doccano"]), "pubtator", "this looks like JSON records: --format jsonl"),
        ("Prose alone.\n", "pubtator", "this looks like plain text"),
        ("Prose alone.\n", "auto", "this looks like plain text"),
    ],
)
def test_what_was_not_asked_for_says_what_it_looks_like(tmp_path: Path, content: str, insisted: str, said: str) -> None:
    path = tmp_path / "corpus.dat"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_labelled(path, DataOptions(format=insisted))
    assert str(caught.value).endswith(f"{said})")


def test_data_without_a_sentence_are_an_error(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", ""), ("b.jsonl", '{"text": " ", "label": []}\n'), ("c.txt", "1|t|\n1|a|\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=rf"{name}: the file (is empty|holds no text)"):
            read_labelled(tmp_path / name)


def test_empty_documents_of_a_folder_are_no_error(brat: Path) -> None:
    (brat / "b.txt").write_text("")
    (brat / "b.ann").write_text("")
    assert len(read_mentions(brat)) == 3


def test_text_without_labels_in_a_folder_is_skipped_and_said(brat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (brat / "b.txt").write_text("Not annotated.")
    assert len(read_mentions(brat)) == 3
    assert f"warning: {brat / 'b.txt'}: plain text without labels, skipped" in " ".join(capsys.readouterr().err.split())


def test_names_of_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--label-names: cannot be read: "):
        DataOptions.build(label_names=str(tmp_path / "nothing.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\tO\nb\tO\nc\tO\rd\tO\n", "corpus.txt:3: a carriage return inside the line (end lines with a line"),
        ("a\tO\nb\tO\rc\tO\n", "corpus.txt:2: this looks like columns of words and tags whose lines end in carriage"),
        ("a\tB-D\tB-D\rb\tO\tB-D\r", "corpus.txt:1: a carriage return inside the line"),
        ("word,tag\na,O\nb,O\rc,O\n", "corpus.txt:3: not a row of a table: a carriage return inside the line"),
        ("1|t|Title\r1|a|Text\r1\t0\t5\tTitle\tX\n", "corpus.txt:1: a carriage return inside the line"),
    ],
)
def test_a_carriage_return_ends_no_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(content.encode())
    for read in (documents, read_labelled):
        with pytest.raises(DataError) as caught:
            read(path)
        assert said in str(caught.value)
    path.write_bytes(content.replace("\r", "\r\n").encode())
    assert read_labelled(path).sentences


def test_a_cell_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text(f"word,tag\na,O\n{'b' * 200_000},O\n")
    with pytest.raises(DataError, match=r"corpus\.csv:3: not a row of a table: field larger than field limit"):
        read_labelled(path)


def test_what_is_skipped_in_a_folder_is_said_once(brat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.txt", "c.txt", "d.txt"):
        (brat / name).write_text("Not annotated.")
    assert count_formats(brat, DataOptions()) == {"brat": 1}
    assert capsys.readouterr().err == ""
    assert len(read_mentions(brat)) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: {brat}: 3 files are plain text without labels, skipped; the first is b.txt" in said
    assert said.count("skipped ") + said.count("skipped;") == 2  # these, and annotation.conf
