"""Scores of predicted tokens by mask kind: generic words and DS-terms."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.batch import DS_TERM, GENERIC
from mslm_cli.training import ranks
from mslm_cli.training.loop import EXPLODED_LOSS

KEYS = {GENERIC: "generic", DS_TERM: "ds_term"}
"""The keys in metrics.jsonl for predicted tokens, by mask kind, in the order of ``KindWeights``."""

TITLES = {"generic": "generic words", "ds_term": "DS-terms"}
"""What users read, by key."""


def by_kind(kinds: Iterable[NDArray[np.uint8]], reported: Sequence[float]) -> dict[str, dict[str, Any]]:
    """For each kind of which tokens were predicted, over all processes: n, mean loss and fraction of top predictions.

    The loss is in nats; one that is not finite counts as ``EXPLODED_LOSS``.

    Args:
        kinds: of the predicted tokens, by microbatch.
        reported: the sum of what the microbatches report (``MaskedBatch``).
    """
    every = np.concatenate([np.empty(0, np.uint8), *kinds])
    counts = [float((every == kind).sum()) for kind in KEYS]
    found: dict[str, dict[str, Any]] = {}
    sums = np.reshape(ranks.totals([*counts, *reported]), (3, -1)).T
    for name, (n, loss, n_top) in zip(KEYS.values(), sums, strict=True):
        if n:
            mean = loss / n if np.isfinite(loss) else EXPLODED_LOSS
            found[name] = {"n": int(n), "loss": round(float(mean), 5), "top1": round(float(n_top / n), 5)}
    return found
