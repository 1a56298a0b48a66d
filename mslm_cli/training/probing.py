"""How well a masked language model predicts masked spans."""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.masking.batch import RaggedBatch, flat_ranges, take_rows
from mslm_cli.training.batching import on_device, pad, plan_forward_passes
from mslm_cli.training.device import predicting
from mslm_cli.training.model import logits_at
from mslm_cli.training.selection import Selection

SCORES = ("loss", "top1", "top5", "reciprocal_rank")


@torch.no_grad()
def score_spans(
    model: PreTrainedModel,
    batch: RaggedBatch,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    tokenizer: PreTrainedTokenizerFast,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """``SCORES`` of each span, averaged over its tokens: float64 [n, 4]; losses in nats.

    Each span [start, end) of the flat arrays is replaced by [MASK] tokens on its own, in a copy of its sequence.
    """
    device = model.device
    model.train(False)
    row = batch.row[starts]
    item_offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    span_tokens = flat_ranges(starts, ends - starts)
    found = np.zeros((len(starts), len(SCORES)))
    for group in plan_forward_passes(np.arange(len(starts)), np.diff(batch.offsets)[row], batch_tokens):
        offsets, sources = take_rows(batch.offsets, row[group])
        # indices into the concatenated spans
        items, tokens = take_rows(item_offsets, group)
        places = span_tokens[tokens] - np.repeat(batch.offsets[row[group]], np.diff(items))  # in their sequence
        ids = batch.input_ids[sources]
        ids[places + np.repeat(offsets[:-1], np.diff(items))] = tokenizer.mask_token_id
        padded = pad(ids, np.diff(offsets), tokenizer.pad_token_id)
        item = np.repeat(np.arange(len(group)), np.diff(items))
        selection = on_device(Selection.of(padded, padded.begins[item] + places), device)
        targets = torch.from_numpy(batch.input_ids[span_tokens[tokens]].astype(np.int64)).to(device)
        with predicting(device):
            logits = logits_at(model, on_device(padded, device), selection).float()
        of_target = logits.gather(1, targets[:, None])
        rank = (logits > of_target).sum(1) + 1
        loss = logits.logsumexp(1) - of_target[:, 0]
        scores = torch.stack([loss, (rank == 1).float(), (rank <= 5).float(), 1 / rank], dim=1).double().cpu().numpy()
        np.add.at(found, group[item], scores)
    mean: NDArray[np.float64] = found / np.maximum(ends - starts, 1)[:, None]
    return mean
