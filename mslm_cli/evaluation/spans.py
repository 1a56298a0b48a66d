"""Mentions of a whole test set as arrays: what all scores are counted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mslm_cli.corpus.labels import Mention, split_tag

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
TagMode = Literal["strict", "default"]
Tags = Sequence[Sequence[str]]

_OUTSIDE = -1


@dataclass(frozen=True, slots=True)
class Spans:
    """Mentions ordered by sentence, start, end and type, each once.

    ``sentence``, ``start``, ``end`` (words [start, end)), ``kind`` (an index into ``types``): int64 [n].
    """

    sentence: Int64
    start: Int64
    end: Int64
    kind: Int64
    types: tuple[str, ...]
    n_sentences: int

    def __len__(self) -> int:
        return len(self.sentence)

    @property
    def n_words(self) -> Int64:
        """The length of each mention in words: int64 [n]."""
        return self.end - self.start

    def are_in(self, other: "Spans") -> Bool:
        """Whether each mention is one of ``other``'s, boundaries and type: bool [n]."""
        size = 1 + max(int(spans.end.max(initial=0)) for spans in (self, other))
        return np.isin(self._keys(size), other._keys(size), assume_unique=True)

    def _keys(self, size: int) -> Int64:
        return ((self.sentence * size + self.start) * size + self.end) * len(self.types) + self.kind


def paired_spans(gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]) -> tuple[Spans, Spans]:
    """Gold and predicted mentions, sentence by sentence, as arrays with the same types (sorted).

    Raises:
        ValueError: the two do not have the same number of sentences.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} sentences of gold against {len(predicted)} of predictions")
    rows = [[(i, *m) for i, mentions in enumerate(side) for m in set(mentions)] for side in (gold, predicted)]
    types = tuple(sorted({kind for side in rows for _, _, _, kind in side}))
    codes = {kind: code for code, kind in enumerate(types)}
    sides = []
    for side in rows:
        table = np.array([(i, start, end, codes[kind]) for i, start, end, kind in side], np.int64).reshape(-1, 4)
        table = table[np.lexsort(table.T[::-1])]
        sentence, start, end, kind_code = table.T
        sides.append(Spans(sentence, start, end, kind_code, types, len(gold)))
    return sides[0], sides[1]


def spans_from_tags(gold: Tags, predicted: Tags, reading: TagMode = "strict") -> tuple[Spans, Spans]:
    """The mentions of gold and of predicted IOB2 tags as arrays; ``types`` are those of all tags.

    ``strict``: a B- and the I- of its type right after it, as ``corpus.labels.strict_mentions`` reads them.
    ``default``: an I- that continues nothing starts a mention, as ``corpus.labels.mentions_from_tags`` reads it.

    Raises:
        ValueError: the two differ in their sentences or the words of one, or a tag is not IOB2.

    Source: seqeval 1.2.2, ``mode="strict", scheme=IOB2``, and its default mode.
    """
    lengths = [list(map(len, side)) for side in (gold, predicted)]
    if lengths[0] != lengths[1]:
        raise ValueError("gold and predicted tags differ in their sentences, or in the words of one")
    codes = {tag: code for code, tag in enumerate(dict.fromkeys(chain(*gold, *predicted)))}
    split = [split_tag(tag) for tag in codes]
    if wrong := [tag for tag, (prefix, _) in zip(codes, split, strict=True) if prefix not in "OBI"]:
        raise ValueError(f"tag {wrong[0]!r} is not IOB2")
    types = tuple(sorted({kind for _, kind in split if kind}))
    begins = np.array([prefix == "B" for prefix, _ in split], np.bool_)
    kinds = np.array([types.index(kind) if kind else _OUTSIDE for _, kind in split], np.int64)
    firsts = np.cumsum([0, *lengths[0]])
    n_words = int(firsts[-1])
    sides = []
    for side in (gold, predicted):
        tags = np.fromiter(map(codes.__getitem__, chain.from_iterable(side)), np.int64, n_words)
        of_word, is_begin = kinds[tags], begins[tags]
        # a word goes on with what stands before it, be it a mention, an orphan or nothing
        breaks = is_begin.copy()
        breaks[1:] |= of_word[1:] != of_word[:-1]
        breaks[firsts[:-1][np.diff(firsts) > 0]] = True
        starts = np.flatnonzero(is_begin if reading == "strict" else breaks & (of_word != _OUTSIDE))
        edges = np.append(np.flatnonzero(breaks), n_words)
        ends = edges[np.searchsorted(edges, starts, side="right")]
        sentence = np.searchsorted(firsts, starts, side="right") - 1
        offset = firsts[sentence]
        sides.append(Spans(sentence, starts - offset, ends - offset, of_word[starts], types, len(side)))
    return sides[0], sides[1]
