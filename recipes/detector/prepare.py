"""Write what is trained on: ``python prepare.py split DATA WORK``, then ``python prepare.py complete WORK``.

``split`` writes, as spaCy's DocBin, a training set for each type from the corpora that mark it throughout
(WORK/<type>.spacy), all of them with what each marks (WORK/union.spacy) and a devel set (WORK/devel.spacy).
``complete`` adds to each text of the union what the detectors WORK/<type>/model-last find there (WORK/completed.spacy).
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import spacy
from corpora import (
    CORPORA,
    PEOPLE,
    TYPES,
    Passage,
    bc5cdr_documents,
    held_out_sentences,
    jnlpba_documents,
    labelled_sentences,
    together,
    without_held_out,
)
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans
from tokens import set_tokenizer

from mslm_cli.corpus.seen import sentence_hash

MAX_SENTENCES = 6
TAUGHT_BY = {
    "Anatomy": ("AnatEM",),
    "Chemical": ("BC5CDR",),
    "Disease": ("BC5CDR", "NCBI-disease"),
    "Gene": ("BC2GM",),
    "Species": ("CRAFT", "LINNAEUS"),
}
"""The corpora whose annotation of a type stands for it everywhere."""

THINNED = frozenset({"CRAFT", "JNLPBA", "LINNAEUS"})
"""The largest corpora, of which the packaged detector sees every second text."""


def split(data: Path, work: Path) -> None:
    """Write the training sets and the devel set, and print what was left out."""
    work.mkdir(parents=True, exist_ok=True)
    held_out = held_out_sentences(data)
    nlp = spacy.blank("en")
    set_tokenizer(nlp)
    docs = []
    for corpus in CORPORA:
        left_out = Counter[str]()
        passages = list(_passages(data, corpus, held_out, left_out))
        docs += [_doc(nlp, passage, corpus, left_out) for passage in passages]
        n_words = sum(map(len, docs[-len(passages) :]))
        print(
            f"{corpus}: {n_words:,} words, {sum(len(p.spans) for p in passages):,} mentions; left out {dict(left_out)}"
        )
    random.Random(0).shuffle(docs)
    _write(_thinned(docs), work / "union.spacy")
    for kind, names in TAUGHT_BY.items():
        _write((_only(nlp, doc, kind) for doc in docs if doc.user_data["corpus"] in names), work / f"{kind}.spacy")
    devel = (_doc(nlp, p, "BC5CDR", Counter()) for p in bc5cdr_documents(data, "devel"))
    _write(devel, work / "devel.spacy")


def _thinned(docs: Iterable[Doc]) -> Iterator[Doc]:
    """The texts without every second one of each corpus in ``THINNED``."""
    numbers = Counter[str]()
    for doc in docs:
        corpus = doc.user_data["corpus"]
        numbers[corpus] += 1
        if corpus not in THINNED or numbers[corpus] % 2:
            yield doc


def _passages(data: Path, corpus: str, held_out: frozenset[int], left_out: Counter[str]) -> Iterator[Passage]:
    """The training passages of a corpus without held-out sentences."""
    if corpus in ("BC5CDR", "JNLPBA"):
        for document in bc5cdr_documents(data, "train") if corpus == "BC5CDR" else jnlpba_documents(data):
            stretches, n_held_out = without_held_out(document, held_out)
            left_out["held-out sentences"] += n_held_out
            yield from stretches
        return
    sentences = list(labelled_sentences(data, corpus, "train"))
    kept = [s for s in sentences if sentence_hash(s.text) not in held_out]
    left_out["held-out sentences"] += len(sentences) - len(kept)
    if corpus == "LINNAEUS":
        kept = [_without_people(s) for s in kept]
    yield from together(kept, MAX_SENTENCES if CORPORA[corpus].is_running else 1)


def _without_people(passage: Passage) -> Passage:
    spans = (s for s in passage.spans if passage.text[s[0] : s[1]].lower() not in PEOPLE)
    return passage._replace(spans=tuple(spans))


def _doc(nlp: Language, passage: Passage, corpus: str, left_out: Counter[str]) -> Doc:
    """The tokens of a passage with its mentions, less those that do not begin and end with a token or that overlap."""
    doc = nlp.make_doc(passage.text)
    found = [doc.char_span(start, end, label=kind) for start, end, kind in passage.spans]
    spans = filter_spans([span for span in found if span is not None])
    left_out["mentions"] += len(found) - len(spans)
    doc.ents = tuple(spans)
    doc.user_data["corpus"] = corpus
    return doc


def _only(nlp: Language, doc: Doc, kind: str) -> Doc:
    copy = Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
    copy.ents = tuple(Span(copy, e.start, e.end, label=kind) for e in doc.ents if e.label_ == kind)
    return copy


def complete(work: Path) -> None:
    """Write the completed training set, and print how many mentions of each type it has in the texts of each corpus."""
    teachers = {kind: spacy.load(work / kind / "model-last") for kind in TYPES}
    docs = list(DocBin(store_user_data=True).from_disk(work / "union.spacy").get_docs(teachers[TYPES[0]].vocab))
    guesses = {
        kind: [[(e.start, e.end) for e in guess.ents] for guess in teacher.pipe(doc.text for doc in docs)]
        for kind, teacher in teachers.items()
    }
    counts = Counter[str]()
    for i, doc in enumerate(docs):
        doc.ents = tuple(completed(doc, {kind: guesses[kind][i] for kind in TYPES}))
        counts.update(f"{doc.user_data['corpus']} {entity.label_}" for entity in doc.ents)
    _write(docs, work / "completed.spacy")
    print(json.dumps(dict(sorted(counts.items())), indent=1))


def completed(doc: Doc, found: dict[str, list[tuple[int, int]]]) -> list[Span]:
    """The mentions of a text: what its corpus teaches, then what the detectors find, then what else its corpus marks.

    So one set of rules holds for each type: where JNLPBA and BC2GM disagree on a gene's boundaries, BC2GM is right.
    Among what is found the longer mention stands, and a disease is no anatomy: AnatEM marks tumours, NCBI-disease and
    BC5CDR have them as diseases, and so has what is taught.
    """
    corpus = doc.user_data["corpus"]
    diseases = set(found["Disease"])
    taught, other = [], []
    for entity in doc.ents:
        bounds, kind = (entity.start, entity.end), entity.label_
        if corpus not in TAUGHT_BY[kind]:
            other.append(entity)
        else:
            taught.append(Span(doc, *bounds, label="Disease") if kind == "Anatomy" and bounds in diseases else entity)
    guessed = [
        Span(doc, *bounds, label=kind)
        for kind in sorted(TYPES, key=lambda kind: kind != "Disease")  # of two as long the first stands
        if corpus not in TAUGHT_BY[kind]
        for bounds in found[kind]
    ]
    chosen: list[Span] = []
    for group in (taught, filter_spans(guessed), other):
        taken = {token for span in chosen for token in range(span.start, span.end)}
        chosen += (span for span in group if taken.isdisjoint(range(span.start, span.end)))
    return chosen


def _write(docs: Iterable[Doc], file: Path) -> None:
    DocBin(docs=docs, store_user_data=True).to_disk(file)


if __name__ == "__main__":
    step, *folders = sys.argv[1:]
    {"split": split, "complete": complete}[step](*map(Path, folders))
