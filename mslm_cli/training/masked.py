"""Masked sequences as batches, and their loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.batch import Masks
from mslm_cli.masking.recipe import MaskSource
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import KindWeights
from mslm_cli.training import ranks
from mslm_cli.training.batching import ModelBatch, plan_forward_passes, to_device
from mslm_cli.training.heads import SpanBoundaryHead, detection_head, embeddings_of, runs
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_and_states_at
from mslm_cli.training.packing import Collator

_SPAN_BOUNDARY, _DETECTION = "span_boundary_head", "detection_head"


class Objectives(NamedTuple):
    """The weights of objectives beside masked language modelling; 0 leaves one out.

    sbo: predict each run of masked tokens from what stands beside it. detect: find the DS-mentions left unmasked.
    """

    sbo: float = 0.0
    detect: float = 0.0


class Detection(NamedTuple):
    """The tokens that are not masked: ``positions``, ``classes`` (0 outside, 1 begins, 2 inside a DS-mention): int64.

    n_all: how many there are in the whole step.
    """

    positions: torch.Tensor
    classes: torch.Tensor
    n_all: float


@dataclass
class MaskedBatch:
    """The masked sequences of one forward pass, and after it what came of each predicted position.

    ``positions`` int64, ``targets`` int64, ``weights`` float32, ``kinds`` uint8: all [n_predicted].
    ``left``, ``right``: int64 [n_predicted]; where the neighbours of the run of each are; ``places``: its place in it.
    """

    model_batch: ModelBatch
    n_tokens: int
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kinds: NDArray[np.uint8]
    total_weight: float
    left: torch.Tensor
    right: torch.Tensor
    places: torch.Tensor
    detection: Detection
    cross_entropy: torch.Tensor | None = None
    is_top: torch.Tensor | None = None


def masked_step(
    reader: ShardReader,
    masks: MaskSource,
    sequences: NDArray[np.int64],
    lengths: NDArray[np.int64],
    kind_weights: KindWeights,
    collate_fn: Collator,
    *,
    with_unmasked: bool = False,
) -> Callable[[int], list[MaskedBatch]]:
    """What makes the forward passes of one step, of so many tokens at most, each with the weight of the whole step.

    With several processes, those of this one; the weight is that of all of them.

    Args:
        with_unmasked: whether ``detection`` is wanted; it is empty otherwise.
    """
    weight_of_kind = np.array([0.0, kind_weights.base, kind_weights.entity], dtype=np.float32)
    own = ranks.local_share(sequences)
    mask = masks.batch(own)
    total_weight = ranks.total(float(weight_of_kind[mask.kinds].sum(dtype=np.float64))) or 1.0
    n_unmasked = (ranks.total(float(len(_unmasked(reader, own, mask)[0]))) or 1.0) if with_unmasked else None

    def cut(max_tokens: int) -> list[MaskedBatch]:
        groups = plan_forward_passes(own, lengths, max_tokens)
        return [
            _masked_batch(reader, group, masks.batch(group), weight_of_kind, total_weight, n_unmasked, collate_fn)
            for group in groups
        ]

    return cut


def _masked_batch(
    reader: ShardReader,
    group: NDArray[np.int64],
    mask: Masks,
    weight_of_kind: NDArray[np.float32],
    total_weight: float,
    n_unmasked: float | None,
    collate_fn: Collator,
) -> MaskedBatch:
    """One forward pass; ``n_unmasked`` is None where detection is not wanted."""
    nothing = (np.empty(0, dtype=np.int64),) * 3
    unmasked_row, place, classes = nothing if n_unmasked is None else _unmasked(reader, group, mask)
    ids = [reader[i].input_ids.copy() for i in group]
    row = np.repeat(np.arange(len(group)), np.diff(mask.offsets))
    targets = np.array([ids[r][p] for r, p in zip(row, mask.positions, strict=True)], dtype=np.int64)
    for r, begin, end in zip(range(len(group)), mask.offsets[:-1], mask.offsets[1:], strict=True):
        ids[r][mask.positions[begin:end]] = mask.replacements[begin:end]
    model_batch = collate_fn(ids)
    begins, device = model_batch.begins, model_batch.inputs["input_ids"].device
    left, right, places = runs(row, mask.positions, np.array(list(map(len, ids))))

    return MaskedBatch(
        model_batch,
        sum(map(len, ids)),
        to_device(begins[row] + mask.positions, device),
        to_device(targets, device),
        to_device(weight_of_kind[mask.kinds], device),
        mask.kinds,
        total_weight,
        to_device(begins[row] + left, device),
        to_device(begins[row] + right, device),
        to_device(places, device),
        Detection(to_device(begins[unmasked_row] + place, device), to_device(classes, device), n_unmasked or 1.0),
    )


def _unmasked(
    reader: ShardReader, group: NDArray[np.int64], mask: Masks
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, place and class (see ``Detection``) of each token that is neither special nor predicted: three int64."""
    batch = reader.batch(group)
    classes = batch.in_mention.astype(np.int64) * 2
    classes[batch.mentions[1]] = 1
    is_left = batch.word_ids >= 0
    is_left[batch.offsets[:-1].repeat(np.diff(mask.offsets)) + mask.positions] = False
    left = np.flatnonzero(is_left)
    return batch.row[left], batch.position[left].astype(np.int64), classes[left]


def microbatch_loss(
    model: PreTrainedModel,
    batch: MaskedBatch,
    objectives: Objectives = Objectives(),  # noqa: B008 - immutable
) -> torch.Tensor:
    """The share of this batch in the loss of its step; what came of each position is kept in ``batch``.

    Args:
        objectives: what else is learned, by a model with heads for it (``add_heads``).
    """
    nothing = batch.left[:0]
    detected = batch.detection.positions if objectives.detect else nothing
    neighbours = (batch.left, batch.right) if objectives.sbo else (nothing, nothing)
    logits, states = logits_and_states_at(model, batch.model_batch, batch.positions, torch.cat([*neighbours, detected]))
    share, per_position = weighted_cross_entropy(logits, batch.targets, batch.weights, batch.total_weight)
    batch.cross_entropy, batch.is_top = per_position, logits.detach().argmax(-1) == batch.targets
    if objectives.sbo:
        left, right = states[: 2 * len(batch.targets)].chunk(2)
        logits = model.get_submodule(_SPAN_BOUNDARY)(left, right, batch.places, embeddings_of(model))
        of_spans, _ = weighted_cross_entropy(logits, batch.targets, batch.weights, batch.total_weight)
        share = share + objectives.sbo * of_spans
    if objectives.detect:
        logits = model.get_submodule(_DETECTION)(states[len(states) - len(detected) :])
        weights = torch.ones_like(detected, dtype=torch.float32)
        found, _ = weighted_cross_entropy(logits, batch.detection.classes, weights, batch.detection.n_all)
        share = share + objectives.detect * found
    return share


def add_heads(model: PreTrainedModel, objectives: Objectives, seed: int) -> None:
    """Make fresh heads for ``objectives`` a part of ``model``, to be trained and checkpointed with it."""
    if objectives.sbo:
        model.add_module(_SPAN_BOUNDARY, SpanBoundaryHead.of(model, seed))
    if objectives.detect:
        model.add_module(_DETECTION, detection_head(model, seed))


def drop_heads(model: PreTrainedModel) -> None:
    """Take the heads off again, before ``model`` is saved."""
    for name in (_SPAN_BOUNDARY, _DETECTION):
        if hasattr(model, name):
            delattr(model, name)
