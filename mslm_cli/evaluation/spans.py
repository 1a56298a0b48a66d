"""The mentions of a test set as arrays, from which all scores are computed."""

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
    """Distinct mentions, ordered by sentence, start, end and type.

    ``sentence``, ``start``, ``end`` (words [start, end)), ``type_ids`` (indices into ``types``): int64 [n].
    """

    sentence: Int64
    start: Int64
    end: Int64
    type_ids: Int64
    types: tuple[str, ...]
    n_sentences: int

    def __len__(self) -> int:
        return len(self.sentence)

    @property
    def n_words(self) -> Int64:
        """The length of each mention in words: int64 [n]."""
        return self.end - self.start

    def are_in(self, other: "Spans") -> Bool:
        """Whether each mention is in ``other``, with the same boundaries and type: bool [n]."""
        size = 1 + max(int(spans.end.max(initial=0)) for spans in (self, other))
        return np.isin(self._keys(size), other._keys(size), assume_unique=True)

    def _keys(self, size: int) -> Int64:
        return ((self.sentence * size + self.start) * size + self.end) * len(self.types) + self.type_ids


def paired_spans(gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]) -> tuple[Spans, Spans]:
    """Gold and predicted mentions as arrays with the same (sorted) types, from lists by sentence.

    Raises:
        ValueError: the numbers of sentences differ.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences, but {len(predicted)} predicted ones")
    rows = [[(i, *m) for i, mentions in enumerate(side) for m in set(mentions)] for side in (gold, predicted)]
    types = tuple(sorted({entity_type for side in rows for _, _, _, entity_type in side}))
    type_ids = {entity_type: i for i, entity_type in enumerate(types)}
    sides = []
    for side in rows:
        table = np.array([(i, start, end, type_ids[t]) for i, start, end, t in side], np.int64).reshape(-1, 4)
        table = table[np.lexsort(table.T[::-1])]
        sentence, start, end, ids = table.T
        sides.append(Spans(sentence, start, end, ids, types, len(gold)))
    return sides[0], sides[1]


def spans_from_tags(gold: Tags, predicted: Tags, reading: TagMode = "strict") -> tuple[Spans, Spans]:
    """The mentions in gold and predicted IOB2 tags as arrays; ``types`` are those of all tags.

    ``strict``: a B- and the I- of its type that follow it, as in ``corpus.labels.strict_mentions``.
    ``default``: an I- that continues no mention starts one, as in ``corpus.labels.mentions_from_tags``.

    Raises:
        ValueError: the two differ in the number of sentences or words, or a tag is not IOB2.

    Source: seqeval 1.2.2, ``mode="strict", scheme=IOB2``, and its default mode.
    """
    lengths = [list(map(len, side)) for side in (gold, predicted)]
    if lengths[0] != lengths[1]:
        raise ValueError("gold and predicted tags differ in the number of sentences, or of words in one")
    codes = {tag: code for code, tag in enumerate(dict.fromkeys(chain(*gold, *predicted)))}
    split = [split_tag(tag) for tag in codes]
    if wrong := [tag for tag, (prefix, _) in zip(codes, split, strict=True) if prefix not in "OBI"]:
        raise ValueError(f"tag {wrong[0]!r} is not IOB2")
    types = tuple(sorted({entity_type for _, entity_type in split if entity_type}))
    begins = np.array([prefix == "B" for prefix, _ in split], np.bool_)
    type_ids = np.array([types.index(t) if t else _OUTSIDE for _, t in split], np.int64)
    firsts = np.cumsum([0, *lengths[0]])
    n_words = int(firsts[-1])
    sides = []
    for side in (gold, predicted):
        tags = np.fromiter(map(codes.__getitem__, chain.from_iterable(side)), np.int64, n_words)
        of_word, is_begin = type_ids[tags], begins[tags]
        # a word with the type (or no type) of its predecessor continues it, unless it is a B-
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
