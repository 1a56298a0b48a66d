"""Sequences of a text and, after it, groups of markers that see the text and their own group alone.

Many pairs of mentions in one text are so encoded in one pass: the states of the text do not depend on the groups, nor
those of a group on the others.

Source: Zhong and Chen (2021), "A Frustratingly Easy Approach for Entity and Relation Extraction", section 3.3.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.masking.batch import Int32, Int64, flat_ranges
from mslm_cli.training.batching import ModelBatch


@dataclass(frozen=True)
class Layout:
    """Where the tokens of concatenated sequences are, and what they see.

    positions: int32 [T], the position of each token in the text of its sequence; that of a marker is its mention's.
    groups: int32 [T], 0 for tokens of the text.
    """

    positions: Int32
    groups: Int32

    def taken(self, tokens: Int64 | slice) -> "Layout":
        """That of some of the tokens, whole sequences."""
        return Layout(self.positions[tokens], self.groups[tokens])

    def applied(self, batch: ModelBatch) -> ModelBatch:
        """The batch of these sequences, in numpy, padded or packed, with positions and an attention mask.

        ``position_ids``: int64 [n, longest]. ``attention_mask``: bool [n, 1, longest, longest], true where attention is
        allowed.
        """
        input_ids = batch.inputs["input_ids"]
        at = flat_ranges(batch.begins, batch.lengths)

        def spread(values: NDArray[np.integer[Any]], filling: int) -> Int64:
            flat = np.full(input_ids.size, filling, np.int64)
            flat[at] = values
            return flat.reshape(input_ids.shape)

        sequence = spread(np.repeat(np.arange(len(batch.lengths)), batch.lengths), -1)
        group = spread(self.groups, 0)
        is_seen = (group[:, None, :] == 0) | (group[:, :, None] == group[:, None, :])
        mask = ((sequence[:, :, None] == sequence[:, None, :]) & is_seen)[:, None]
        inputs = {"input_ids": input_ids, "position_ids": spread(self.positions, 0), "attention_mask": mask}
        return replace(batch, inputs=inputs, has_fixed_shape=False)
