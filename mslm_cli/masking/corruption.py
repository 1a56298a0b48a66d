"""Replacement of the predicted tokens in the model's input."""

import numpy as np

from mslm_cli.masking.batch import NOT_PREDICTED, Drawn, Int32, Int64, Masks, RaggedBatch
from mslm_cli.masking.random import Purpose, children, is_below, sequence_keys, uniforms


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
    """The input with its predicted tokens replaced and all others unchanged: int32 [T].

    One draw per unit chooses between [MASK], random tokens and no change, with probabilities ``mask_replace``. Random
    tokens are drawn independently and uniformly from the non-special ids below ``vocab_size``.

    Args:
        special_ids: sorted, unique, all below ``vocab_size``.
    """
    masked_fraction, _, kept_fraction = mask_replace
    tokens = np.concatenate([part.tokens for part in drawn.parts] or [np.empty(0, dtype=np.int64)])
    units = np.concatenate([part.units for part in drawn.parts] or [np.empty(0, dtype=np.int64)])
    row = batch.row[tokens]
    fate = children(sequence_keys(seed, epoch, Purpose.CORRUPTION, batch.index)[row], units - batch.offsets[row])
    is_masked = is_below(fate, masked_fraction)
    corrupted = batch.input_ids.copy()
    corrupted[tokens[is_masked]] = mask_id

    # 1 - kept instead of masked + random: rounding must not leave a unit unchanged if ``kept`` is 0.
    randomised = np.flatnonzero(is_below(fate, 1.0 - kept_fraction) & ~is_masked)
    tokens, row = tokens[randomised], row[randomised]
    keys = sequence_keys(seed, epoch, Purpose.RANDOM_ID, batch.index)[row]
    rank = (uniforms(keys, tokens - batch.offsets[row]) * (vocab_size - len(special_ids))).astype(np.int64)
    # The r-th ordinary id is r plus the number of special ids below it.
    below = np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")
    corrupted[tokens] = rank + below
    return corrupted


def collect(batch: RaggedBatch, drawn: Drawn, corrupted: Int32) -> Masks:
    """Extract the predicted tokens from arrays over all tokens."""
    predicted = np.flatnonzero(drawn.kinds != NOT_PREDICTED)
    offsets = np.searchsorted(predicted, batch.offsets)
    return Masks(offsets, batch.position[predicted], drawn.kinds[predicted], corrupted[predicted])
