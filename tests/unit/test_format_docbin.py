"""spaCy's DocBin."""

from pathlib import Path

import pytest
import spacy
from reading import documents, read_mentions
from sample_data import TEXT
from spacy.tokens import DocBin

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError


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
