"""How well a masked language model restores what is masked."""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.training.batching import pad, plan_forward_passes
from mslm_cli.training.device import predicting
from mslm_cli.training.model import logits_at

SCORES = ("loss", "top1", "top5", "reciprocal_rank")


@torch.no_grad()
def score_stretches(
    model: PreTrainedModel,
    batch: RaggedBatch,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    *,
    mask_id: int,
    pad_id: int,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """The means over the tokens of each stretch of ``SCORES``: float64 [n, 4]; losses in nats.

    Each stretch [start, end) of the flat arrays is masked with [MASK] alone, in a copy of its sequence.
    """
    device = model.device
    model.train(False)
    row = batch.row[starts]
    found = np.zeros((len(starts), len(SCORES)))
    for group in plan_forward_passes(np.arange(len(starts)), np.diff(batch.offsets)[row], batch_tokens):
        sequences = []
        for i in group:
            ids = batch.input_ids[batch.offsets[row[i]] : batch.offsets[row[i] + 1]].copy()
            ids[starts[i] - batch.offsets[row[i]] : ends[i] - batch.offsets[row[i]]] = mask_id
            sequences.append(ids)
        padded = pad(sequences, pad_id, device)
        item = np.repeat(np.arange(len(group)), (ends - starts)[group])
        tokens = np.concatenate([np.arange(starts[i], ends[i]) for i in group])
        positions = padded.begins[item] + tokens - batch.offsets[row[group]][item]
        targets = torch.from_numpy(batch.input_ids[tokens].astype(np.int64)).to(device)
        with predicting(device):
            logits = logits_at(model, padded, torch.from_numpy(positions).to(device)).float()
        of_target = logits.gather(1, targets[:, None])
        rank = (logits > of_target).sum(1) + 1
        loss = logits.logsumexp(1) - of_target[:, 0]
        scores = torch.stack([loss, (rank == 1).float(), (rank <= 5).float(), 1 / rank], dim=1).double().cpu().numpy()
        np.add.at(found, group[item], scores)
    mean: NDArray[np.float64] = found / np.maximum(ends - starts, 1)[:, None]
    return mean
