"""Masked sequences, their microbatches and loss.

``MaskedData.update`` reads the sequences and masks of one optimizer step; ``MaskedUpdate.microbatches`` splits them;
``MaskedBatch.loss`` is a microbatch's contribution to the loss of the step.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.batch import DS_TERM, GENERIC, Int64, Masks, RaggedBatch, flat_ranges
from mslm_cli.masking.recipe import MaskSource
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import KindWeights
from mslm_cli.training import ranks
from mslm_cli.training.batching import (
    Array,
    Collator,
    Convert,
    ModelBatch,
    RaggedTargets,
    Targets,
    on_device,
    split_rows,
)
from mslm_cli.training.fixed_shapes import fix_targets
from mslm_cli.training.heads import SpanBoundaryHead, detection_head, embeddings_of, runs
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_and_states_at
from mslm_cli.training.selection import Selection

_SPAN_BOUNDARY, _DETECTION = "span_boundary_head", "detection_head"


class Objectives(NamedTuple):
    """The weights of additional objectives; 0 disables one.

    sbo: predict each run of masked tokens from its neighbours. detect: detect unmasked DS-mentions, by type.
    """

    sbo: float = 0.0
    detect: float = 0.0


class Neighbours(NamedTuple):
    """For each predicted token: the tokens left and right of its run, and its position in the run.

    left, right: int64 [n_predicted], in the flattened batch. places: int64 [n_predicted], from 0.
    """

    left: Int64
    right: Int64
    places: Int64


@dataclass
class MaskedBatch:
    """The masked sequences of a forward pass; ``loss`` sets ``reported``.

    selection: the positions of the targets, then those of the neighbours and of the detection targets. kinds: uint8
    [n_predicted], GENERIC or DS_TERM, in numpy. of_kind: bool [2, n_predicted], where each kind is. places: int64
    [n_predicted], the place of each predicted token in its run, for the span-boundary objective. detection: for the
    detection objective, the unmasked tokens, with the classes of ``detection_head``. reported: float64 [4], the summed
    cross entropy of predicted generic words and DS-terms, in nats, and the number of each whose top prediction is
    correct.
    """

    model_batch: ModelBatch
    targets: Targets
    selection: Selection
    kinds: NDArray[np.uint8]
    of_kind: Array
    objectives: Objectives
    places: Array | None = None
    detection: Targets | None = None
    reported: torch.Tensor | None = None

    @property
    def graph_key(self) -> object:
        """What a graph of its pass depends on beside the shapes of arrays; None if there can be none."""
        return self.model_batch.graph_key if self.selection.has_fixed_shape else None

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.model_batch.lengths.sum())

    def mapped(self, convert: Convert) -> "MaskedBatch":
        """A copy with ``convert`` applied to what a pass needs; ``kinds`` stay as they are."""
        return replace(
            self,
            model_batch=self.model_batch.mapped(convert),
            targets=self.targets.mapped(convert),
            selection=self.selection.mapped(convert),
            of_kind=convert(self.of_kind),
            places=None if self.places is None else convert(self.places),
            detection=self.detection and self.detection.mapped(convert),
        )

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """This microbatch's contribution to the loss of its step, a scalar with gradient.

        Args:
            model: with a head for each objective (``add_heads``).
        """
        _, classes, weights, total = self.targets
        logits, states = logits_and_states_at(model, self.model_batch, self.selection)
        loss, per_position = weighted_cross_entropy(logits, classes, weights, total)
        self.reported = self._by_kind(per_position, logits.detach().argmax(-1) == classes)
        if self.places is not None:
            left, right = states[: 2 * len(classes)].chunk(2)
            logits = model.get_submodule(_SPAN_BOUNDARY)(left, right, self.places, embeddings_of(model))
            loss = loss + self.objectives.sbo * weighted_cross_entropy(logits, classes, weights, total)[0]
        if self.detection:
            logits = model.get_submodule(_DETECTION)(states[len(states) - len(self.detection.positions) :])
            loss = loss + self.objectives.detect * weighted_cross_entropy(logits, *self.detection[1:])[0]
        return loss

    def _by_kind(self, losses: torch.Tensor, is_top: torch.Tensor) -> torch.Tensor:
        scores = torch.stack([losses.double(), is_top.double()])
        return torch.where(self.of_kind, scores[:, None], 0.0).sum(-1).flatten()


@dataclass(frozen=True)
class MaskedUpdate:
    """The masked sequences of an optimizer step on this process, shortest first, as flat arrays.

    offsets: int64 [n + 1]. input_ids: int32 [T], as the model gets them. kinds: as in ``MaskedBatch``.
    neighbours: positions in the flat arrays.
    """

    offsets: Int64
    input_ids: NDArray[np.int32]
    targets: RaggedTargets
    kinds: NDArray[np.uint8]
    neighbours: Neighbours | None
    detection: RaggedTargets | None
    data: "MaskedData"

    def microbatches(self, max_tokens: int) -> list[MaskedBatch]:
        """The forward passes of the step, each with at most ``max_tokens`` tokens or one sequence, on the device."""
        return [on_device(batch, self.data.device) for batch in self.arrays(max_tokens)]

    def arrays(self, max_tokens: int) -> list[MaskedBatch]:
        """The forward passes as numpy arrays."""
        return [self._rows(first, last) for first, last in split_rows(np.diff(self.offsets), max_tokens)]

    def _rows(self, first: int, last: int) -> MaskedBatch:
        offsets = self.offsets[first : last + 1]
        model_batch = self.data.collate_fn(self.input_ids[offsets[0] : offsets[-1]], np.diff(offsets))
        shift = model_batch.begins - offsets[:-1]
        part, targets = self.targets.part(first, last), self.targets.rows(first, last, shift)
        detection = self.detection.rows(first, last, shift) if self.detection else None
        others, places = [], None
        if self.neighbours:
            shifts = self.targets.spread(first, last, shift)
            left, right, places = (array[part] for array in self.neighbours)
            others = [left + shifts, right + shifts]
        if detection:
            others.append(detection.positions)
        selection = Selection.of(model_batch, targets.positions, np.concatenate(others) if others else None)
        if self.data.is_plain and model_batch.has_fixed_shape:
            selection, targets = fix_targets(model_batch, selection, targets)
        kinds = self.kinds[part]
        of_kind = np.zeros((2, len(targets.classes)), np.bool_)
        of_kind[:, : len(kinds)] = [kinds == GENERIC, kinds == DS_TERM]
        return MaskedBatch(model_batch, targets, selection, kinds, of_kind, self.data.objectives, places, detection)


@dataclass(frozen=True)
class MaskedData:
    """The data for optimizer steps: sequences, loss weights by mask kind, objectives and collation."""

    reader: ShardReader
    kind_weights: KindWeights
    objectives: Objectives
    collate_fn: Collator
    device: torch.device

    @property
    def is_plain(self) -> bool:
        """Whether masked language modelling is the only objective."""
        return self.objectives == Objectives()

    def update(self, masks: MaskSource, sequences: Int64) -> MaskedUpdate:
        """The optimizer step over the sequences with these numbers: this process's part of it."""
        local = ranks.local_share(sequences)
        local = local[np.argsort(self.reader.lengths[local], kind="stable")]
        mask = masks.batch(local)
        offsets, input_ids = self.reader.input_ids(local)
        flat = np.repeat(offsets[:-1], np.diff(mask.offsets)) + mask.positions
        targets = self._targets(flat, input_ids, mask)
        detection = self._detection(self.reader.batch(local), flat) if self.objectives.detect else None
        neighbours = _neighbours(offsets, mask) if self.objectives.sbo else None
        input_ids[flat] = mask.replacements
        return MaskedUpdate(offsets, input_ids, targets, mask.kinds, neighbours, detection, self)

    def _targets(self, flat: Int64, input_ids: NDArray[np.int32], mask: Masks) -> RaggedTargets:
        weight_of_kind = np.array([0.0, *self.kind_weights], dtype=np.float32)
        n_of_kind = np.bincount(mask.kinds, minlength=len(weight_of_kind))
        total_weight = ranks.total(float(n_of_kind @ weight_of_kind.astype(np.float64))) or 1.0
        classes = input_ids[flat].astype(np.int64)
        return RaggedTargets(mask.offsets, flat, classes, weight_of_kind[mask.kinds], total_weight)

    def _detection(self, batch: RaggedBatch, masked: Int64) -> RaggedTargets:
        """Detection targets: the tokens that are neither special nor masked."""
        _, starts, ends = batch.mentions
        begins = 1 + 2 * batch.span_types.astype(np.int64)
        classes = np.zeros(len(batch.input_ids), dtype=np.int64)
        classes[flat_ranges(starts, ends - starts)] = np.repeat(begins + 1, ends - starts)
        classes[starts] = begins
        is_left = batch.word_ids >= 0
        is_left[masked] = False
        left = np.flatnonzero(is_left)
        n_left = ranks.total(float(len(left))) or 1.0
        offsets = np.searchsorted(left, batch.offsets)
        return RaggedTargets(offsets, left, classes[left], np.ones(len(left), np.float32), n_left)


def _neighbours(offsets: Int64, mask: Masks) -> Neighbours:
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(mask.offsets))
    left, right, places = runs(row, mask.positions, np.diff(offsets))
    return Neighbours(offsets[row] + left, offsets[row] + right, places)


def add_heads(model: PreTrainedModel, objectives: Objectives, n_types: int, seed: int) -> None:
    """Add fresh heads for ``objectives`` to ``model``, to be trained and checkpointed with it.

    Args:
        n_types: the number of types of DS-mentions.
    """
    if objectives.sbo:
        model.add_module(_SPAN_BOUNDARY, SpanBoundaryHead.of(model, seed))
    if objectives.detect:
        model.add_module(_DETECTION, detection_head(model, n_types, seed))


def drop_heads(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Remove the heads from ``model`` before saving it; returns the parameters of the detection head, if it has one."""
    detection = model.get_submodule(_DETECTION).state_dict() if hasattr(model, _DETECTION) else {}
    for name in (_SPAN_BOUNDARY, _DETECTION):
        if hasattr(model, name):
            delattr(model, name)
    return detection
