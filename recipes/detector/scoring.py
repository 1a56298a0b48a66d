"""Strict scores of a detector on the corpora, by type, and how much of the gold any mention covers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from corpora import CORPORA, PEOPLE, Passage, bc5cdr_documents, jnlpba_sentences, labelled_sentences
from spacy.language import Language


def scored_corpora(data: Path, split: str) -> Iterator[tuple[str, list[Passage]]]:
    """The name and the texts of each corpus; LINNAEUS once more without its words for people."""
    yield "BC5CDR", list(bc5cdr_documents(data, split))
    yield "BC5CDR, sentences", list(labelled_sentences(data, "BC5CDR", split))
    for corpus in CORPORA:
        if corpus == "JNLPBA" and split == "test":
            yield corpus, list(jnlpba_sentences(data))
        elif corpus != "BC5CDR":
            passages = list(labelled_sentences(data, corpus, split))
            yield corpus, passages
            if corpus == "LINNAEUS":
                yield "LINNAEUS, no people", [_without_people(passage) for passage in passages]


def _without_people(passage: Passage) -> Passage:
    return passage._replace(spans=tuple(s for s in passage.spans if passage.text[s[0] : s[1]].lower() not in PEOPLE))


def scores(nlp: Language, corpus: str, passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """A row for each type that the corpus marks, and one for all of them where they are several."""
    marked = sorted({kind for passage in passages for _, _, kind in passage.spans})
    counts = {kind: Counter[str]() for kind in marked}
    for passage, doc in zip(passages, nlp.pipe((p.text for p in passages), batch_size=64), strict=True):
        found = {(e.start_char, e.end_char, e.label_) for e in doc.ents}
        bounds = {(start, end) for start, end, _ in found}
        for kind in marked:
            gold = {span for span in passage.spans if span[2] == kind}
            guessed = {span for span in found if span[2] == kind}
            counts[kind].update(
                n_gold=len(gold),
                n_guessed=len(guessed),
                n_right=len(gold & guessed),
                n_exact=sum((start, end) in bounds for start, end, _ in gold),
                n_overlapping=sum(any(a < end and start < b for a, b in bounds) for start, end, _ in gold),
            )
    rows = [_row(corpus, kind, counts[kind]) for kind in marked]
    if len(marked) > 1:
        rows.append(_row(corpus, " + ".join(marked), sum(counts.values(), Counter[str]())))
    return rows


def _row(corpus: str, kind: str, n: Counter[str]) -> dict[str, Any]:
    precision = n["n_right"] / n["n_guessed"] if n["n_guessed"] else 0.0
    recall = n["n_right"] / n["n_gold"]
    return {
        "corpus": corpus,
        "type": kind,
        "n_gold": n["n_gold"],
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "found_exact": n["n_exact"] / n["n_gold"],
        "found_overlapping": n["n_overlapping"] / n["n_gold"],
    }
