"""Optimizer steps over several sources: the training data, and others that accompany them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mslm_cli.masking.batch import Int64
from mslm_cli.training.batching import plan_steps
from mslm_cli.training.schedule import Schedule


class Companion(NamedTuple):
    """A source that accompanies the training data.

    origin: its number. ratio: its tokens in a step per token of the training data. epochs: the number of epochs, the
    first ones, in which it takes part.
    """

    origin: int
    ratio: float
    epochs: int


def plan_epochs(
    lengths: Int64, origins: Int64 | None, companions: Sequence[Companion], schedule: Schedule, seed: int
) -> list[list[Int64]]:
    """The sequences of each optimizer step in each epoch.

    An epoch is a pass over the training data (origin 0), in steps of ``schedule.tokens_per_step`` of its tokens.
    Companions are added to the steps, in an order of their own that goes on over steps and epochs, and begins anew when
    all have been used.

    Args:
        lengths: int64 [n], tokens in each sequence. origins: int64 [n], its source; None for 0.
    """
    main = np.arange(len(lengths)) if origins is None else np.flatnonzero(origins == 0)
    plans = [
        [main[step] for step in plan_steps(lengths[main], schedule.tokens_per_step, seed=seed, epoch=epoch)]
        for epoch in range(schedule.epochs)
    ]
    own_tokens = [[float(lengths[step].sum()) for step in plan] for plan in plans]
    for companion in companions:
        assert origins is not None
        stream = _Stream(np.flatnonzero(origins == companion.origin), lengths, [seed, companion.origin])
        for plan, n_tokens in list(zip(plans, own_tokens, strict=True))[: companion.epochs]:
            for number, step in enumerate(plan):
                plan[number] = np.concatenate([step, stream.take(companion.ratio * n_tokens[number])])
    return plans


class _Stream:
    """Sequences in random order, over and over."""

    def __init__(self, sequences: Int64, lengths: Int64, seed: Sequence[int]) -> None:
        self._lengths = lengths
        self._due = 0.0
        self._order = self._shuffled(sequences, np.random.default_rng(seed))

    @staticmethod
    def _shuffled(sequences: Int64, rng: np.random.Generator) -> Iterator[int]:
        while len(sequences):
            yield from rng.permutation(sequences).tolist()

    def take(self, n_tokens: float) -> Int64:
        """The next sequences with about ``n_tokens`` tokens; what is too much or too little is made up for later."""
        self._due += n_tokens
        taken = []
        while self._due > 0 and (sequence := next(self._order, None)) is not None:
            taken.append(sequence)
            self._due -= float(self._lengths[sequence])
        return np.array(taken, dtype=np.int64)
