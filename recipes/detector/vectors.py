"""Word vectors from the text that the detector may see: ``python vectors.py DATA WORK`` (needs floret 0.10.5).

Writes WORK/vectors.floret: subword vectors of lower-case tokens, so that a word which was never met has one too. The
text: the train splits, and the unlabelled PubMedQA, MedQuAD and CRAFT texts without any held-out sentence.
"""

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import floret
import spacy
from corpora import CORPORA, held_out_sentences, labelled_sentences
from tokens import set_tokenizer

from mslm_cli.corpus.seen import sentence_hash
from mslm_cli.text.sentences import split_sentences

UNLABELLED = ("pubmedqa_abstracts", "medquad_answers", "craft_fulltext_30articles")
"""MED1250 is left out: abbreviations are scored on it."""

_MIN_LINE = 30


def sentences(data: Path) -> Iterator[str]:
    """The sentences of all texts."""
    for name in UNLABELLED:
        with gzip.open(data / "unlabelled" / f"{name}.txt.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                if len(line) >= _MIN_LINE:
                    yield from (line[start:end] for start, end in split_sentences(line))
    for corpus in CORPORA:
        yield from (passage.text for passage in labelled_sentences(data, corpus, "train"))


def main(data: Path, work: Path) -> None:
    """Write the text and train on it: one thread, since several would never give the same vectors twice."""
    held_out = held_out_sentences(data)
    nlp = spacy.blank("en")
    set_tokenizer(nlp)
    work.mkdir(parents=True, exist_ok=True)
    n_held_out = 0
    with (work / "text.txt").open("w", encoding="utf-8") as out:
        for sentence in sentences(data):
            if sentence_hash(sentence) in held_out:
                n_held_out += 1
            else:
                out.write(" ".join(token.lower_ for token in nlp.make_doc(sentence) if not token.is_space) + "\n")
    print(f"left out {n_held_out:,} held-out sentences")
    model = floret.train_unsupervised(
        str(work / "text.txt"),
        model="skipgram",
        mode="floret",
        hashCount=2,
        bucket=20_000,
        dim=64,
        minn=3,
        maxn=6,
        minCount=3,
        epoch=4,
        lr=0.05,
        thread=1,
        verbose=0,
    )
    model.save_floret_vectors(str(work / "vectors.floret"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
