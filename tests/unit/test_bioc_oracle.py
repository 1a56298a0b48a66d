"""PubTator and BioC, read by mslm and by the library `bioc`: the same documents, mentions and offsets."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_annotated

bioc = pytest.importorskip("bioc", reason="the library `bioc` (of the extra `dev`) is not installed")
from bioc import biocjson, biocxml, pubtator  # noqa: E402 - after the check that it is there

Mslm = Callable[..., Result]
Mention = tuple[str, tuple[tuple[int, int], ...], str, str]
"""Document, fragments [start, end), type and text of a mention."""

PUBTATOR = """\
1234|t|Zorblatitis and quuxamab
1234|a|Patients with zorblatitis took quuxamab daily, α-tocopherol and 😀.
1234\t0\t11\tZorblatitis\tDisease\tD0001
1234\t16\t24\tquuxamab\tChemical\tC0001
1234\t39\t50\tzorblatitis\tDisease\tD0001|D0002
1234\t72\t84\tα-tocopherol\tChemical\t-1
1234\tCID\tC0001\tD0001

1235|t|Second paper
1235|a|Nothing here on quuxamab.
1235\t29\t37\tquuxamab\tChemical\tC0001

"""


def ours(path: Path) -> list[Mention]:
    """Every mention, with the text at its offsets."""
    return sorted(
        (d.id, a.fragments, a.type, " ".join(d.text[start:end] for start, end in a.fragments))
        for d in read_annotated([path], DataOptions())
        for a in d.annotations
    )


def of_pubtator(text: str) -> list[Mention]:
    return sorted(
        (a.pmid, ((int(a.start), int(a.end)),), a.type, d.text[int(a.start) : int(a.end)])
        for d in pubtator.loads(text)
        for a in d.annotations
    )


def of_bioc(documents: Iterable[Any]) -> list[Mention]:
    """The mentions that the library reads, each with the text at its offsets and not the one it was given."""
    found = []
    for document in documents:
        for passage in document.passages:
            units = passage.sentences or [passage]
            for unit in units:
                for annotation in unit.annotations:
                    places = sorted((one.offset, one.offset + one.length) for one in annotation.locations)
                    parts = [unit.text[start - unit.offset : end - unit.offset] for start, end in places]
                    found.append((document.id, tuple(places), annotation.infons["type"], " ".join(parts)))
                    assert " ".join(parts) == annotation.text
    return sorted(found)


def read_bioc(path: Path) -> list[Any]:
    """The documents of a collection in XML or JSON, as the library reads them."""
    library = biocxml if path.suffix == ".xml" else biocjson
    with path.open(encoding="utf-8") as file:
        documents: list[Any] = library.load(file).documents
    return documents


def test_pubtator(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(PUBTATOR, encoding="utf-8")
    assert ours(path) == of_pubtator(PUBTATOR)
    assert len(ours(path)) == 5


@pytest.mark.parametrize("name", ["a.xml", "a.json"])
def test_bioc_that_mslm_writes(in_tmp: Path, mslm: Mslm, name: str) -> None:
    Path("corpus.txt").write_text(PUBTATOR, encoding="utf-8")
    made = mslm("convert", "corpus.txt", "--to", "bioc", "-o", name)
    assert made.exit_code == 0, made.stderr
    documents = read_bioc(Path(name))
    assert of_bioc(documents) == ours(Path(name)) == ours(Path("corpus.txt"))
    assert [[passage.infons["type"] for passage in d.passages] for d in documents] == [["title", "abstract"]] * 2
    (relation,) = documents[0].relations
    assert [node.refid for node in relation.nodes] == ["C0001", "D0001"]


def collection() -> Any:
    """A collection with sentences, a mention of two parts, one without an id, and one of the whole document."""
    made = bioc.BioCCollection()
    made.source, made.date, made.key = "own", "", ""
    for number in range(3):
        document = bioc.BioCDocument()
        document.id = f"d{number}"
        title, body = bioc.BioCPassage(), bioc.BioCPassage()
        title.offset, title.text, title.infons["type"] = 0, "Left and right atria.", "title"
        title.add_annotation(annotation("1", "Organ", "Left atria", (0, 4), (15, 20)))
        title.add_annotation(annotation("2", "Organ", "right atria", (9, 20)))
        body.offset, body.infons["type"] = 22, "abstract"
        for offset, text in ((22, "They took quuxamab."), (42, "Nor was 😀 zorblatin seen.")):
            sentence = bioc.BioCSentence()
            sentence.offset, sentence.text = offset, text
            body.add_sentence(sentence)
        body.sentences[0].add_annotation(annotation("", "Drug", "quuxamab", (32, 40)))
        body.sentences[1].add_annotation(annotation("4", "Drug", "zorblatin", (52, 61)))
        document.add_passage(title)
        document.add_passage(body)
        made.add_document(document)
    return made


def annotation(id_: str, kind: str, text: str, *places: tuple[int, int]) -> Any:
    made = bioc.BioCAnnotation()
    made.id, made.text, made.infons["type"] = id_, text, kind
    for start, end in places:
        made.add_location(bioc.BioCLocation(start, end - start))
    return made


@pytest.mark.parametrize("name", ["a.xml", "a.json"])
def test_bioc_that_the_library_writes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    library = biocxml if name.endswith("xml") else biocjson
    path.write_text(library.dumps(collection()), encoding="utf-8")
    found = ours(path)
    assert found == of_bioc(read_bioc(path))
    assert found[:4] == [
        ("d0", ((0, 4), (15, 20)), "Organ", "Left atria"),
        ("d0", ((9, 20),), "Organ", "right atria"),
        ("d0", ((32, 40),), "Drug", "quuxamab"),
        ("d0", ((52, 61),), "Drug", "zorblatin"),
    ]
    assert len(found) == 12


def test_documents_of_the_library_on_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(biocjson.dumps(document) + "\n" for document in collection().documents), encoding="utf-8")
    assert ours(path) == of_bioc(collection().documents)


@pytest.mark.parametrize("name", ["a.xml", "a.json"])
def test_annotations_of_the_whole_document(tmp_path: Path, name: str) -> None:
    made = collection()
    for document in made.documents:
        document.add_annotation(annotation("9", "Finding", "took quuxamab", (27, 40)))
    path = tmp_path / name
    path.write_text((biocxml if name.endswith("xml") else biocjson).dumps(made), encoding="utf-8")
    found = ours(path)
    assert len(found) == 15
    assert ("d2", ((27, 40),), "Finding", "took quuxamab") in found


def test_bc5cdr(shared_data: Path, in_tmp: Path, mslm: Mslm) -> None:
    source = shared_data / "re-BC5CDR-CID" / "test.pubtator.txt.gz"
    expected = of_pubtator(gzip.decompress(source.read_bytes()).decode())
    assert len(expected) == 9_809
    assert ours(source) == expected
    for name in ("a.xml", "a.json"):
        made = mslm("convert", source, "--to", "bioc", "-o", name)
        assert made.exit_code == 0, made.stderr
        documents = read_bioc(Path(name))
        assert len(documents) == 500
        assert of_bioc(documents) == ours(Path(name)) == expected
        assert sum(len(d.relations) for d in documents) == 1_066


def test_the_other_way_round(in_tmp: Path, mslm: Mslm) -> None:
    Path("a.json").write_text(biocjson.dumps(collection()), encoding="utf-8")
    made = mslm("convert", "a.json", "--to", "pubtator")
    assert made.exit_code == 0, made.stderr
    whole = [(d, ((p[0][0], p[-1][1]),), kind) for d, p, kind, _ in of_bioc(collection().documents)]
    assert [mention[:3] for mention in of_pubtator(made.stdout)] == sorted(whole)
    assert json.loads(Path("a.json").read_text())["documents"]
