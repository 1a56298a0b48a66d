"""Masked sequences as batches, and their loss."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.recipe import MaskSource
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import KindWeights
from mslm_cli.training import ranks
from mslm_cli.training.batching import PaddedBatch, pad, plan_forward_passes
from mslm_cli.training.heads import SpanBoundaryHead, embeddings_of, runs
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_and_states_at

_SPAN_BOUNDARY = "span_boundary_head"


@dataclass
class MaskedBatch:
    """The masked sequences of one forward pass, and after it what came of each predicted position.

    ``positions`` int64, ``targets`` int64, ``weights`` float32, ``kinds`` uint8: all [n_predicted].
    ``left``, ``right``: int64 [n_predicted]; where the neighbours of the run of each are; ``places``: its place in it.
    """

    padded: PaddedBatch
    n_tokens: int
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kinds: NDArray[np.uint8]
    total_weight: float
    left: torch.Tensor
    right: torch.Tensor
    places: torch.Tensor
    cross_entropy: NDArray[np.float32] | None = None
    is_top: NDArray[np.bool_] | None = None


def masked_batches(
    reader: ShardReader,
    masks: MaskSource,
    sequences: NDArray[np.int64],
    lengths: NDArray[np.int64],
    kind_weights: KindWeights,
    batch_tokens: int,
    pad_id: int,
    device: torch.device,
) -> list[MaskedBatch]:
    """The forward passes of one update, each with the weight of the whole update.

    With several processes, those of this one; the weight is that of all of them.
    """
    weight_of_kind = np.array([0.0, kind_weights.base, kind_weights.entity], dtype=np.float32)
    groups = plan_forward_passes(ranks.own(sequences), lengths, batch_tokens)
    drawn = [masks.batch(group) for group in groups]
    own_weight = sum(float(weight_of_kind[m.kinds].sum(dtype=np.float64)) for m in drawn)
    total_weight = ranks.total(own_weight) or 1.0
    batches = []
    for group, mask in zip(groups, drawn, strict=True):
        ids = [reader[i].input_ids.copy() for i in group]
        longest = max(map(len, ids))
        row = np.repeat(np.arange(len(group)), np.diff(mask.offsets))
        targets = np.array([ids[r][p] for r, p in zip(row, mask.positions, strict=True)], dtype=np.int64)
        for r, begin, end in zip(range(len(group)), mask.offsets[:-1], mask.offsets[1:], strict=True):
            ids[r][mask.positions[begin:end]] = mask.replacements[begin:end]
        left, right, places = runs(row, mask.positions, np.array(list(map(len, ids))))
        batches.append(
            MaskedBatch(
                pad(ids, pad_id, device),
                sum(map(len, ids)),
                torch.from_numpy(row * longest + mask.positions).to(device),
                torch.from_numpy(targets).to(device),
                torch.from_numpy(weight_of_kind[mask.kinds]).to(device),
                mask.kinds,
                total_weight,
                torch.from_numpy(row * longest + left).to(device),
                torch.from_numpy(row * longest + right).to(device),
                torch.from_numpy(places).to(device),
            )
        )
    return batches


def share_of_loss(model: PreTrainedModel, batch: MaskedBatch, sbo: float = 0.0) -> torch.Tensor:
    """The share of this batch in the loss of its update; what came of each position is kept in ``batch``.

    Args:
        sbo: the weight of the span-boundary objective, for a model with a head for it (``add_span_boundary_head``).
    """
    neighbours = torch.cat([batch.left, batch.right]) if sbo else batch.left[:0]
    logits, states = logits_and_states_at(model, batch.padded, batch.positions, neighbours)
    share, per_position = weighted_cross_entropy(logits, batch.targets, batch.weights, batch.total_weight)
    batch.cross_entropy = per_position.cpu().numpy()
    batch.is_top = (logits.detach().argmax(-1) == batch.targets).cpu().numpy()
    if sbo:
        left, right = states.chunk(2)
        logits = model.get_submodule(_SPAN_BOUNDARY)(left, right, batch.places, embeddings_of(model))
        of_spans, _ = weighted_cross_entropy(logits, batch.targets, batch.weights, batch.total_weight)
        share = share + sbo * of_spans
    return share


def add_span_boundary_head(model: PreTrainedModel, seed: int) -> None:
    """Make a fresh head for the span-boundary objective a part of ``model``, to be trained and checkpointed with it."""
    model.add_module(_SPAN_BOUNDARY, SpanBoundaryHead.of(model, seed))


def drop_span_boundary_head(model: PreTrainedModel) -> None:
    """Take the head off again, before ``model`` is saved."""
    delattr(model, _SPAN_BOUNDARY)
