"""Real annotated corpora: every mention that an independent reading finds, at its own offsets."""

import gzip
import re
import tarfile
from pathlib import Path

import pytest

from mslm_cli.corpus.formats import brat, pubtator
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.corpus.seen import Sketch
from mslm_cli.corpus.source import Source


@pytest.mark.parametrize(
    ("name", "n_documents", "n_mentions", "n_relations"),
    [("train_plus_devel", 1000, 18_976, 2_050), ("devel", 500, 9_591, 1_012), ("test", 500, 9_809, 1_066)],
)
def test_bc5cdr_in_pubtator(shared_data: Path, name: str, n_documents: int, n_mentions: int, n_relations: int) -> None:
    path = shared_data / "re-BC5CDR-CID" / f"{name}.pubtator.txt.gz"
    rows = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    expected = [(r[0], int(r[1]), int(r[2]), r[3], r[4]) for r in rows if len(r) >= 6]
    assert len(expected) == n_mentions
    found = list(pubtator.annotated(Source(path, DataOptions())))
    assert len(found) == n_documents
    assert sum(len(document.relations) for document in found) == n_relations
    mentions = [
        (document.id, start, end, document.text[start:end], annotation.type)
        for document in found
        for annotation in document.annotations
        for start, end in annotation.fragments
    ]
    assert mentions == expected
    corpus = read_labelled(path)
    assert corpus.types == ("Chemical", "Disease")
    assert sum(len(sentence.gold or ()) for sentence in corpus.sentences) == n_mentions
    assert sum(len(sentence.mentions) for sentence in corpus.sentences) == n_mentions
    assert len(corpus.changes) < 20


def test_jnlpba_in_brat(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "jnlpba-typed" / "standoff.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    n_mentions = n_read = 0
    for path in sorted((tmp_path / "standoff" / "test").glob("*.txt")):
        rows = re.findall(r"^(T\d+)\t(\S+) (\d+) (\d+)\t(.*)$", path.with_suffix(".ann").read_text(), re.MULTILINE)
        (document,) = brat.annotated(Source(path, DataOptions()))
        assert [(a.id, a.type, *map(str, a.fragments[0])) for a in document.annotations] == [r[:4] for r in rows]
        assert [document.text[slice(*a.fragments[0])] for a in document.annotations] == [r[4] for r in rows]
        n_mentions += len(rows)
    corpus = read_labelled(tmp_path / "standoff" / "test")
    n_read = sum(len(sentence.mentions) for sentence in corpus.sentences)
    assert n_mentions == sum(len(sentence.gold or ()) for sentence in corpus.sentences) == 8_662
    assert n_read == n_mentions - sum(not change.after for change in corpus.changes)
    assert corpus.types == ("DNA", "RNA", "cell_line", "cell_type", "protein")


def test_the_same_abstracts_are_the_same_sentences_in_another_format(shared_data: Path) -> None:
    """So the leak guard knows them again, whatever they were read from."""
    seen = Sketch()
    for sentence in read_labelled(shared_data / "mtl-BC5CDR-IOB" / "test.txt.gz").sentences:
        seen.add(" ".join(sentence.words))
    path = shared_data / "re-BC5CDR-CID" / "test.pubtator.txt.gz"
    sentences = [" ".join(sentence.words) for sentence in read_labelled(path).sentences]
    assert seen.count(sentences) > 0.8 * len(sentences)
    text = " ".join(document.text for document in read_documents([path], DataOptions()))
    assert "\t" not in text
    assert "D015738" not in text
