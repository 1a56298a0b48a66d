"""What the model is given in place of the predicted tokens."""

import numpy as np

from mslm_cli.masking.batch import NOT_PREDICTED, Drawn, Int32, Int64, Masks, RaggedBatch
from mslm_cli.masking.random import Purpose, ragged_children, sequence_keys, to_uniforms


def corrupt(
    batch: RaggedBatch,
    drawn: Drawn,
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Int64,
    mask_replace: tuple[float, float, float],
    seed: int,
    epoch: int,
) -> Int32:
    """The input with its predicted tokens replaced: int32 [T]; all others are as they were.

    One draw a unit decides between [MASK], random tokens and no change, with the shares ``mask_replace``;
    random tokens are drawn one by one, uniformly from the ids below ``vocab_size`` that are not special.

    Args:
        special_ids: sorted, no id twice, all below ``vocab_size``.
    """
    masked_share, _, kept_share = mask_replace
    predicted = np.flatnonzero(drawn.kinds != NOT_PREDICTED)
    sizes = batch.sizes(predicted)
    keys = sequence_keys(seed, epoch, Purpose.CORRUPTION, batch.index)
    fate = to_uniforms(ragged_children(keys, batch.offsets[:-1], sizes, drawn.units[predicted]))
    corrupted = batch.input_ids.copy()
    corrupted[predicted[fate < masked_share]] = mask_id

    # 1 - kept rather than masked + random: rounding must leave no unit unchanged when the kept share is 0.
    randomised = (fate >= masked_share) & (fate < 1.0 - kept_share)
    predicted = predicted[randomised]
    keys = sequence_keys(seed, epoch, Purpose.RANDOM_ID, batch.index)
    numbers = ragged_children(keys, batch.offsets[:-1], batch.sizes(predicted), predicted)
    rank = to_uniforms(numbers) * (vocab_size - len(special_ids))
    # The r-th ordinary id is r plus the number of special ids below it.
    rank = rank.astype(np.int64)
    below = np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")
    corrupted[predicted] = rank + below
    return corrupted


def collect(batch: RaggedBatch, drawn: Drawn, corrupted: Int32) -> Masks:
    """The predicted tokens alone, out of arrays over all tokens."""
    predicted = np.flatnonzero(drawn.kinds != NOT_PREDICTED)
    offsets = np.searchsorted(predicted, batch.offsets)
    return Masks(offsets, batch.position[predicted], drawn.kinds[predicted], corrupted[predicted])
