"""Pairs of mentions as sequences with typed entity markers, for training and prediction.

The head is shown as ``@ * type * mention @`` and the tail as ``# ^ type ^ mention #``, in tokens that every vocabulary
has; the states of the first tokens, ``@`` and ``#``, represent the pair. The markers are in the text, or follow it with
the positions of its mentions, so that one pass is enough for many pairs.

Source: Zhou and Chen (2022), "An Improved Baseline for Sentence-level Relation Extraction", section 3.1, typed entity
markers with punctuation.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.corpus.pairs import Instance
from mslm_cli.corpus.relations import RelationDocument
from mslm_cli.masking.batch import Int32, Int64, take_rows
from mslm_cli.models import special_frame
from mslm_cli.training.batching import on_device, pad, plan_forward_passes
from mslm_cli.training.classifier import label_names
from mslm_cli.training.device import predicting
from mslm_cli.training.layout import Layout
from mslm_cli.training.model import logits_at
from mslm_cli.training.selection import Selection
from mslm_cli.training.tagging import word_pieces

_MARKS = (("@", "*"), ("#", "^"))
_MAX_APPENDED = 32
"""Instances whose markers follow one text; in each sequence all of them see it, so more would only cost memory."""


class Markers(NamedTuple):
    """The tokens before and after a mention."""

    before: list[int]
    after: list[int]


class MarkedSequence(NamedTuple):
    """The tokens of a sequence, without special tokens, and the positions of the first marker of head and tail."""

    ids: list[int]
    head: int
    tail: int


@dataclass(frozen=True)
class PairSequences:
    """Concatenated sequences, each with one or several instances of pairs.

    offsets: int64 [n + 1]; sequence i is ``[offsets[i], offsets[i + 1])`` of ``input_ids``, int32 [T], with special
    tokens. instance_offsets: int64 [n + 1]; its instances are ``[instance_offsets[i], instance_offsets[i + 1])`` of
    heads, tails: int64 [I], positions in the sequence; and of order: int64 [I], the number of each instance as given.
    layout: of the tokens, if markers follow the text.
    """

    offsets: Int64
    input_ids: Int32
    instance_offsets: Int64
    heads: Int64
    tails: Int64
    order: Int64
    layout: Layout | None = None


class _Sequence(NamedTuple):
    """The tokens of a sequence, their positions and groups (``Layout``), and its instances: number, head, tail."""

    ids: list[int]
    positions: Sequence[int]
    groups: Sequence[int]
    instances: list[tuple[int, int, int]]


class _Body(NamedTuple):
    """The tokens of the ``words`` shown, and for each word its first token, and one for the end."""

    ids: list[int]
    words: tuple[int, ...]
    begins: list[int]

    @classmethod
    def of(cls, words: tuple[int, ...], pieces: Sequence[list[int]], capacity: int) -> Self:
        """At most ``capacity`` tokens; ``pieces``: those of each word of the document."""
        begins = [0, *accumulate(len(pieces[word]) for word in words)]
        ids = list(chain.from_iterable(pieces[word] for word in words))[:capacity]
        return cls(ids, words, [min(begin, len(ids)) for begin in begins])

    def place(self, mention: tuple[int, int]) -> tuple[int, int]:
        """The first and last token of a mention, words [first, end); of one that is cut out, of the nearest word."""
        left = min(bisect_left(self.words, mention[0]), len(self.words) - 1)
        right = max(left, bisect_left(self.words, mention[1]) - 1)
        return min(self.begins[left], len(self.ids) - 1), self.begins[right + 1] - 1


TypedInstance = tuple[str, str, Instance]
"""An instance of a pair, with the types of head and tail."""


class MarkedText:
    """The marked sequences of documents, for one tokenizer.

    Args:
        max_length: maximum number of tokens, including special tokens.
        context: sentences shown before and after those of the pair; None for all.
        is_appended: whether the markers of all pairs of a text follow it; otherwise each pair has a sequence, with
            markers around its mentions.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_length: int, context: int | None, *, is_appended: bool = False
    ) -> None:
        self._tokenizer, self._context, self._is_appended = tokenizer, context, is_appended
        self._prefix, self._suffix = special_frame(tokenizer)
        self._capacity = max_length - len(self._prefix) - len(self._suffix)
        self._markers: dict[tuple[int, str], Markers] = {}

    def sequences(
        self, documents: Sequence[RelationDocument], instances: Sequence[Sequence[TypedInstance]]
    ) -> PairSequences:
        """The sequences of the instances of each document."""
        words = [[document.text[start:end] for start, end in document.words] for document in documents]
        sequences_of = self._with_appended if self._is_appended else self._with_inserted
        found: list[_Sequence] = []
        first = 0
        for document, pieces, own in zip(documents, word_pieces(words, self._tokenizer), instances, strict=True):
            found += sequences_of(document, pieces, own, first)
            first += len(own)
        offsets = np.cumsum([0, *(len(each.ids) for each in found)])

        def flat(of_each: Iterable[Iterable[int]]) -> Int32:
            return np.fromiter(chain.from_iterable(of_each), np.int32, int(offsets[-1]))

        layout = None
        if self._is_appended:
            layout = Layout(flat(each.positions for each in found), flat(each.groups for each in found))
        order, heads, tails = np.array([i for each in found for i in each.instances], np.int64).reshape(-1, 3).T
        instance_offsets = np.cumsum([0, *(len(each.instances) for each in found)])
        return PairSequences(offsets, flat(each.ids for each in found), instance_offsets, heads, tails, order, layout)

    def _with_inserted(
        self, document: RelationDocument, pieces: Sequence[list[int]], own: Sequence[TypedInstance], first: int
    ) -> Iterator[_Sequence]:
        """A sequence for each instance, with markers around its mentions; ``first``: the number of the first one."""
        for number, (head_type, tail_type, instance) in enumerate(own, first):
            marked = self._marked(document, pieces, instance, (head_type, tail_type))
            ids = [*self._prefix, *marked.ids, *self._suffix]
            shift = len(self._prefix)
            yield _Sequence(ids, (), (), [(number, shift + marked.head, shift + marked.tail)])

    def _with_appended(
        self, document: RelationDocument, pieces: Sequence[list[int]], own: Sequence[TypedInstance], first: int
    ) -> Iterator[_Sequence]:
        """Sequences of the texts that the instances need, followed by the markers of as many of them as fit."""
        by_text: dict[tuple[int, ...], list[tuple[int, TypedInstance]]] = {}
        for number, typed in enumerate(own, first):
            mentions = (typed[2].head, typed[2].tail)
            text = words_shown(pieces, self._shown(document, mentions), mentions, self._capacity)
            by_text.setdefault(text, []).append((number, typed))
        for text, shown in by_text.items():
            body = _Body.of(text, pieces, self._capacity)
            start = [*self._prefix, *body.ids, *self._suffix]
            for i in range(0, len(shown), _MAX_APPENDED):
                ids, positions, groups = list(start), list(range(len(start))), [0] * len(start)
                instances = []
                for group, (number, (head_type, tail_type, pair)) in enumerate(shown[i : i + _MAX_APPENDED], 1):
                    at = []
                    for side, entity_type, mention in ((0, head_type, pair.head), (1, tail_type, pair.tail)):
                        markers = self._marker(side, entity_type)
                        left, right = (len(self._prefix) + end for end in body.place(mention))
                        at.append(len(ids))
                        ids += markers.before + markers.after
                        positions += [left] * len(markers.before) + [right] * len(markers.after)
                    groups += [group] * (len(ids) - len(groups))
                    instances.append((number, at[0], at[1]))
                yield _Sequence(ids, positions, groups, instances)

    def _shown(self, document: RelationDocument, mentions: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, int]:
        """The words [first, end) of the sentences to show."""
        first = document.sentence_of(min(start for start, _ in mentions))
        last = document.sentence_of(max(end for _, end in mentions) - 1)
        around = len(document.sentences) if self._context is None else self._context
        return (
            document.sentences[max(0, first - around)][0],
            document.sentences[min(len(document.sentences) - 1, last + around)][1],
        )

    def _marked(
        self, document: RelationDocument, pieces: Sequence[list[int]], instance: Instance, types: tuple[str, str]
    ) -> MarkedSequence:
        mentions = (instance.head, instance.tail)
        shown = self._shown(document, mentions)
        markers = (self._marker(0, types[0]), self._marker(1, types[1]))
        return fitted(mark(pieces, shown, mentions, markers), self._capacity)

    def _marker(self, side: int, entity_type: str) -> Markers:
        if (side, entity_type) not in self._markers:
            outer, inner = _MARKS[side]
            name = entity_type.replace("_", " ").lower().split()
            (pieces,) = word_pieces([[outer, inner, *name, inner]], self._tokenizer)
            self._markers[side, entity_type] = Markers(list(chain.from_iterable(pieces)), pieces[0])
        return self._markers[side, entity_type]


