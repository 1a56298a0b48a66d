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
    corrupted = batch.input_ids.copy()
    fate_keys = sequence_keys(seed, epoch, Purpose.CORRUPTION, batch.index)
    id_keys = sequence_keys(seed, epoch, Purpose.RANDOM_ID, batch.index)
    firsts = batch.offsets[:-1]
    for tokens, unit_starts, _ in drawn.parts:
        fate = to_uniforms(ragged_children(fate_keys, firsts, batch.sizes(tokens), unit_starts))
        corrupted[tokens[fate < masked_share]] = mask_id

        # 1 - kept rather than masked + random: rounding must leave no unit unchanged when the kept share is 0.
        randomised = tokens[(fate >= masked_share) & (fate < 1.0 - kept_share)]
        draws = to_uniforms(ragged_children(id_keys, firsts, batch.sizes(randomised), randomised))
        rank = (draws * (vocab_size - len(special_ids))).astype(np.int64)
        # The r-th ordinary id is r plus the number of special ids below it.
        below = np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")
        corrupted[randomised] = rank + below
    return corrupted


def collect(batch: RaggedBatch, drawn: Drawn, corrupted: Int32) -> Masks:
    """The predicted tokens alone, out of arrays over all tokens."""
    predicted = np.flatnonzero(drawn.kinds != NOT_PREDICTED)
    offsets = np.searchsorted(predicted, batch.offsets)
    return Masks(offsets, batch.position[predicted], drawn.kinds[predicted], corrupted[predicted])
