"""Sequences with labelled tokens, their microbatches and loss, for fine-tuning on tasks.

``LabelledSequences.update`` reads the sequences of one optimizer step; ``LabelledUpdate.microbatches`` splits them;
``LabelledBatch.loss`` is a microbatch's contribution to the loss of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.masking.batch import Int32, Int64, take_rows
from mslm_cli.masking.random import child, named_stream, uniforms
from mslm_cli.training import ranks
from mslm_cli.training.batching import Collator, Convert, ModelBatch, RaggedTargets, Targets, on_device, split_rows
from mslm_cli.training.fixed_shapes import fix_targets
from mslm_cli.training.heads import MaskedLmHead
from mslm_cli.training.layout import Layout
from mslm_cli.training.losses import multi_label_loss, partial_cross_entropy, weighted_cross_entropy
from mslm_cli.training.model import logits_and_states_at, logits_at
from mslm_cli.training.selection import Selection

_HIDE = named_stream("words hidden in fine-tuning")
MASKED_LM_HEAD = "masked_lm_head"
"""The name of the module that predicts hidden tokens, where a model has one while it is trained."""
_NO_SETS = np.zeros((0, 0), dtype=np.bool_)


@dataclass(frozen=True)
class TrainingSource:
    """Sentences to learn from, and what is known of their labels.

    types: the types that are annotated in them. A word without a label may belong to any other type.
    weights: the weight of each sentence in the loss; None for 1. is_noisy: a model gave the labels.
    """

    corpus: LabelledCorpus
    types: frozenset[str]
    weights: tuple[float, ...] | None = None
    is_noisy: bool = False


@dataclass(frozen=True)
class Hiding:
    """Words of the input that are sometimes replaced by the mask token in training, while their labels stay.

    units: int64 [T]; the unit of each token, which is hidden as a whole; -1 for tokens that never are.
    rates: float64 [n_units]; the probability that a unit is hidden in an epoch.
    weights: float32 [n_units]; the weight of a unit's tokens if they are to be predicted.
    mlm: the weight of the loss of predicting what is hidden; 0 for none.
    """

    units: Int64
    rates: NDArray[np.float64]
    weights: NDArray[np.float32]
    mask_id: int
    seed: int
    mlm: float = 0.0

    def hidden(self, tokens: Int64, epoch: int) -> NDArray[np.bool_]:
        """Whether each of ``tokens`` (int64 indices) is hidden in this epoch: bool.

        The draw depends only on the seed, the epoch and the unit.
        """
        units = self.units[tokens]
        key = np.full(1, child(child(child(self.seed, 0), epoch), _HIDE), dtype=np.uint64)
        hidden: NDArray[np.bool_] = (units >= 0) & (uniforms(key, np.maximum(units, 0)) < self.rates[units])
        return hidden


@dataclass(frozen=True)
class LabelledSequences:
    """Concatenated sequences with some labelled tokens.

    offsets: int64 [n + 1]; sequence i is ``[offsets[i], offsets[i + 1])`` of ``input_ids``, int32 [T].
    label_offsets: int64 [n + 1]; its labels are ``[label_offsets[i], label_offsets[i + 1])`` of ``positions``,
    int64 [P], labelled positions in the sequence, ascending, and of ``classes``, int64 [P], their labels.
    label_sets: bool [n_sets, n_labels]; class ``n_labels + i`` stands for any of the labels in row i.
    weights: float32 [n], of the labels of each sequence in the loss; None for 1. is_noisy: bool [n], labelled by a
    model; None for no sequence. origins: int64 [n], the source of each sequence; None if there is only one.
    partners: int64 [P], a second position of each label, for labels of pairs; None if labels are of single positions.
    is_multi: whether a class is a row of ``label_sets`` that holds all labels which apply.
    layout: of the tokens, if they are not simply one after the other.
    """

    offsets: Int64
    input_ids: Int32
    label_offsets: Int64
    positions: Int64
    classes: Int64
    label_sets: NDArray[np.bool_] = field(default_factory=lambda: _NO_SETS)
    weights: NDArray[np.float32] | None = None
    is_noisy: NDArray[np.bool_] | None = None
    origins: Int64 | None = None
    hiding: Hiding | None = None
    partners: Int64 | None = None
    is_multi: bool = False
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """Tokens in each sequence, including special tokens: int64 [n]."""
        return np.diff(self.offsets)

    def update(self, sequences: Int64, epoch: int, collate_fn: Collator, device: torch.device) -> "LabelledUpdate":
        """The optimizer step over the sequences with these numbers: this process's part of it."""
        n_labels = np.diff(self.label_offsets)
        total_weight = float((n_labels[sequences] * self._weights(sequences)).sum()) or 1.0
        local = ranks.local_share(sequences)
        local = local[np.argsort(self.lengths[local], kind="stable")]
        offsets, tokens = take_rows(self.offsets, local)
        label_offsets, labels = take_rows(self.label_offsets, local)
        flat = np.repeat(offsets[:-1], np.diff(label_offsets)) + self.positions[labels]
        weights = np.repeat(self._weights(local), n_labels[local]).astype(np.float32)
        targets = RaggedTargets(label_offsets, flat, self.classes[labels], weights, total_weight)
        partners = None
        if self.partners is not None:
            partners = np.repeat(offsets[:-1], np.diff(label_offsets)) + self.partners[labels]
        input_ids, masked = self.input_ids[tokens], None
        if self.hiding is not None:
            hidden = np.flatnonzero(self.hiding.hidden(tokens, epoch))
            if self.hiding.mlm:
                masked = self._masked(offsets, tokens, hidden)
            input_ids[hidden] = self.hiding.mask_id
        is_noisy = None if self.is_noisy is None else np.repeat(self.is_noisy[local], n_labels[local])
        own = LabelledUpdate(offsets, input_ids, targets, self.label_sets, is_noisy, masked, collate_fn, device)
        layout = None if self.layout is None else self.layout.taken(tokens)
        return replace(own, partners=partners, is_multi=self.is_multi, layout=layout)

    def _masked(self, offsets: Int64, tokens: Int64, hidden: Int64) -> RaggedTargets:
        """The targets of predicting the ``hidden`` ones of ``tokens``; their losses sum to ``mlm`` times the mean."""
        assert self.hiding is not None
        weights = self.hiding.weights[self.hiding.units[tokens[hidden]]]
        total_weight = (ranks.total(float(weights.sum())) or 1.0) / self.hiding.mlm
        classes = self.input_ids[tokens[hidden]].astype(np.int64)
        return RaggedTargets(np.searchsorted(hidden, offsets), hidden, classes, weights, total_weight)

    def _weights(self, sequences: Int64) -> NDArray[np.float32]:
        return np.ones(len(sequences), np.float32) if self.weights is None else self.weights[sequences]


