"""Reading relations: annotated documents and marked pairs, and what is wrong with bad ones."""

import json
from pathlib import Path

import pytest
import relation_data

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.relations import RelationCorpus, RelationDocument, read_relations, relation_document, with_mentions
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.errors import DataError
from mslm_cli.text.tokens import token_spans

TEXT = "Aspirin caused fever. Warfarin did not."
ANN = "T1\tDrug 0 7\tAspirin\nT2\tDisease 15 20\tfever\nT3\tDrug 22 30\tWarfarin\n"


def read(path: Path) -> RelationCorpus:
    return read_relations(path, DataOptions())


def triples(document: RelationDocument) -> set[tuple[str, str, str]]:
    """Head, type and tail of each relation, by the text of their first mentions."""
    shown = [document.shown(entity.mentions[0]) for entity in document.entities]
    return {(shown[head], kind, shown[tail]) for head, tail, kind in document.relations}


def brat(folder: Path, relations: str) -> Path:
    (folder / "a.txt").write_text(TEXT)
    (folder / "a.ann").write_text(ANN + relations)
    return folder / "a.txt"


def test_brat_relates_mentions_and_the_roles_give_the_direction(tmp_path: Path) -> None:
    corpus = read(brat(tmp_path, "R1\tCauses Arg2:T2 Arg1:T1\n"))
    (document,) = corpus.documents
    assert not corpus.are_concepts
    assert triples(document) == {("Aspirin", "Causes", "fever")}
    assert [document.shown(entity.mentions[0]) for entity in document.entities] == ["Aspirin", "fever", "Warfarin"]
    assert (corpus.types, corpus.n_gold, len(corpus.sentences)) == (("Causes",), 1, 2)
    assert document.sentence_of(document.entities[2].mentions[0][0]) == 1


def test_pubtator_relates_concepts_with_all_their_mentions(tmp_path: Path) -> None:
    relation_data.write(tmp_path)
    corpus = read(tmp_path / "train.pubtator")
    assert corpus.are_concepts
    assert corpus.types == ("CID",)
    for document in corpus.documents:
        assert len({entity.id for entity in document.entities}) == len(document.entities)
        for drug, kind, disease in triples(document):
            assert kind == "CID"
            assert f"{drug} induced {disease}" in document.text


def test_a_mention_of_two_concepts_is_of_both_and_one_of_none_is_left_out(tmp_path: Path) -> None:
    rows = ["1|t|aspirin and fever", "1|a|", "1\t0\t7\taspirin\tDrug\tD1|D2", "1\t12\t17\tfever\tDisease\t-1"]
    path = tmp_path / "a.pubtator"
    path.write_text("\n".join([*rows, "1\tX\tD1\tD2"]) + "\n")
    (document,) = read(path).documents
    assert [(entity.id, entity.mentions) for entity in document.entities] == [("D1", ((0, 1),)), ("D2", ((0, 1),))]


def test_bioc_and_doccano_records_are_read_alike(tmp_path: Path) -> None:
    annotations = [
        {"id": f"T{i}", "infons": {"type": kind}, "text": TEXT[a:b], "locations": [{"offset": a, "length": b - a}]}
        for i, (a, b, kind) in enumerate([(0, 7, "Drug"), (15, 20, "Disease")], 1)
    ]
    nodes = [{"refid": "T2", "role": "tail"}, {"refid": "T1", "role": "head"}]
    relation = {"id": "R1", "infons": {"type": "Causes"}, "nodes": nodes}
    passage = {"offset": 0, "text": TEXT, "annotations": annotations, "relations": [relation]}
    bioc = tmp_path / "a.json"
    bioc.write_text(json.dumps({"documents": [{"id": "1", "passages": [passage]}]}))
    entities = [
        {"id": 7, "start_offset": 0, "end_offset": 7, "label": "Drug"},
        {"id": 8, "start_offset": 15, "end_offset": 20, "label": "Disease"},
    ]
    record = {"text": TEXT, "entities": entities, "relations": [{"from_id": 7, "to_id": 8, "type": "Causes"}]}
    doccano = tmp_path / "a.jsonl"
    doccano.write_text(json.dumps(record) + "\n")
    for path in (bioc, doccano):
        assert triples(read(path).documents[0]) == {("Aspirin", "Causes", "fever")}


