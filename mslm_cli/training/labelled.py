"""Sequences with labelled tokens, their microbatches and loss, for fine-tuning on tasks.

``LabelledSequences.update`` reads the sequences of one optimizer step; ``LabelledUpdate.microbatches`` splits them;
``LabelledBatch.loss`` is a microbatch's contribution to the loss of the step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.batch import Int32, Int64, take_rows
from mslm_cli.training import ranks
from mslm_cli.training.batching import Collator, ModelBatch, RaggedTargets, Targets, split_rows
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_at


@dataclass(frozen=True)
class LabelledSequences:
    """Concatenated sequences with some labelled tokens.

    offsets: int64 [n + 1]; sequence i is ``[offsets[i], offsets[i + 1])`` of ``input_ids``, int32 [T].
    label_offsets: int64 [n + 1]; its labels are ``[label_offsets[i], label_offsets[i + 1])`` of ``positions``,
    int64 [P], labelled positions in the sequence, ascending, and of ``classes``, int64 [P], their labels.
    """

    offsets: Int64
    input_ids: Int32
    label_offsets: Int64
    positions: Int64
    classes: Int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """Tokens in each sequence, including special tokens: int64 [n]."""
        return np.diff(self.offsets)

    def update(self, sequences: Int64, collate_fn: Collator, device: torch.device) -> "LabelledUpdate":
        """The optimizer step over the sequences with these numbers: this process's part of it."""
        n_labels = float(np.diff(self.label_offsets)[sequences].sum()) or 1.0
        local = ranks.local_share(sequences)
        local = local[np.argsort(self.lengths[local], kind="stable")]
        offsets, tokens = take_rows(self.offsets, local)
        label_offsets, labels = take_rows(self.label_offsets, local)
        flat = np.repeat(offsets[:-1], np.diff(label_offsets)) + self.positions[labels]
        weights = np.ones(len(labels), dtype=np.float32)
        targets = RaggedTargets(label_offsets, flat, self.classes[labels], weights, n_labels)
        return LabelledUpdate(offsets, self.input_ids[tokens], targets, collate_fn, device)


@dataclass(frozen=True)
class LabelledBatch:
    """The labelled sequences of a forward pass."""

    model_batch: ModelBatch
    targets: Targets

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.model_batch.lengths.sum())

    def to(self, device: torch.device) -> "LabelledBatch":
        """The batch on ``device``."""
        return LabelledBatch(self.model_batch.to(device), self.targets.to(device))

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """This microbatch's contribution to the loss of its step, a scalar with gradient."""
        logits = logits_at(model, self.model_batch, self.targets.positions)
        return weighted_cross_entropy(logits, *self.targets[1:])[0]


@dataclass(frozen=True)
class LabelledUpdate:
    """The labelled sequences of an optimizer step on this process, shortest first, as flat arrays.

    offsets: int64 [n + 1]. input_ids: int32 [T].
    """

    offsets: Int64
    input_ids: NDArray[np.int32]
    targets: RaggedTargets
    collate_fn: Collator
    device: torch.device

    def microbatches(self, max_tokens: int) -> list[LabelledBatch]:
        """The forward passes of the step, each with at most ``max_tokens`` tokens or one sequence, on the device."""
        groups = split_rows(np.diff(self.offsets), max_tokens)
        return [self._rows(first, last).to(self.device) for first, last in groups]

    def _rows(self, first: int, last: int) -> LabelledBatch:
        offsets = self.offsets[first : last + 1]
        model_batch = self.collate_fn(self.input_ids[offsets[0] : offsets[-1]], np.diff(offsets))
        return LabelledBatch(model_batch, self.targets.rows(first, last, model_batch.begins - offsets[:-1]))