@dataclass(frozen=True)
class LabelledBatch:
    """The labelled sequences of a forward pass.

    selection: the positions of the targets, then of ``masked``. label_sets: as in ``LabelledSequences``. is_noisy: bool
    [n_labels], of each target; None for none. masked: the hidden tokens to predict, if any are to be.
    """

    model_batch: ModelBatch
    targets: Targets
    selection: Selection
    label_sets: Any
    is_noisy: Any = None
    masked: Targets | None = None
    is_multi: bool = False

    @property
    def graph_key(self) -> object:
        """What a graph of its pass depends on beside the shapes of arrays; None if there can be none."""
        return self.model_batch.graph_key if self.selection.has_fixed_shape else None

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.model_batch.lengths.sum())

    def mapped(self, convert: Convert) -> "LabelledBatch":
        """A copy with ``convert`` applied to what a pass needs."""
        is_noisy = None if self.is_noisy is None else convert(self.is_noisy)
        label_sets = convert(self.label_sets) if len(self.label_sets) else self.label_sets
        masked = None if self.masked is None else self.masked.mapped(convert)
        batch, targets = self.model_batch.mapped(convert), self.targets.mapped(convert)
        selection = self.selection.mapped(convert)
        return LabelledBatch(batch, targets, selection, label_sets, is_noisy, masked, self.is_multi)

    @property
    def reported(self) -> None:
        """Nothing but the loss."""

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """This microbatch's contribution to the loss of its step, a scalar with gradient."""
        if self.masked is None or not len(self.masked.positions):
            return self._label_loss(logits_at(model, self.model_batch, self.selection))
        logits, states = logits_and_states_at(model, self.model_batch, self.selection)
        head: MaskedLmHead = getattr(model, MASKED_LM_HEAD)
        return self._label_loss(logits) + weighted_cross_entropy(head(states), *self.masked[1:])[0]

    def _label_loss(self, logits: torch.Tensor) -> torch.Tensor:
        if self.is_multi:
            losses = multi_label_loss(logits, self.label_sets[self.targets.classes])
            total: torch.Tensor = (losses * self.targets.weights).sum() / self.targets.total_weight
            return total
        if self.is_noisy is None and not len(self.label_sets):
            return weighted_cross_entropy(logits, *self.targets[1:])[0]
        losses = partial_cross_entropy(logits, self.targets.classes, self.label_sets, self.is_noisy)
        weighted: torch.Tensor = losses * self.targets.weights
        return weighted.sum() / self.targets.total_weight