def words_shown(
    pieces: Sequence[list[int]],
    shown: tuple[int, int],
    mentions: tuple[tuple[int, int], tuple[int, int]],
    capacity: int,
) -> tuple[int, ...]:
    """The words of ``shown``, [first, end), that fit into ``capacity`` tokens, ascending; at least one.

    Those between and around the mentions come first; if they alone do not fit, their middle is left out.
    """
    start, end = min(mention[0] for mention in mentions), max(mention[1] for mention in mentions)
    # outwards from the pair, to both sides in turn, or inwards to its middle
    core, sizes = range(start, end), [len(of_word) for of_word in pieces]
    if sum(sizes[start:end]) <= capacity:
        first, room = [*core], capacity - sum(sizes[start:end])
        order = _in_turn([*range(start - 1, shown[0] - 1, -1)], [*range(end, shown[1])])
    else:
        half = len(core) // 2
        first, room, order = [], capacity, _in_turn([*core[:half]], [*core[half:]][::-1])
    for word in order:
        room -= sizes[word]
        if room < 0:
            break
        first.append(word)
    return tuple(sorted(first)) or (start,)


def _in_turn(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """The items of both, one of each in turn, then the rest of the longer."""
    n = min(len(left), len(right))
    return [*chain.from_iterable(zip(left[:n], right[:n], strict=True)), *left[n:], *right[n:]]


class Marked(NamedTuple):
    """A marked sequence of any length, and the tokens [core[0], core[1]) from the first marker to the last."""

    sequence: MarkedSequence
    core: tuple[int, int]


def mark(
    pieces: Sequence[list[int]],
    shown: tuple[int, int],
    mentions: tuple[tuple[int, int], tuple[int, int]],
    markers: tuple[Markers, Markers],
) -> Marked:
    """The words ``shown``, [first, last), with markers around both mentions, words [first, last); they may overlap.

    Without the markers, the tokens are those of the words.

    Args:
        pieces: the tokens of each word of the document.
    """
    ids: list[int] = []
    starts = [0, 0]
    ends = [0, 0]
    longer_first = sorted((0, 1), key=lambda side: mentions[side][0] - mentions[side][1])
    for word in range(*shown):
        for side in longer_first:
            if mentions[side][0] == word:
                starts[side] = len(ids)
                ids += markers[side].before
        ids += pieces[word]
        for side in reversed(longer_first):
            if mentions[side][1] == word + 1:
                ids += markers[side].after
                ends[side] = len(ids)
    return Marked(MarkedSequence(ids, *starts), (min(starts), max(ends)))


def fitted(marked: Marked, capacity: int) -> MarkedSequence:
    """The sequence cut to ``capacity`` tokens around the pair, as evenly as the text allows.

    If the pair alone is longer, the tokens between its first marker and its second are cut from the middle.
    """
    (ids, head, tail), (start, end) = marked
    if len(ids) <= capacity:
        return marked.sequence
    room = capacity - (end - start)
    if room >= 0:
        before = min(start, max(room // 2, room - (len(ids) - end)))
        first = start - before
        return MarkedSequence(ids[first : first + capacity], head - first, tail - first)
    later = max(head, tail)
    n_left = min(capacity // 2, later - start)
    from_ = min(max(end - (capacity - n_left), start + n_left), later)
    kept = [*ids[start : start + n_left], *ids[from_ : from_ + capacity - n_left]]
    positions = (0 if at == start else n_left + at - from_ for at in (head, tail))
    return MarkedSequence(kept, *positions)


@torch.inference_mode()
def pair_probabilities(
    model: PreTrainedModel, sequences: PairSequences, *, pad_id: int, batch_tokens: int
) -> NDArray[np.float32]:
    """The probability of every label for every instance, as given: float32 [I, n_labels]."""
    found = np.zeros((len(sequences.order), len(label_names(model))), np.float32)
    device, lengths = model.device, np.diff(sequences.offsets)
    model.train(False)
    for group in plan_forward_passes(np.arange(len(lengths)), lengths, batch_tokens):
        offsets, tokens = take_rows(sequences.offsets, group)
        instance_offsets, instances = take_rows(sequences.instance_offsets, group)
        batch = pad(sequences.input_ids[tokens], np.diff(offsets), pad_id)
        if sequences.layout is not None:
            batch = sequences.layout.taken(tokens).applied(batch)
        begins = np.repeat(batch.begins, np.diff(instance_offsets))
        positions = np.concatenate([begins + side[instances] for side in (sequences.heads, sequences.tails)])
        selection = on_device(Selection.of(batch, positions), device)
        with predicting(device):
            logits = logits_at(model, on_device(batch, device), selection)
        found[sequences.order[instances]] = logits.float().softmax(-1).cpu().numpy()
    return found
