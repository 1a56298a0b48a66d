"""The mentions of a test set as arrays, from which all scores are computed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mslm_cli.corpus.labels import STRICT, Mention, split_tag

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
        # the head of a relation, which is its start here, can have a larger number than the tail
        size = 1 + max(int(side.max(initial=0)) for spans in (self, other) for side in (spans.start, spans.end))
        return np.isin(self._keys(size), other._keys(size), assume_unique=True)

    def _keys(self, size: int) -> Int64:
        return ((self.sentence * size + self.start) * size + self.end) * len(self.types) + self.type_ids


def paired_spans(gold: Sequence[Collection[Mention]], predicted: Sequence[Collection[Mention]]) -> tuple[Spans, Spans]:
    """Gold and predicted mentions as arrays with the same (sorted) types, from lists by sentence.

    Raises:
        ValueError: the numbers of sentences differ.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences, but {len(predicted)} predicted ones")
    types = tuple(sorted({entity_type for side in (gold, predicted) for m in side for _, _, entity_type in m}))
    type_ids = {entity_type: i for i, entity_type in enumerate(types)}
    sides = []
    for side in (gold, predicted):
        rows = ((i, start, end, type_ids[t]) for i, mentions in enumerate(side) for start, end, t in set(mentions))
        table = np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 4)
        table = table[np.lexsort(table.T[::-1])]
        sentence, start, end, ids = table.T
        sides.append(Spans(sentence, start, end, ids, types, len(gold)))
    return sides[0], sides[1]


def spans_from_tags(
    gold: Tags, predicted: Tags, reading: TagMode = "strict", schemes: tuple[str, str] = ("IOB2", "IOB2")
) -> tuple[Spans, Spans]:
    """The mentions in gold and predicted tags as arrays; ``types`` are those of all tags.

    ``strict``: by the scheme taken at its word, as in ``corpus.labels.strict_mentions``.
    ``default``: a tag that continues no mention starts one, as in ``corpus.labels.mentions_from_tags``; L- is read as
    E-, U- as S-.

    Args:
        schemes: of the gold and of the predicted tags; they matter for ``strict`` alone.

    Raises:
        ValueError: the two differ in the number of sentences or words, or with ``strict`` a tag is not of its scheme.

    Source: seqeval 1.2.2, ``mode="strict"`` with its schemes, and its default mode.
    """
    lengths = [list(map(len, side)) for side in (gold, predicted)]
    if lengths[0] != lengths[1]:
        raise ValueError("gold and predicted tags differ in the number of sentences, or of words in one")
    codes = {tag: code for code, tag in enumerate(dict.fromkeys(chain(*gold, *predicted)))}
    split = [split_tag(tag) for tag in codes]
    types = tuple(sorted({entity_type for _, entity_type in split if entity_type}))
    type_ids = np.array([types.index(t) if t else _OUTSIDE for _, t in split], np.int64)
    prefixes = np.array([prefix for prefix, _ in split], dtype="U1")
    firsts = np.cumsum([0, *lengths[0]])
    n_words = int(firsts[-1])
    sides = []
    for side, scheme in zip((gold, predicted), schemes, strict=True):
        tags = np.fromiter(map(codes.__getitem__, chain.from_iterable(side)), np.int64, n_words)
        of_word, prefix = type_ids[tags], prefixes[tags]
        starts, ends = _segments(of_word, prefix, firsts[:-1][np.diff(firsts) > 0])
        if reading == "strict":
            if wrong := [tag for tag in dict.fromkeys(chain(*side)) if not _is_of(scheme, tag)]:
                raise ValueError(f"tag {wrong[0]!r} is not {scheme}")
            is_mention = _are_strict(prefix, starts, ends, scheme)
            starts, ends = starts[is_mention], ends[is_mention]
        sentence = np.searchsorted(firsts, starts, side="right") - 1
        offset = firsts[sentence]
        sides.append(Spans(sentence, starts - offset, ends - offset, of_word[starts], types, len(side)))
    return sides[0], sides[1]


def _is_of(scheme: str, tag: str) -> bool:
    """Whether ``tag`` has a prefix of the scheme."""
    return scheme not in STRICT or split_tag(tag)[0] in STRICT[scheme][0]


def _segments(of_word: Int64, prefix: NDArray[np.str_], firsts: Int64) -> tuple[Int64, Int64]:
    """Starts and ends of the runs of words that belong together in any scheme: int64 [n] each.

    A word with the type of its predecessor continues its run, unless one of the two prefixes says otherwise.

    Args:
        of_word: int64 [T]; the type of each word, or ``_OUTSIDE``.
        prefix: [T]; the prefix of its tag.
        firsts: int64; the first words of the sentences.
    """
    breaks = np.isin(prefix, ["B", "S", "U"])
    breaks[1:] |= (of_word[1:] != of_word[:-1]) | np.isin(prefix[:-1], ["E", "S", "L", "U"])
    breaks[firsts] = True
    edges = np.append(np.flatnonzero(breaks), len(of_word))
    is_inside = of_word[edges[:-1]] != _OUTSIDE
    return edges[:-1][is_inside], edges[1:][is_inside]


def _are_strict(prefix: NDArray[np.str_], starts: Int64, ends: Int64, scheme: str) -> Bool:
    """Whether each run is a mention of the scheme: bool [n]."""
    if scheme not in STRICT:  # every tag of IO and IOB1 is in its place
        return np.ones(len(starts), np.bool_)
    _, begin, single, end = STRICT[scheme]
    is_begun: Bool = prefix[starts] == begin
    if not end:
        return is_begun
    is_mention: Bool = (is_begun & (prefix[ends - 1] == end)) | (prefix[starts] == single)
    return is_mention
