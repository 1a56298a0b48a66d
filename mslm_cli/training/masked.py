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
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_at


@dataclass
class MaskedBatch:
    """The masked sequences of one forward pass, and after it what came of each predicted position.

    ``positions`` int64, ``targets`` int64, ``weights`` float32, ``kinds`` uint8: all [n_predicted].
    """

    padded: PaddedBatch
    n_tokens: int
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kinds: NDArray[np.uint8]
    total_weight: float
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
        batches.append(
            MaskedBatch(
                pad(ids, pad_id, device),
                sum(map(len, ids)),
                torch.from_numpy(row * longest + mask.positions).to(device),
                torch.from_numpy(targets).to(device),
                torch.from_numpy(weight_of_kind[mask.kinds]).to(device),
                mask.kinds,
                total_weight,
            )
        )
    return batches


def share_of_loss(model: PreTrainedModel, batch: MaskedBatch) -> torch.Tensor:
    """The share of this batch in the loss of its update; what came of each position is kept in ``batch``."""
    logits = logits_at(model, batch.padded, batch.positions)
    share, per_position = weighted_cross_entropy(logits, batch.targets, batch.weights, batch.total_weight)
    batch.cross_entropy = per_position.cpu().numpy()
    batch.is_top = (logits.detach().argmax(-1) == batch.targets).cpu().numpy()
    return share
