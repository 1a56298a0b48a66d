"""Rates that mask a given fraction of all tokens.

A unit is masked if its draw is below the rate. So the fraction masked at a rate follows from the draws, and the rate
for a fraction is a quantile of them. It is solved over all sequences before any mask is made. A mask then depends only
on the key and this one number: no remainder is carried between sequences, the fraction holds for all sequences
together, and a sequence has the same mask in any batch, shard or process.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mslm_cli.errors import UsageError
from mslm_cli.masking.batch import Int64, RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.strategies import STRATEGIES, Strategy
from mslm_cli.masking.units import DrawContext

_BIN_BITS = 20
_N_BINS = 1 << _BIN_BITS
_TOLERANCE = 0.002
_HEADROOM = 0.05  # for spans the rate is the expected fraction of masked tokens


def linear(first: float, last: float, n: int) -> list[float]:
    """``n`` evenly spaced numbers from ``first`` to ``last``."""
    return [float(value) for value in np.linspace(first, last, n)]


def solve(
    strategy: Strategy,
    blocks: Blocks,
    budgets: Sequence[float],
    options: MaskingOptions,
    *,
    first_epoch: int = 0,
    state: Any = None,
) -> list[dict[str, float]]:
    """For each epoch from ``first_epoch``, the rates at which the strategy masks the epoch's budget.

    The strategy's last rate is solved for; the others are taken from ``options``.

    Args:
        blocks: all sequences, which are read for each epoch.
        budgets: fractions of the non-special tokens.
        state: the result of the strategy's preparation.

    Raises:
        UsageError: no rate meets the budget; if a given rate is too high, the message names the largest feasible one.
    """
    rates: list[dict[str, float]] = []
    names = list(strategy.rates)
    given: dict[str, float] = {name: getattr(options, name) for name in names[:-1]}
    feasible = dict(given)
    for epoch, budget in enumerate(budgets, first_epoch):
        context = (options.seed, epoch, min(1.0, budget + _HEADROOM), state)
        n_tokens, below = _tokens_below(strategy, blocks, context)
        wanted = budget * n_tokens
        for name, rate in given.items():
            largest = (int(np.searchsorted(below[name], wanted, side="right")) - 1) / _N_BINS
            feasible[name] = min(feasible[name], largest)
            wanted -= int(below[name][round(rate * _N_BINS)])
        most = max((int(below[name][-1]) for name in names[-1:]), default=0)
        if most < wanted - _TOLERANCE * n_tokens:
            most_of_all = budget - (wanted - most) / n_tokens
            raise UsageError(
                f"a budget of {budget:g}: {strategy.name} can mask at most {most_of_all:.4f} of the tokens"
            )
        rates.append(given | {name: _nearest(below[name], wanted) for name in names[-1:]})
    for name, rate in given.items():
        if feasible[name] < rate:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"a budget of {min(budgets):g}: {option} {rate:g} alone masks more",
                hint=f"the largest feasible {option} is {math.floor(feasible[name] * 1000) / 1000:g}",
            )
    return rates


def _tokens_below(
    strategy: Strategy, blocks: Blocks, context: tuple[int, int, float, Any]
) -> tuple[int, dict[str, Int64]]:
    """The number of tokens and, for each rate, the number masked at 0, 1/N, ... N/N: int64 [N + 1].

    Args:
        context: the fields of a ``DrawContext`` after the batch.
    """
    n_tokens = 0
    masked = {name: np.zeros(_N_BINS + 1, dtype=np.int64) for name in strategy.rates}
    for n_here, found in blocks.map(partial(_counter, strategy.name, context)):
        n_tokens += n_here
        for name, (bins, counts) in found.items():
            masked[name][bins] += counts
    return n_tokens, {name: np.cumsum(counts) for name, counts in masked.items()}


def _counter(
    strategy: str, context: tuple[int, int, float, Any]
) -> Callable[[RaggedBatch], tuple[int, dict[str, tuple[Int64, Int64]]]]:
    """The function that counts the tokens of a batch and, for each rate, those with draws in each bin, by bin."""

    def count(batch: RaggedBatch) -> tuple[int, dict[str, tuple[Int64, Int64]]]:
        below = {}
        for name, found in STRATEGIES[strategy].units(DrawContext(batch, *context)).items():
            bins, index = np.unique((found.draws >> np.uint64(64 - _BIN_BITS)).astype(np.int64), return_inverse=True)
            below[name] = bins + 1, np.bincount(index, found.ends - found.starts, len(bins)).astype(np.int64)
        return int(batch.n_ordinary.sum()), below

    return count


def _nearest(below: Int64, wanted: float) -> float:
    """The rate at which the number of masked tokens is closest to ``wanted``."""
    k = int(np.searchsorted(below, wanted))
    k = min(k, _N_BINS)
    if k and wanted - below[k - 1] < below[k] - wanted:
        k -= 1
    return k / _N_BINS
