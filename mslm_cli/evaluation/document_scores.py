"""Scores of relations, and of labels of documents, with their intervals, as the JSON values of results.json.

A relation is right if its document, head, tail and type are: direction counts.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.pairs import words_between
from mslm_cli.corpus.relations import RelationCorpus
from mslm_cli.corpus.scored_documents import ScoredDocument, ScoredDocuments
from mslm_cli.evaluation.slices import Slicing
from mslm_cli.evaluation.spans import Spans, paired_spans
from mslm_cli.evaluation.summary import summarise_labels
from mslm_cli.evaluation.uncertainty import LEVEL, clusters_of
from mslm_cli.text.tokens import folded_key

METRICS = {"relations": "relation F1", "documents": "label F1"}
"""User-facing names of the micro F1, by kind."""

_DISTANCES = (("0-4", 5), ("5-9", 10), ("10-19", 20), ("20-49", 50))
"""Names and exclusive upper limits of the slices by words between the two mentions, without the last."""


def score_documents(
    corpus: ScoredDocuments, train: LabelledCorpus | None, *, n_replicates: int, seed: int, n_examples: int
) -> dict[str, Any]:
    """All scores of ``corpus``.

    Args:
        train: the training data, for slices by whether a pair of entities is related there.
    """
    documents = corpus.documents
    gold, predicted = sides(corpus)
    clusters, unit = clusters_of([document.doc for document in documents])
    has_scores = len(predicted) > 0 and all(d.scores is not None for d in documents if d.predicted)
    scores = np.array([score for d in documents for score in d.scores or ()]) if has_scores else None
    found = errors(gold, predicted)
    return {
        "kind": corpus.kind,
        "n_sentences": sum(document.n_sentences for document in documents),
        "n_words": sum(document.n_words for document in documents),
        "n_documents": len(documents),
        "resampled": {
            "unit": unit if len(documents) > 1 else "documents",
            "n": int(clusters.max(initial=-1)) + 1,
            "replicates": n_replicates,
            "seed": seed,
            "level": LEVEL,
        },
        **summarise_labels(
            gold,
            predicted,
            clusters,
            slicings=slicings(corpus, gold, predicted, train),
            scores=scores,
            n_replicates=n_replicates,
            seed=seed,
        ),
        "errors": {
            kind: {
                "n": len(pairs),
                "examples": [
                    {
                        "sentence": documents[_row(gold, predicted, g, p)].id,
                        "gold": _item(gold, g),
                        "predicted": _item(predicted, p),
                    }
                    for g, p in pairs[:n_examples]
                ],
            }
            for kind, pairs in found.items()
        },
    }


def sides(corpus: ScoredDocuments) -> tuple[Spans, Spans]:
    """Gold and predicted items as arrays: the document, and head and tail in the place of start and end."""
    return paired_spans([d.gold for d in corpus.documents], [d.predicted for d in corpus.documents])


def slicings(
    corpus: ScoredDocuments, gold: Spans, predicted: Spans, train: LabelledCorpus | None
) -> dict[str, Slicing | None]:
    """Relations by distance, by whether one sentence has both mentions, by length, and by the training data.

    The last is None without ``train``; labels of documents have no slices.
    """
    if corpus.kind != "relations":
        return {}
    both = (gold, predicted)
    facts = [[_facts(corpus.documents[i], h, t) for i, h, t in _places(side)] for side in both]
    limits = [limit for _, limit in _DISTANCES]
    distance, sentence, length = ([np.array([fact[i] for fact in side], np.int64) for side in facts] for i in range(3))
    found: dict[str, Slicing | None] = {
        "distance": Slicing(
            (*(name for name, _ in _DISTANCES), f"{limits[-1]}+"),
            *(np.searchsorted(limits, side, side="right") for side in distance),
        ),
        "sentences": Slicing(("same", "different"), *sentence),
        "mention_length": Slicing(("1", "2", "3+"), *(np.minimum(side, 3) - 1 for side in length)),
        "seen_pair": None,
    }
    has_text = all(document.words is not None for document in corpus.documents)
    if isinstance(train, RelationCorpus) and (train.are_concepts or has_text):
        known = _related(train)
        unseen = [
            np.array([_key(corpus.documents[i], h, t, train) not in known for i, h, t in _places(side)], np.int64)
            for side in both
        ]
        found["seen_pair"] = Slicing(("related", "not related"), *unseen)
    return found


def _places(side: Spans) -> Iterator[tuple[int, int, int]]:
    yield from zip(side.sentence.tolist(), side.start.tolist(), side.end.tolist(), strict=True)


def _facts(document: ScoredDocument, head: int, tail: int) -> tuple[int, int, int]:
    """Of the nearest mentions: the words between them, whether their sentences differ, and the length of the longer."""
    distance, one, other = min(
        (words_between(one, other), one, other)
        for one in document.entities[head].mentions
        for other in document.entities[tail].mentions
    )
    first, second = (np.searchsorted(document.sentences, start, side="right") for start in (one[0], other[0]))
    return distance, int(first != second), max(one[1] - one[0], other[1] - other[0])


def _related(train: RelationCorpus) -> set[tuple[str, str]]:
    """The pairs that are related in the training data: their concepts, or the texts of their mentions."""
    return {
        (entities[head].id, entities[tail].id)
        if train.are_concepts
        else (_text(document.shown(entities[head].mentions[0])), _text(document.shown(entities[tail].mentions[0])))
        for document in train.documents
        for entities in [document.entities]
        for head, tail, _ in document.relations
    }


def _key(document: ScoredDocument, head: int, tail: int, train: RelationCorpus) -> tuple[str, str]:
    if train.are_concepts:
        return document.entities[head].id, document.entities[tail].id
    return _text(document.shown(head)), _text(document.shown(tail))


def _text(shown: str) -> str:
    return folded_key("".join(shown.split()))


def errors(gold: Spans, predicted: Spans) -> dict[str, list[tuple[int, int]]]:
    """The errors by kind: the numbers of the gold and the predicted item, -1 for none.

    A predicted relation of the right pair can have a wrong type, or else be of the right type and the reverse
    direction; each item is in at most one error. A wrong label is of the wrong type if its document has one label on
    both sides.
    """
    n_items = [np.bincount(side.sentence, minlength=side.n_sentences) for side in (gold, predicted)]
    is_single = (n_items[0] == 1) & (n_items[1] == 1)
    wrong = {_key_of(predicted, p): p for p in np.flatnonzero(~predicted.are_in(gold)).tolist()}
    missed = np.flatnonzero(~gold.are_in(predicted)).tolist()
    found: dict[str, list[tuple[int, int]]] = {"wrong_type": [], "wrong_direction": [], "missed": [], "spurious": []}
    by_pair: dict[tuple[int, int, int], list[tuple[int, int, int, int]]] = {}
    for key in wrong:
        by_pair.setdefault(key[:3], []).append(key)
    for g in missed:
        row, head, tail, kind = _key_of(gold, g)
        reverse = (row, tail, head, kind)
        same = [key for key in by_pair.get((row, head, tail), ()) if key in wrong]
        if same and (head != tail or is_single[row]):
            found["wrong_type"].append((g, wrong.pop(same[0])))
        elif reverse in wrong and head != tail:
            found["wrong_direction"].append((g, wrong.pop(reverse)))
        else:
            found["missed"].append((g, -1))
    found["spurious"] = [(-1, p) for p in sorted(wrong.values())]
    return found


def _key_of(side: Spans, i: int) -> tuple[int, int, int, int]:
    return int(side.sentence[i]), int(side.start[i]), int(side.end[i]), int(side.type_ids[i])


def _row(gold: Spans, predicted: Spans, g: int, p: int) -> int:
    return int(gold.sentence[g] if g >= 0 else predicted.sentence[p])


def _item(side: Spans, i: int) -> list[Any] | None:
    return None if i < 0 else [int(side.start[i]), int(side.end[i]), side.types[side.type_ids[i]]]


def lines_with_errors(corpus: ScoredDocuments) -> Iterator[dict[str, Any]]:
    """The lines of predictions.jsonl."""
    gold, predicted = sides(corpus)
    firsts = [np.searchsorted(side.sentence, np.arange(len(corpus.documents))) for side in (gold, predicted)]
    found: dict[int, list[dict[str, Any]]] = {}
    for kind, pairs in errors(gold, predicted).items():
        for g, p in pairs:
            row = _row(gold, predicted, g, p)
            numbers = {"gold": g - int(firsts[0][row])} if g >= 0 else {}
            numbers |= {"pred": p - int(firsts[1][row])} if p >= 0 else {}
            found.setdefault(row, []).append({"kind": kind, **numbers})
    for row, document in enumerate(corpus.documents):
        yield document.to_json() | ({"errors": found[row]} if row in found else {})
