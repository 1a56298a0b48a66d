"""Masks of a batch by the name of a strategy."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mslm_cli.masking import budget
from mslm_cli.masking.batch import Drawn, RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.strategies import BUILT_IN, STRATEGIES
from mslm_cli.masking.units import DrawContext, Units
from mslm_cli.masking.units import draw as draw_units

RATES = {strategy.name: strategy.rates for strategy in BUILT_IN}


def draw(name: str, batch: RaggedBatch, *, seed: int, epoch: int, vocabulary: Any = None, **rates: float) -> Drawn:
    most = max((rates.get(rate, 0.0) for rate in RATES[name]), default=0.0)
    return draw_units(STRATEGIES[name], DrawContext(batch, seed, epoch, most, vocabulary), rates)


def units(name: str, batch: RaggedBatch, seed: int, epoch: int, *, vocabulary: Any = None) -> dict[str, Units]:
    return dict(STRATEGIES[name].units(DrawContext(batch, seed, epoch, 1.0, vocabulary)))


def solve(
    name: str,
    read: Callable[[], Iterable[RaggedBatch]],
    budgets: Sequence[float],
    *,
    elm_rate: float,
    seed: int,
    vocabulary: Any = None,
) -> list[dict[str, float]]:
    return budget.solve(
        STRATEGIES[name], Blocks(read), budgets, MaskingOptions(elm_rate=elm_rate, seed=seed), state=vocabulary
    )
