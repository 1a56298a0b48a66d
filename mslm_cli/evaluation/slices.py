"""Slices of a test set: mentions told apart by their length and by what was known of them before."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mslm_cli.evaluation.spans import Int64, Spans
from mslm_cli.terms.lexicon import Term, matches_case
from mslm_cli.terms.tokens import exact_key, folded_key


@dataclass(frozen=True, slots=True)
class Slicing:
    """Which slice each mention falls into: indices into ``names``, int64 [n_gold] and [n_predicted].

    A slice depends on a mention's text alone, so that a correct prediction and its gold mention are in the same one.
    """

    names: tuple[str, ...]
    gold: Int64
    predicted: Int64


_FREQUENCIES = (("0", 1), ("1", 2), ("2-4", 5), ("5-19", 20))
"""Names of all slices of frequency but the last, and the frequency that each stays below."""


def by_length(gold: Spans, predicted: Spans) -> Slicing:
    """Mentions of 1, of 2, and of 3 and more words."""
    return Slicing(("1", "2", "3+"), *(np.minimum(side.n_words, 3) - 1 for side in (gold, predicted)))


def texts(spans: Spans, sentences: Sequence[Sequence[str]]) -> list[str]:
    """The text of each mention, its words with a space between them."""
    places = zip(spans.sentence.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    return [" ".join(sentences[i][start:end]) for i, start, end in places]


def train_counts(mentions: Iterable[str]) -> Counter[str]:
    """How often each text is a mention of the training data, by ``terms.tokens.folded_key``: case does not count."""
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