@dataclass(frozen=True)
class LabelledUpdate:
    """The labelled sequences of an optimizer step on this process, shortest first, as flat arrays.

    offsets: int64 [n + 1]. input_ids: int32 [T]; layout: theirs. label_sets, is_noisy, masked: as in ``LabelledBatch``.
    partners: int64 [P], as indices into ``input_ids``; else as in ``LabelledSequences``.
    """

    offsets: Int64
    input_ids: NDArray[np.int32]
    targets: RaggedTargets
    label_sets: NDArray[np.bool_]
    is_noisy: NDArray[np.bool_] | None
    masked: RaggedTargets | None
    collate_fn: Collator
    device: torch.device
    partners: Int64 | None = None
    is_multi: bool = False
    layout: Layout | None = None

    @property
    def is_plain(self) -> bool:
        """Whether every target is one label of one position that counts as certain, and nothing else is predicted."""
        is_single = self.partners is None and not len(self.label_sets)
        return is_single and self.is_noisy is None and self.masked is None

    def microbatches(self, max_tokens: int) -> list[LabelledBatch]:
        """The forward passes of the step, each with at most ``max_tokens`` tokens or one sequence, on the device."""
        groups = split_rows(np.diff(self.offsets), max_tokens)
        return [on_device(self._rows(first, last), self.device) for first, last in groups]

    def _rows(self, first: int, last: int) -> LabelledBatch:
        offsets = self.offsets[first : last + 1]
        tokens = slice(offsets[0], offsets[-1])
        model_batch = self.collate_fn(self.input_ids[tokens], np.diff(offsets))
        if self.layout is not None:
            model_batch = self.layout.taken(tokens).applied(model_batch)
        shift = model_batch.begins - offsets[:-1]
        targets = self.targets.rows(first, last, shift)
        masked = None if self.masked is None else self.masked.rows(first, last, shift)
        is_noisy = None if self.is_noisy is None else self.is_noisy[self.targets.part(first, last)]
        positions = targets.positions
        if self.partners is not None:
            second = self.partners[self.targets.part(first, last)] + self.targets.spread(first, last, shift)
            positions = np.concatenate([positions, second])
        selection = Selection.of(model_batch, positions, None if masked is None else masked.positions)
        if model_batch.has_fixed_shape and self.is_plain:
            selection, targets = fix_targets(model_batch, selection, targets)
        return LabelledBatch(model_batch, targets, selection, self.label_sets, is_noisy, masked, self.is_multi)


def concatenated(parts: Sequence[LabelledSequences]) -> LabelledSequences:
    """The sequences of all ``parts``, which have the same ``label_sets``; part i has origin i."""

    def joined_offsets(offsets: Sequence[Int64]) -> Int64:
        return np.cumsum(np.concatenate([[0], *map(np.diff, offsets)]))

    noisy = [np.zeros(len(p), np.bool_) if p.is_noisy is None else p.is_noisy for p in parts]
    return LabelledSequences(
        joined_offsets([p.offsets for p in parts]),
        np.concatenate([p.input_ids for p in parts]),
        joined_offsets([p.label_offsets for p in parts]),
        np.concatenate([p.positions for p in parts]),
        np.concatenate([p.classes for p in parts]),
        parts[0].label_sets,
        np.concatenate([p._weights(np.arange(len(p))) for p in parts]),
        np.concatenate(noisy) if any(p.is_noisy is not None for p in parts) else None,
        np.repeat(np.arange(len(parts)), list(map(len, parts))),
        _hiding_of([p.hiding for p in parts if p.hiding is not None]),
    )


def _hiding_of(parts: Sequence[Hiding]) -> Hiding | None:
    if not parts:
        return None
    first = np.cumsum([0, *(len(p.rates) for p in parts)])[:-1]
    units = [np.where(p.units < 0, -1, p.units + start) for p, start in zip(parts, first, strict=True)]
    rates, weights = (np.concatenate([getattr(p, name) for p in parts]) for name in ("rates", "weights"))
    return replace(parts[0], units=np.concatenate(units), rates=rates, weights=weights)
