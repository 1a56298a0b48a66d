"""Slices of a test set: mentions told apart by their length and by what was known of them before."""

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
    """Which slice each mention falls into: indices into ``names``, int64 [n_gold] and [n_predicted].

    A slice depends on a mention's text alone, so that a correct prediction and its gold mention are in the same one.
    """

    names: tuple[str, ...]
    gold: Int64
    predicted: Int64


KNOWLEDGE = ("seen_in_train", "train_frequency", "in_lexicon")
_FREQUENCIES = (("0", 1), ("1", 2), ("2-4", 5), ("5-19", 20))
"""Names of all slices of frequency but the last, and the frequency that each stays below."""


def by_length(gold: Spans, predicted: Spans) -> Slicing:
    """Mentions of 1, of 2, and of 3 and more words."""
    return Slicing(("1", "2", "3+"), *(np.minimum(side.n_words, 3) - 1 for side in (gold, predicted)))


def count_by_cluster(gold: Spans, predicted: Spans, clusters: Int64, by: Slicing) -> Float64:
    """Gold, predicted and correct mentions of each cluster and slice: float64 [n_clusters, n_slices, 3].

    Args:
        clusters: of each sentence, int64 [n_sentences] from 0.
    """
    n_clusters, size = int(clusters.max(initial=-1)) + 1, len(by.names)
    of_gold = clusters[gold.sentence] * size + by.gold
    of_predicted = clusters[predicted.sentence] * size + by.predicted
    columns = (of_gold, of_predicted, of_predicted[predicted.are_in(gold)])
    counts = np.stack([np.bincount(c, minlength=n_clusters * size) for c in columns], axis=-1)
    return counts.reshape(n_clusters, size, 3).astype(np.float64)


def texts(spans: Spans, sentences: Sequence[Sequence[str]]) -> list[str]:
    """The text of each mention, its words with a space between them."""
    places = zip(spans.sentence.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    return [" ".join(sentences[i][start:end]) for i, start, end in places]


def train_counts(mentions: Iterable[str]) -> Counter[str]:
    """How often each text is a mention of the training data, by ``text.tokens.folded_key``: case does not count."""
    return Counter(map(folded_key, mentions))


def by_train(gold: Sequence[str], predicted: Sequence[str], counts: Counter[str]) -> dict[str, Slicing]:
    """``seen_in_train`` and ``train_frequency`` of the texts of mentions.

    Args:
        counts: what ``train_counts`` says of the training data.
    """
    sides = [np.array([counts[folded_key(text)] for text in side], np.int64) for side in (gold, predicted)]
    limits = [limit for _, limit in _FREQUENCIES]
    names = (*(name for name, _ in _FREQUENCIES), f"{limits[-1]}+")
    return {
        "seen_in_train": Slicing(("seen", "unseen"), *((side == 0).astype(np.int64) for side in sides)),
        "train_frequency": Slicing(names, *(np.searchsorted(limits, side, side="right") for side in sides)),
    }


def by_lexicon(gold: Sequence[str], predicted: Sequence[str], terms: Iterable[Term]) -> Slicing:
    """Whether the texts of mentions are terms, each compared by its own case rule (``lexicon.matches_case``)."""
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
    """The slices ``KNOWLEDGE``, of mentions in sentences of ``words``; None where there is nothing to tell them by."""
    found: dict[str, Slicing | None] = dict.fromkeys(KNOWLEDGE)
    sides = texts(gold, words), texts(predicted, words)
    if train is not None:
        known = (" ".join(s.words[start:end]) for s in train.sentences for start, end, _ in s.mentions)
        found |= by_train(*sides, train_counts(known))
    if terms is not None:
        found["in_lexicon"] = by_lexicon(*sides, terms)
    return found
