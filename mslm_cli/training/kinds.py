"""Scores of predicted tokens by mask kind: generic words and DS-terms."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mslm_cli.masking.batch import DS_TERM, GENERIC
from mslm_cli.training import ranks
from mslm_cli.training.loop import EXPLODED_LOSS
from mslm_cli.training.masked import MaskedBatch

KEYS = {GENERIC: "generic", DS_TERM: "ds_term"}
"""The keys in metrics.jsonl for predicted tokens, by mask kind, in the order of ``KindWeights``."""

TITLES = {"generic": "generic words", "ds_term": "DS-terms"}
"""What users read, by key."""


def by_kind(batches: Iterable[MaskedBatch]) -> dict[str, dict[str, Any]]:
    """For each kind of which tokens were predicted, over all processes: n, mean loss and fraction of top predictions.

    The loss is in nats; one that is not finite counts as ``EXPLODED_LOSS``.

    Args:
        batches: after they have been through the model.
    """
    sums = np.zeros((len(KEYS), 3))
    for batch in batches:
        sums += _sums(batch)
    found: dict[str, dict[str, Any]] = {}
    for name, (n, loss, n_top) in zip(
        KEYS.values(), np.reshape(ranks.totals(sums.ravel().tolist()), (-1, 3)), strict=True
    ):
        if n:
            mean = loss / n if np.isfinite(loss) else EXPLODED_LOSS
            found[name] = {"n": int(n), "loss": round(float(mean), 5), "top1": round(float(n_top / n), 5)}
    return found


def _sums(batch: MaskedBatch) -> list[list[float]]:
    """By mask kind: number of predicted tokens, sum of their losses, number of correct top predictions."""
    if batch.predicted is None:
        raise AssertionError("the microbatch has not been through the model")
    losses, is_top = (tensor.cpu().numpy() for tensor in batch.predicted)
    chosen = [batch.kinds == mask_kind for mask_kind in KEYS]
    return [[float(c.sum()), float(losses[c].sum(dtype=float)), float(is_top[c].sum())] for c in chosen]