@pytest.mark.parametrize(
    ("relations", "said"),
    [
        ("R1\tX Arg1:T1 Arg2:T9\n", "a.ann:4: document a: the relation 'X R1' is with 'T9', and no mention of the"),
        ("R1\tX Arg1:T1 Arg2:T1\n", "a.ann:4: document a: the relation 'X R1' is of the mention 'T1' with itself"),
        (
            "R1\tX Arg1:T1 Arg2:T2\nR2\tY Arg1:T1 Arg2:T2\n",
            "a.ann:5: document a: the relation 'Y R2' is between T1 and T2, which already have 'X'",
        ),
        ("R1\tX T1 T2\n", "a.ann:4: expected arguments such as Arg1:T1 of a relation, found 'T1'"),
        ("T1\tDrug 22 30\tWarfarin\n", "a.ann:4: a second mention with the id T1"),
    ],
)
def test_relations_that_cannot_be_are_refused_with_their_line(tmp_path: Path, relations: str, said: str) -> None:
    path = brat(tmp_path, relations)
    with pytest.raises(DataError) as caught:
        read(path)
    assert said in str(caught.value)


def test_pubtator_names_the_line_of_a_relation_to_a_concept_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1|t|aspirin\n1|a|fever\n1\t0\t7\taspirin\tDrug\tD1\n1\tX\tD1\tD9\n")
    with pytest.raises(DataError, match=r"a\.txt:4: .*no concept of the document has this id"):
        read(path)


def test_both_directions_may_be_related_and_the_same_relation_twice_is_one(tmp_path: Path) -> None:
    twice = "R1\tX Arg1:T1 Arg2:T2\nR2\tX Arg1:T1 Arg2:T2\nR3\tY Arg1:T2 Arg2:T1\n"
    assert triples(read(brat(tmp_path, twice)).documents[0]) == {("Aspirin", "X", "fever"), ("fever", "Y", "Aspirin")}


def test_relations_of_more_than_two_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = read(brat(tmp_path, "R1\tX Arg1:T1 Arg2:T2 Arg3:T3\n"))
    assert corpus.n_gold == 0
    assert "not read: relations with other than two arguments (1)" in capsys.readouterr().err


PAIRS = {
    "marks": ('{"text": "<< Ang II >>-induced [[ pressure ]] here", "label": "UP"}', "Ang II-induced pressure here"),
    "reversed": ('{"text": "a [[ pressure ]] by << Ang II >>", "label": "UP"}', "a pressure by Ang II"),
    "text": (
        '{"text": "Ang II raised pressure", "head": {"start": 0, "end": 6}, "tail": [14, 22, "Y"], "label": "UP"}',
        "Ang II raised pressure",
    ),
    "tokens": (
        '{"tokens": ["Ang", "II", "raised", "pressure"], "head": [0, 2, "X"], "tail": [3, 4, "Y"], "label": "UP"}',
        "Ang II raised pressure",
    ),
    "opennre": (
        '{"token": ["Ang", "II", "raised", "pressure"], "h": {"pos": [0, 2]}, "t": {"pos": [3, 4]}, "relation": "UP"}',
        "Ang II raised pressure",
    ),
}


@pytest.mark.parametrize("form", PAIRS)
def test_marked_pairs_of_json_lines(tmp_path: Path, form: str) -> None:
    line, text = PAIRS[form]
    path = tmp_path / "pairs.jsonl"
    path.write_text(line + "\n")
    corpus = read(path)
    (document,) = corpus.documents
    assert document.text == text
    assert triples(document) == {("Ang II", "UP", "pressure")}
    assert document.pairs == ((0, 1),)
    assert not corpus.are_concepts


