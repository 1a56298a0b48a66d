"""The forms in which people have labelled data: as text, and as labels."""

import gzip
import json
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy
from reading import documents
from spacy.tokens import DocBin

from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_annotated, read_labelled
from mslm_cli.corpus.source import Source
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.errors import DataError, UnavailableError, UsageError

PUBTATOR = """\
1234|t|Zorblatitis and quuxamab
1234|a|Patients with zorblatitis took quuxamab daily.
1234\t0\t11\tZorblatitis\tDisease\tD0001
1234\t16\t24\tquuxamab\tChemical\tC0001
1234\t39\t50\tzorblatitis\tDisease\tD0001
1234\tCID\tC0001\tD0001

1235|t|Second paper
1235|a|Nothing here on quuxamab.
1235\t29\t37\tquuxamab\tChemical
"""
TEXT = "Patients with zorblatitis took quuxamab daily. Zorblatitis was seen."
ANN = """\
T1\tDisease 14 25\tzorblatitis
T2\tDrug 31 39\tquuxamab
T3\tDisease 47 58\tZorblatitis
R1\tTreats Arg1:T2 Arg2:T1
#1\tAnnotatorNotes T1\tMESH:D0001
N1\tReference T2 CHEBI:1\tquuxamab
A1\tNegated T1
"""
BIOC = {
    "documents": [
        {
            "id": "1",
            "passages": [
                {
                    "offset": 0,
                    "infons": {"type": "title"},
                    "text": "Zorblatitis and quuxamab",
                    "annotations": [
                        {
                            "id": "0",
                            "infons": {"type": "Disease", "identifier": "D0001"},
                            "text": "Zorblatitis",
                            "locations": [{"offset": 0, "length": 11}],
                        }
                    ],
                },
                {
                    "offset": 25,
                    "infons": {"type": "abstract"},
                    "text": "Nothing on quuxamab.",
                    "annotations": [
                        {
                            "id": "1",
                            "infons": {"type": "Chemical"},
                            "text": "quuxamab",
                            "locations": [{"offset": 36, "length": 8}],
                        }
                    ],
                },
            ],
            "relations": [
                {
                    "id": "R0",
                    "infons": {"type": "CID"},
                    "nodes": [{"refid": "1", "role": "a"}, {"refid": "0", "role": ""}],
                }
            ],
        }
    ]
}
BIOC_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>own</source><document><id>1</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Zorblatitis and quuxamab</text>
<annotation id="0"><infon key="type">Disease</infon>
<location offset="0" length="11"/><text>Zorblatitis</text></annotation></passage>
<passage><infon key="type">abstract</infon><offset>25</offset>
<sentence><offset>25</offset><text>Nothing on quuxamab.</text>
<annotation id="1"><infon key="type">Chemical</infon>
<location offset="36" length="8"/><text>quuxamab</text></annotation></sentence>
<sentence><offset>46</offset><text>Nor was quuxamab seen.</text></sentence>
</passage></document></collection>
"""


def annotated(path: Path, **options: Any) -> list[AnnotatedDocument]:
    """The annotated documents of a file in the format that it is recognised as."""
    source = Source(path, DataOptions(**options))
    chosen = next(f for f in FORMATS if f.matches(path, source.head))
    assert chosen.annotated is not None
    return list(chosen.annotated(source))


def shown(found: list[AnnotatedDocument]) -> list[tuple[str, str, str]]:
    """Document, type and text of every mention."""
    return [
        (d.id, a.type, " ... ".join(d.text[start:end] for start, end in a.fragments))
        for d in found
        for a in d.annotations
    ]


def read_mentions(path: Path, **options: Any) -> list[tuple[str, str]]:
    """Type and words of every mention that is read."""
    return [
        (kind, " ".join(sentence.words[start:end]))
        for sentence in read_labelled(path, DataOptions(**options)).sentences
        for start, end, kind in sentence.mentions
    ]


# PubTator


@pytest.fixture
def pubtator(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(PUBTATOR)
    return path


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


# BRAT


@pytest.fixture
def brat(tmp_path: Path) -> Path:
    folder = tmp_path / "brat"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "a.ann").write_text(ANN)
    (folder / "annotation.conf").write_text("[entities]\nDisease\nDrug\n")
    return folder


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


# BioC


@pytest.mark.parametrize("form", ["json", "one line", "lines", "array", "xml"])
def test_bioc_as_text_and_as_labels(tmp_path: Path, form: str) -> None:
    path = tmp_path / "corpus.bioc"
    path.write_text(
        {
            "json": json.dumps(BIOC, indent=1),
            "one line": json.dumps(BIOC),
            "lines": json.dumps(BIOC["documents"][0]) + "\n",
            "array": json.dumps([BIOC]),
            "xml": BIOC_XML,
        }[form]
    )
    (text,) = documents(path)
    assert text.id == "1"
    assert text.text.startswith("Zorblatitis and quuxamab\nNothing on quuxamab.")
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Chemical", "quuxamab")]
    (found,) = annotated(path)
    assert [a.fragments for a in found.annotations] == [((0, 11),), ((36, 44),)]
    assert [kind for _, _, kind in found.passages] == ["title", "abstract"]
    if form == "xml":
        assert text.text.endswith("Nothing on quuxamab. Nor was quuxamab seen.")
    else:
        assert [(r.type, r.arguments) for r in found.relations] == [("CID", (("a", "1"), ("", "0")))]


def bioc(tmp_path: Path, passages: list[dict[str, Any]]) -> Path:
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps({"documents": [{"id": "1", "passages": passages}]}), encoding="utf-8")
    return path


def test_bioc_offsets_that_count_bytes(tmp_path: Path) -> None:
    text = "α-quuxamab and β-zorblatin"
    place = {"offset": len("α-quuxamab and ".encode()), "length": len("β-zorblatin".encode())}
    annotation = {"infons": {"type": "Drug"}, "text": "β-zorblatin", "locations": [place]}
    path = bioc(tmp_path, [{"offset": 0, "text": text, "annotations": [annotation]}])
    assert shown(annotated(path)) == [("1", "Drug", "β-zorblatin")]


def test_bioc_passages_whose_offsets_do_not_ascend_stand_one_after_the_other(tmp_path: Path) -> None:
    annotation = {"infons": {"type": "Drug"}, "text": "quuxamab", "locations": [{"offset": 5, "length": 8}]}
    path = bioc(
        tmp_path,
        [{"offset": 0, "text": "A title."}, {"offset": 0, "text": "Took quuxamab.", "annotations": [annotation]}],
    )
    assert shown(annotated(path)) == [("1", "Drug", "quuxamab")]
    assert documents(path)[0].text == "A title.\nTook quuxamab."


def test_bioc_annotations_without_a_place(tmp_path: Path) -> None:
    once, twice = ({"infons": {"type": "Drug"}, "text": text} for text in ("quuxamab", "took"))
    path = bioc(tmp_path, [{"offset": 0, "text": "He took quuxamab, she took none.", "annotations": [once, twice]}])
    assert shown(annotated(path)) == [("1", "Drug", "quuxamab")]
    assert read_labelled(path).n_ignored == (("annotations without a place", 1),)


def test_bioc_with_a_mistake(tmp_path: Path) -> None:
    annotation = {"id": "7", "infons": {"type": "Drug"}, "text": "aspirin", "locations": [{"offset": 0, "length": 7}]}
    with pytest.raises(
        DataError, match="document 1, annotation '7': is 'aspirin', the text at its offset is 'Quuxamab'"
    ):
        read_labelled(bioc(tmp_path, [{"offset": 0, "text": "Quuxamab", "annotations": [annotation]}]))
    with pytest.raises(DataError, match="document 1: expected passages with offset and text"):
        read_labelled(bioc(tmp_path, [{"text": "Quuxamab", "annotations": []}]))
    path = tmp_path / "damaged.xml"
    path.write_text(BIOC_XML.replace("</document>", ""))
    with pytest.raises(DataError, match=r"damaged\.xml:12: not XML: mismatched tag"):
        read_labelled(path)


# JSON records

SENTENCE = "Patients with zorblatitis took quuxamab"
SPAN_RECORDS = {
    "doccano": {"id": 7, "text": SENTENCE, "label": [[14, 25, "Disease"], [31, 39, "Drug"]]},
    "doccano with relations": {
        "id": 7,
        "text": SENTENCE,
        "entities": [
            {"id": 1, "label": "Disease", "start_offset": 14, "end_offset": 25},
            {"id": 2, "label": "Drug", "start_offset": 31, "end_offset": 39},
        ],
        "relations": [{"id": 3, "from_id": 2, "to_id": 1, "type": "treats"}],
    },
    "Prodigy": {
        "text": SENTENCE,
        "tokens": [{"text": "Patients", "start": 0, "end": 8, "id": 0}],
        "spans": [{"start": 14, "end": 25, "label": "Disease"}, {"start": 31, "end": 39, "label": "Drug"}],
        "meta": {"id": 7},
        "answer": "accept",
    },
    "spaCy": {"id": "7", "text": SENTENCE, "entities": [[14, 25, "Disease"], [31, 39, "Drug"]]},
}


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


WORDS = ["Zorblatitis", "took", "quuxamab"]
WORD_RECORDS = {
    "names": {"tokens": WORDS, "ner_tags": ["B-Disease", "O", "B-Drug"]},
    "numbers": {"id": "0", "tokens": WORDS, "ner_tags": [1, 0, 3]},
    "ours": {"id": "1", "words": WORDS, "gold": [[0, 1, "Disease"], [2, 3, "Drug"]], "pred": []},
}


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


# All of them


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


# Tables


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


# Parquet and saved data sets


def words_table(with_names: bool) -> pa.Table:
    table = pa.table(
        {"id": ["0", "1"], "tokens": [WORDS, ["Mice"]], "pos_tags": [[0, 1, 0], [0]], "ner_tags": [[1, 0, 3], [0]]}
    )
    features = {
        "pos_tags": {"feature": {"names": ["NN", "VB"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "ner_tags": {
            "feature": {"names": ["O", "B-Disease", "I-Disease", "B-Drug"], "_type": "ClassLabel"},
            "_type": "Sequence",
        },
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return table.replace_schema_metadata(metadata) if with_names else table


def write_table(path: Path, table: pa.Table, form: str) -> None:
    if form == "parquet":
        pq.write_table(table, path)
    else:
        opened = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}[form]
        with opened(path, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_parquet_and_arrow(tmp_path: Path, form: str) -> None:
    path = tmp_path / "train-00000"
    write_table(path, words_table(with_names=True), form)
    assert [d.text for d in documents(path)] == ["Zorblatitis took quuxamab\nMice"]
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    write_table(path, words_table(with_names=False), form)
    with pytest.raises(DataError, match="tag 1 is a number"):
        read_labelled(path)
    assert len(read_mentions(path, label_names="O,B-A,I-A,B-B")) == 2
    spans = pa.table({"text": [SENTENCE], "entities": [[{"start": 14, "end": 25, "label": "Disease"}]]})
    write_table(path, spans, form)
    assert read_mentions(path) == [("Disease", "zorblatitis")]
    path.write_bytes(path.read_bytes()[:-20] if form == "parquet" else path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"train-00000: (not a sound Parquet or Arrow file|damaged after)"):
        read_labelled(path)


def test_a_saved_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    write_table(folder / "data-00000-of-00001.arrow", words_table(with_names=True), "stream")
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text("{}")
    assert read_mentions(folder) == [("Disease", "Zorblatitis"), ("Drug", "quuxamab")]
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match=r"a data set with the splits train \(name the folder of one of them\)"):
        read_labelled(tmp_path / "saved")


# DocBin


def test_docbin(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    doc = nlp(TEXT)
    doc.ents = [doc.char_span(14, 25, "Disease"), doc.char_span(31, 39, "Drug")]
    path = tmp_path / "corpus.spacy"
    DocBin(docs=[doc, nlp("And mice.")]).to_disk(path)
    assert [d.text for d in documents(path)] == [TEXT, "And mice."]
    assert read_mentions(path) == [("Disease", "zorblatitis"), ("Drug", "quuxamab")]
    doc.ents = []
    doc.spans["sc"] = [doc.char_span(14, 25, "Disease"), doc.char_span(0, 25, "Finding")]
    DocBin(docs=[doc]).to_disk(path)
    assert read_mentions(path) == [("Finding", "Patients with zorblatitis")]
    assert read_mentions(path, overlaps="innermost") == [("Disease", "zorblatitis")]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"corpus\.spacy: not a sound DocBin"):
        read_labelled(path)


# Label Studio


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
    with pytest.raises(DataError, match=r"export\.json: task 1: the span is 'zorblatitis', the text there"):
        read_labelled(path)
    path.write_text(json.dumps([task(data={"n": 3})]))
    with pytest.raises(DataError, match="task 1: its data have no text"):
        read_labelled(path)


# Never by accident


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
        ("# text = It is\n" + "".join(f"{i}\tw\tw\tNOUN\tNN\t_\t0\troot\t_\t_\n" for i in range(1, 5)), "CoNLL-U"),
    ],
)
def test_annotated_forms_that_are_not_read_are_no_text(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    for read in (documents, read_labelled):
        with pytest.raises(DataError, match=rf"corpus\.txt: this looks like {what} \("):
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


# The hub


class HubSet(list[dict[str, Any]]):
    """What ``datasets`` gives: rows, and features with the names of labels."""

    features = {  # noqa: RUF012 - as the original has it
        "tokens": types.SimpleNamespace(feature=types.SimpleNamespace(dtype="string")),
        "ner_tags": types.SimpleNamespace(feature=types.SimpleNamespace(names=["O", "B-Disease"])),
    }


def test_data_sets_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> HubSet:
        asked.append((name, split))
        if name == "nobody/nothing":
            raise FileNotFoundError("no such data set")
        return HubSet([{"tokens": ["Zorblatitis", "helps"], "ner_tags": [1, 0]}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    for reference in ("hf:somebody/corpus", "hf:somebody/corpus:test"):
        (document,) = read_annotated([Path(reference)], DataOptions())
        assert document.text == "Zorblatitis helps"
        assert [(a.bounds, a.type) for a in document.annotations] == [((0, 11), "Disease")]
    assert asked == [("somebody/corpus", "train"), ("somebody/corpus", "test")]
    with pytest.raises(UnavailableError, match="hf:nobody/nothing: cannot be had: FileNotFoundError: no such data set"):
        list(read_annotated([Path("hf:nobody/nothing")], DataOptions()))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnavailableError, match=r"need the package `datasets` \(pip install 'mslm\[datasets\]'\)"):
        list(read_annotated([Path("hf:somebody/corpus")], DataOptions()))


# Nothing in them


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


def test_bioc_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "corpus.xml"
    path.write_bytes(BIOC_XML.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Chemical", "quuxamab")]


def test_names_of_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--label-names: cannot be read: "):
        DataOptions.build(label_names=str(tmp_path / "nothing.json"))
