"""Raw text is parted into the very words of a corpus that was made of it."""

import gzip
from collections import Counter
from pathlib import Path

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.text.tokens import keeps_punctuation, token_spans


def test_the_words_of_raw_abstracts_are_those_of_the_labelled_ones(shared_data: Path) -> None:
    corpus = read_labelled(shared_data / "mtl-BC5CDR-IOB" / "devel.txt.gz")
    gold = Counter(word for sentence in corpus.sentences for word in sentence.words)
    found: Counter[str] = Counter()
    with gzip.open(shared_data / "re-BC5CDR-CID" / "devel.pubtator.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            doc, _, rest = line.rstrip("\n").partition("|")
            if doc.isdigit() and rest[:2] in ("t|", "a|"):
                found.update(rest[2:][start:end] for start, end in token_spans(rest[2:]))
    assert (gold - found).total() + (found - gold).total() <= 10
    assert gold.total() > 100_000
    assert not keeps_punctuation(gold.elements())


def test_corpora_that_keep_words_whole_are_known(shared_data: Path) -> None:
    for name, expected in (("NCBI-disease/train.tsv.gz", False), ("wnut17/train.txt.gz", True)):
        sentences = read_labelled(shared_data / name).sentences
        assert keeps_punctuation(word for sentence in sentences for word in sentence.words) is expected, name
