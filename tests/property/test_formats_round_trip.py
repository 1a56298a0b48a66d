"""What is written in a format is read back as it was: text, ids, mentions by their offsets, relations."""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.output import write_parts
from mslm_cli.corpus.readers import read_annotated
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation

characters = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\r\n  .,-aαé😀🧬\u2028\u00a0")
texts = (
    st.lists(characters, min_size=1, max_size=40)
    .map("".join)
    .filter(lambda text: text.strip() and not text.startswith("\ufeff"))
)
Key = tuple[tuple[int, int], str]


@st.composite
def documents(draw: st.DrawFn, text: st.SearchStrategy[str] = texts) -> list[AnnotatedDocument]:
    """Documents with mentions anywhere, overlapping and of several fragments, and relations between them."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        content = draw(text)
        annotations = []
        for i in range(draw(st.integers(0, 4))):
            edges = sorted(draw(st.sets(st.integers(0, len(content)), min_size=2, max_size=4)))
            fragments = tuple(zip(edges[::2], edges[1::2], strict=False))
            annotations.append(Annotation(fragments, draw(st.sampled_from(["Gene", "Cell_line", "Δ-1"])), f"T{i + 1}"))
        relations = []
        if len(annotations) > 1:
            relations = [Relation("binds", (("Arg1", "T1"), ("Arg2", "T2")), "R1")]
        found.append(AnnotatedDocument(f"doc-{number}", content, tuple(annotations), relations=tuple(relations)))
    return found


def again(name: str, given_documents: list[AnnotatedDocument], file: str) -> list[AnnotatedDocument]:
    """The documents, written in a format and read from there without being told which it is."""
    writer = FORMATS[name].writer
    assert writer is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        write_parts(writer.parts(given_documents, file), path, is_folder=writer.is_folder)
        return list(read_annotated([path], DataOptions()))


def keys(document: AnnotatedDocument) -> list[Key]:
    return [(annotation.bounds, annotation.type) for annotation in document.annotations]


@pytest.mark.parametrize(("name", "file"), [("jsonl", "corpus.jsonl"), ("bioc", "corpus.json")])
@settings(max_examples=50)
@given(documents())
def test_json_keeps_everything(name: str, file: str, documents: list[AnnotatedDocument]) -> None:
    found = again(name, documents, file)
    assert [(d.id, d.text) for d in found] == [(d.id, d.text) for d in documents]
    assert [d.annotations for d in found] == [d.annotations for d in documents]
    assert [[r.arguments[0][1] for r in d.relations] for d in found] == [["T1"] * bool(d.relations) for d in documents]


@settings(max_examples=50)
@given(documents())
def test_bioc_in_xml_keeps_what_xml_can_hold(documents: list[AnnotatedDocument]) -> None:
    found = again("bioc", documents, "corpus.xml")
    assert [(d.id, d.text) for d in found] == [(d.id, re.sub("[\ufffe\uffff]", " ", d.text)) for d in documents]
    assert [[a.fragments for a in d.annotations] for d in found] == [
        [a.fragments for a in d.annotations] for d in documents
    ]


@settings(max_examples=25)
@given(documents())
def test_docbin_keeps_text_and_mentions(documents: list[AnnotatedDocument]) -> None:
    found = again("docbin", documents, "corpus.spacy")
    assert [(d.id, d.text) for d in found] == [(d.id, d.text) for d in documents]
    assert [sorted(keys(d)) for d in found] == [sorted(keys(d)) for d in documents]


@settings(max_examples=50)
@given(documents())
def test_brat_keeps_text_and_mentions_without_white_space_around_them(documents: list[AnnotatedDocument]) -> None:
    found = again("brat", documents, "corpus")
    assert [(d.id, d.text) for d in found] == [(d.id, d.text) for d in documents]
    for one, other in zip(documents, found, strict=True):
        filled = [a for a in one.annotations if any(one.text[s:e].strip() for s, e in a.fragments)]
        assert [a.type for a in other.annotations] == [a.type for a in filled]
        for before, after in zip(filled, other.annotations, strict=True):
            texts = ["".join(d.text[s:e] for s, e in a.fragments) for d, a in ((one, before), (other, after))]
            assert "".join(texts[0].split()) == "".join(texts[1].split())
            assert all(any(s <= a and b <= e for s, e in before.fragments) for a, b in after.fragments)


@settings(max_examples=50)
@given(documents())
def test_pubtator_keeps_offsets(documents: list[AnnotatedDocument]) -> None:
    found = again("pubtator", documents, "corpus.txt")
    assert [d.id for d in found] == [d.id for d in documents]
    for one, other in zip(documents, found, strict=True):
        assert re.sub(r"[\t\r\n]", " ", other.text).removesuffix(" " * (len(other.text) - len(one.text))) == re.sub(
            r"[\t\r\n]", " ", one.text
        )
        assert keys(other) == keys(one)


@given(documents(st.text(st.sampled_from("ab .-😀\n"), min_size=1, max_size=30).filter(str.strip)))
@settings(max_examples=25)
def test_formats_agree_on_the_labels(documents: list[AnnotatedDocument]) -> None:
    """Whatever a corpus is converted to on the way, training reads the same words and mentions."""
    whole = [
        AnnotatedDocument(
            d.id,
            d.text,
            tuple(
                Annotation((a.bounds,), a.type)
                for a in d.annotations
                if d.text[slice(*a.bounds)].strip() == d.text[slice(*a.bounds)] and "\n" not in d.text[slice(*a.bounds)]
            ),
        )
        for d in documents
    ]
    expected = None
    for name, file in (("jsonl", "a.jsonl"), ("bioc", "a.xml"), ("brat", "a"), ("docbin", "a.spacy")):
        reread = again(name, whole, file)
        shape = [(d.id, d.text, sorted(keys(d))) for d in reread]
        assert expected in (None, shape)
        expected = shape
