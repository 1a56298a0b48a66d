"""Pairs of mentions as sequences with typed entity markers, for training and prediction.

The head is shown as ``@ * type * mention @`` and the tail as ``# ^ type ^ mention #``, in tokens that every vocabulary
has; the states of the first tokens, ``@`` and ``#``, represent the pair.

Source: Zhou and Chen (2022), "An Improved Baseline for Sentence-level Relation Extraction", section 3.1, typed entity
markers with punctuation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

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
from mslm_cli.training.model import logits_at
from mslm_cli.training.selection import Selection
from mslm_cli.training.tagging import word_pieces

_MARKS = (("@", "*"), ("#", "^"))


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
    """Concatenated sequences, one for each instance of a pair.

    offsets: int64 [n + 1]; sequence i is ``[offsets[i], offsets[i + 1])`` of ``input_ids``, int32 [T], with special
    tokens. heads, tails: int64 [n], positions in the sequence.
    """

    offsets: Int64
    input_ids: Int32
    heads: Int64
    tails: Int64

    def __len__(self) -> int:
        return len(self.heads)


class MarkedText:
    """The marked sequences of documents, for one tokenizer.

    Args:
        max_length: maximum number of tokens, including special tokens.
        context: sentences shown before and after those of the pair; None for all.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int, context: int | None) -> None:
        self._tokenizer, self._context = tokenizer, context
        self._prefix, self._suffix = special_frame(tokenizer)
        self._capacity = max_length - len(self._prefix) - len(self._suffix)
        self._markers: dict[tuple[int, str], Markers] = {}

    def sequences(
        self, documents: Sequence[RelationDocument], instances: Sequence[Sequence[tuple[str, str, Instance]]]
    ) -> PairSequences:
        """The sequences of the instances of each document, in order.

        Args:
            instances: of each document; each with the types of head and tail.
        """
        words = [[document.text[start:end] for start, end in document.words] for document in documents]
        ids: list[list[int]] = []
        heads, tails = [], []
        for document, pieces, own in zip(documents, word_pieces(words, self._tokenizer), instances, strict=True):
            for head_type, tail_type, instance in own:
                marked = self._marked(document, pieces, instance, (head_type, tail_type))
                ids.append([*self._prefix, *marked.ids, *self._suffix])
                heads.append(len(self._prefix) + marked.head)
                tails.append(len(self._prefix) + marked.tail)
        offsets = np.cumsum([0, *map(len, ids)])
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1]))
        return PairSequences(offsets, flat, np.array(heads, np.int64), np.array(tails, np.int64))

    def _marked(
        self, document: RelationDocument, pieces: Sequence[list[int]], instance: Instance, types: tuple[str, str]
    ) -> MarkedSequence:
        mentions = (instance.head, instance.tail)
        first = document.sentence_of(min(start for start, _ in mentions))
        last = document.sentence_of(max(end for _, end in mentions) - 1)
        around = len(document.sentences) if self._context is None else self._context
        shown = (
            document.sentences[max(0, first - around)][0],
            document.sentences[min(len(document.sentences) - 1, last + around)][1],
        )
        markers = (self._marker(0, types[0]), self._marker(1, types[1]))
        return fitted(mark(pieces, shown, mentions, markers), self._capacity)

    def _marker(self, side: int, entity_type: str) -> Markers:
        if (side, entity_type) not in self._markers:
            outer, inner = _MARKS[side]
            name = entity_type.replace("_", " ").lower().split()
            (pieces,) = word_pieces([[outer, inner, *name, inner]], self._tokenizer)
            self._markers[side, entity_type] = Markers(list(chain.from_iterable(pieces)), pieces[0])
        return self._markers[side, entity_type]


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
    """The probability of every label for every sequence: float32 [n, n_labels]."""
    found = np.zeros((len(sequences), len(label_names(model))), np.float32)
    device = model.device
    model.train(False)
    for group in plan_forward_passes(np.arange(len(sequences)), np.diff(sequences.offsets), batch_tokens):
        offsets, tokens = take_rows(sequences.offsets, group)
        batch = pad(sequences.input_ids[tokens], np.diff(offsets), pad_id)
        positions = np.concatenate([batch.begins + side[group] for side in (sequences.heads, sequences.tails)])
        selection = on_device(Selection.of(batch, positions), device)
        with predicting(device):
            logits = logits_at(model, on_device(batch, device), selection)
        found[group] = logits.float().softmax(-1).cpu().numpy()
    return found
