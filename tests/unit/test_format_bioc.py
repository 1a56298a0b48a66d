"""BioC, XML and JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from reading import annotated, documents, read_mentions, shown
from sample_data import BIOC, BIOC_XML

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


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


def test_bioc_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "corpus.xml"
    path.write_bytes(BIOC_XML.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert read_mentions(path) == [("Disease", "Zorblatitis"), ("Chemical", "quuxamab")]
