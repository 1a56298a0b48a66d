"""Slices of a test set: mentions by length, by training data and by lexicon."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.evaluation.spans import Int64, Spans
from mslm_cli.evaluation.uncertainty import Float64
from mslm_cli.terms.lexicon import Term, matches_case
from mslm_cli.text.tokens import exact_key, folded_key


@dataclass(frozen=True, slots=True)
class Slicing:
    """The slice of each mention: indices into ``names``, int64 [n_gold] and [n_predicted].

    The slice depends only on a mention's text, so a correct prediction is in the same slice as its gold mention.
    """

    names: tuple[str, ...]
    gold: Int64
    predicted: Int64


KNOWLEDGE = ("seen_in_train", "train_frequency", "in_lexicon")
_FREQUENCIES = (("0", 1), ("1", 2), ("2-4", 5), ("5-19", 20))
"""Names and exclusive upper limits of the frequency slices, without the last."""


def by_length(gold: Spans, predicted: Spans) -> Slicing:
    """Mentions of 1, 2, and 3 or more words."""
    return Slicing(("1", "2", "3+"), *(np.minimum(side.n_words, 3) - 1 for side in (gold, predicted)))


def everything(gold: Spans, predicted: Spans) -> Slicing:
    """All in one slice."""
    return Slicing(("all",), *(np.zeros(len(side), np.int64) for side in (gold, predicted)))


def all_and_types(gold: Spans, predicted: Spans) -> dict[str, Slicing]:
    """Slicings by title: everything in one, and the gold types; other types share the last, as in every run."""
    present = sorted(set(gold.type_ids.tolist()))
    slice_of: Int64 = np.full(len(gold.types) + 1, len(present))
    slice_of[present] = np.arange(len(present))
    of_types = Slicing(
        (*(gold.types[k] for k in present), "others"), slice_of[gold.type_ids], slice_of[predicted.type_ids]
    )
    return {"": everything(gold, predicted), "type": of_types}


def count_by_cluster(gold: Spans, predicted: Spans, clusters: Int64, by: Slicing) -> Float64:
    """Gold, predicted and correct mentions by cluster and slice: float64 [n_clusters, n_slices, 3].

    Args:
        clusters: the cluster of each sentence, int64 [n_sentences] from 0.
    """
    n_clusters, size = int(clusters.max(initial=-1)) + 1, len(by.names)
    of_gold = clusters[gold.sentence] * size + by.gold
    of_predicted = clusters[predicted.sentence] * size + by.predicted
    columns = (of_gold, of_predicted, of_predicted[predicted.are_in(gold)])
    counts = np.stack([np.bincount(c, minlength=n_clusters * size) for c in columns], axis=-1)
    return counts.reshape(n_clusters, size, 3).astype(np.float64)


def texts(spans: Spans, sentences: Sequence[Sequence[str]]) -> list[str]:
    """The text of each mention: its words, joined by spaces."""
    places = zip(spans.sentence.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    return [" ".join(sentences[i][start:end]) for i, start, end in places]


def train_counts(mentions: Iterable[str]) -> Counter[str]:
    """The number of training mentions with each text, case-insensitive (``text.tokens.folded_key``)."""
    return Counter(map(folded_key, mentions))


def by_train(gold: Sequence[str], predicted: Sequence[str], counts: Counter[str]) -> dict[str, Slicing]:
    """The slicings ``seen_in_train`` and ``train_frequency``, from the texts of mentions.

    Args:
        counts: of the training mentions, from ``train_counts``.
    """
    sides = [np.array([counts[folded_key(text)] for text in side], np.int64) for side in (gold, predicted)]
    limits = [limit for _, limit in _FREQUENCIES]
    names = (*(name for name, _ in _FREQUENCIES), f"{limits[-1]}+")
    return {
        "seen_in_train": Slicing(("seen", "unseen"), *((side == 0).astype(np.int64) for side in sides)),
        "train_frequency": Slicing(names, *(np.searchsorted(limits, side, side="right") for side in sides)),
    }


def by_lexicon(gold: Sequence[str], predicted: Sequence[str], terms: Iterable[Term]) -> Slicing:
    """Whether the texts of mentions are lexicon terms, by each term's case rule (``lexicon.matches_case``)."""
    exact: set[str] = set()
    any_case: set[str] = set()
    for term in terms:
        if matches_case(term):
            exact.add(exact_key(term.term))
        else:
            any_case.add(folded_key(term.term))
    sides = [
        np.array([exact_key(text) not in exact and folded_key(text) not in any_case for text in side], np.int64)
        for side in (gold, predicted)
    ]
    return Slicing(("in", "not in"), *sides)


def by_knowledge(
    gold: Spans,
    predicted: Spans,
    words: Sequence[Sequence[str]],
    train: LabelledCorpus | None,
    terms: Iterable[Term] | None,
) -> dict[str, Slicing | None]:
    """The slicings ``KNOWLEDGE`` of mentions in sentences ``words``; None if their source is not given."""
    found: dict[str, Slicing | None] = dict.fromkeys(KNOWLEDGE)
    sides = texts(gold, words), texts(predicted, words)
    if train is not None:
        known = (" ".join(s.words[start:end]) for s in train.sentences for start, end, _ in s.mentions)
        found |= by_train(*sides, train_counts(known))
    if terms is not None:
        found["in_lexicon"] = by_lexicon(*sides, terms)
    return found
