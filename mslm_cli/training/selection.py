"""Which positions of a batch are of use: those of the logits, and others whose states are needed.

Everything that depends on their number is computed in numpy, when a batch is made: on a GPU it would make the host wait
in the middle of a pass.
"""

from typing import NamedTuple

import numpy as np

from mslm_cli.training.batching import Array, Convert, Indices, ModelBatch


class Selection(NamedTuple):
    """The wanted positions of a batch, [n, longest] flattened.

    wanted: int64 [n_wanted], ascending and distinct. index: int64 [n_positions + n_others], the place of each position
    in ``wanted``. n_positions: how many of them have logits; the others follow. rows: int64 [n_wanted], the row of each
    wanted position. slots: int64 [n_wanted], its number among those of its row. width: the most in a row.
    query_starts: int32 [n_sequences + 1], the first wanted position of each sequence of a packed batch, else None.
    has_fixed_shape: it is from ``fixed_shapes.fix_targets``.
    """

    wanted: Array
    index: Array
    n_positions: int
    rows: Array
    slots: Array
    width: int
    query_starts: Array | None
    has_fixed_shape: bool = False

    @classmethod
    def of(cls, batch: ModelBatch, positions: Indices, others: Indices | None = None) -> "Selection":
        """Select ``positions``, for logits, and ``others``: int64, in numpy."""
        both = positions if others is None else np.concatenate([positions, others])
        wanted, index = np.unique(both, return_inverse=True)
        n_rows, longest = batch.inputs["input_ids"].shape
        rows = wanted // longest
        of_row = np.bincount(rows, minlength=n_rows)
        slots = np.arange(len(wanted)) - (np.cumsum(of_row) - of_row)[rows]
        starts = batch.inputs.get("sequence_starts")
        query_starts = None if starts is None else np.searchsorted(wanted, starts).astype(np.int32)
        return cls(wanted, index, len(positions), rows, slots, int(of_row.max()), query_starts)

    def mapped(self, convert: Convert) -> "Selection":
        """A copy with ``convert`` applied to all arrays."""
        starts = None if self.query_starts is None else convert(self.query_starts)
        wanted, index, rows, slots = (convert(f) for f in (self.wanted, self.index, self.rows, self.slots))
        return self._replace(wanted=wanted, index=index, rows=rows, slots=slots, query_starts=starts)