@pytest.mark.parametrize("header", ["", "index\tsentence\tlabel\n"])
def test_placeholders_are_the_mentions_and_0_is_no_relation(tmp_path: Path, header: str) -> None:
    first = "0\t" if header else ""
    path = tmp_path / "gad.tsv"
    rows = [f"{first}A @DISEASE$ with @GENE$ here.\t1", f"{first}No @GENE$ in @DISEASE$.\t0"]
    path.write_text(header + "\n".join(rows) + "\n")
    corpus = read(path)
    assert [triples(document) for document in corpus.documents] == [{("@GENE$", "1", "@DISEASE$")}, set()]
    assert [entity.type for entity in corpus.documents[0].entities] == ["GENE", "DISEASE"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a b", "head": [0, 1], "tail": [0, 1], "label": "X"}', "a mention with itself"),
        ('{"text": "a b", "head": [0, 1], "tail": [2, 9], "label": "X"}', "from 2 to 9, which is not in a text of 3"),
        ('{"text": "a b", "head": [0, 1], "label": "X"}', "expected a head and a tail"),
        ('{"text": "a b", "head": [0, 1], "tail": "b", "label": "X"}', "expected a mention as [start, end, type]"),
        ('{"text": "a b", "head": [0, 1], "tail": [2, 3], "label": ["X", "Y"]}', "expected one label"),
        ('{"text": "a << b >>", "label": "X"}', "expected << head >> and [[ tail ]]"),
        ("[1]", "no placeholders"),
    ],
)
def test_a_bad_pair_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(PAIRS["text"][0] + "\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}:2: " in str(caught.value)
    assert said in str(caught.value)


def test_found_mentions_take_the_place_of_gold_ones_where_they_are_right() -> None:
    annotations = tuple(
        Annotation(((a, b),), kind, id_)
        for id_, (a, b, kind) in {"T1": (0, 7, "Drug"), "T2": (15, 20, "Disease"), "T3": (22, 30, "Drug")}.items()
    )
    gold = relation_document(AnnotatedDocument("1", TEXT, annotations), token_spans, are_concepts=False)
    found, scored = with_mentions(gold, [(0, 1, "Drug"), (2, 3, "Drug"), (4, 5, "Drug")], are_concepts=False)
    assert [bool(entity.mentions) for entity in found.entities] == [True, False, True, True]
    assert [entity.type for entity in found.entities] == ["Drug", "Disease", "Drug", "Drug"]
    assert [entity.mentions for entity in scored.entities[:3]] == [entity.mentions for entity in gold.entities]


def test_real_corpora_are_read(shared_data: Path) -> None:
    counts = {
        "re-BC5CDR-CID/test.pubtator.txt.gz": (500, 1066, True),
        "re-chemprot/devel.jsonl.gz": (2427, 2427, False),
        "re-GAD/test.tsv.gz": (534, 281, False),
    }
    for file, (n_documents, n_relations, are_concepts) in counts.items():
        corpus = read(shared_data / file)
        assert (len(corpus.documents), corpus.n_gold, corpus.are_concepts) == (n_documents, n_relations, are_concepts)


def test_what_brat_files_have_that_is_not_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brat(tmp_path, "E1\tInducing:T2\nR1\tX Arg1:T1 Arg2:E1\nR2\tX Arg1:T1 Arg2:T2\n")
    (tmp_path / "b.txt").write_text("Nobody has annotated this.")
    (tmp_path / "c.ann").write_text(ANN)
    corpus = read(tmp_path)
    assert [len(document.relations) for document in corpus.documents] == [1, 0]
    said = capsys.readouterr().err
    assert "not read: events (1), relations with events (1)" in said
    assert "1 annotation file (.ann) without a text (.txt) of this name; the first is c.ann" in said
    assert "1 file without annotations, read as text without relations; the first is b.txt" in said
