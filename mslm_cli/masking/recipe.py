"""The masks of any epoch from the options of ``mslm preprocess``, stored or drawn on demand.

The masks of an epoch are a function of the recipe, the sequences and the epoch number, so ``--dynamic`` draws exactly
the masks that would have been stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mslm_cli.errors import UsageError
from mslm_cli.masking import budget
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, Int64, Masks, RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.corruption import collect, corrupt
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.strategies import STRATEGIES, Strategy
from mslm_cli.masking.units import DrawContext, draw

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer

Rates = dict[str, float]


class MaskSource(Protocol):
    """The masks of one epoch, by sequence number."""

    def batch(self, indices: NDArray[np.integer[Any]]) -> Masks:
        """The masks of the sequences with these numbers, in this order."""

    def count_kinds(self) -> tuple[int, int]:
        """The numbers of predicted tokens of generic words and of DS-terms."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the masks of given sequences in any epoch.

    mask_id, vocab_size, special_ids (int64, ascending): of the tokenizer. state: from the strategy's preparation.
    """

    config: MaskingOptions
    mask_id: int
    vocab_size: int
    special_ids: Int64
    state: Any = None

    @classmethod
    def of(cls, config: MaskingOptions, tokenizer: "AnyTokenizer", state: Any = None) -> "Recipe":
        """The recipe for sequences of this tokenizer."""
        special_ids = np.unique(np.array(tokenizer.all_special_ids, dtype=np.int64))
        mask_id = tokenizer.mask_token_id
        assert mask_id is not None  # sequences were made with it
        return cls(config, mask_id, len(tokenizer), special_ids, state)

    @property
    def strategy(self) -> Strategy:
        """The masking strategy."""
        return STRATEGIES[self.config.strategy]

    def context(self, batch: RaggedBatch, rates: Rates, epoch: int) -> DrawContext:
        """The context for drawing the masks of ``batch`` in this epoch."""
        return DrawContext(batch, self.config.seed, epoch, max(rates.values(), default=0.0), self.state)

    def rates(self, blocks: Blocks, epochs: Sequence[int]) -> list[Rates]:
        """The rates for each of the consecutive ``epochs``.

        Args:
            blocks: all sequences, which are read for each epoch.

        Raises:
            UsageError: the budget of an epoch cannot be met.
        """
        budgets = epoch_budgets(self.config)
        if budgets is None:
            return [self.config.given_rates() for _ in epochs]
        return budget.solve(
            self.strategy,
            blocks,
            [budgets[min(epoch, len(budgets) - 1)] for epoch in epochs],
            self.config,
            first_epoch=epochs[0],
            state=self.state,
        )

    def mask(self, batch: RaggedBatch, rates: Rates, epoch: int) -> tuple[Drawn, Masks]:
        """Draw the masks of ``batch`` in this epoch."""
        drawn = draw(self.strategy, self.context(batch, rates, epoch), rates)
        corrupted = corrupt(
            batch,
            drawn,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            special_ids=self.special_ids,
            mask_replace=self.config.mask_replace,
            seed=self.config.seed,
            epoch=epoch,
        )
        return drawn, collect(batch, drawn, corrupted)


def epoch_budgets(config: MaskingOptions) -> list[float] | None:
    """The fraction of tokens to mask in each epoch (the last also for later epochs), or None if rates are given.

    Raises:
        UsageError: a schedule is combined with a budget, or has only one epoch.
    """
    if config.schedule == "constant":
        return None if config.budget is None else [config.budget] * config.copies
    if config.budget is not None:
        raise UsageError(f"--schedule {config.schedule} already sets the budget of every copy; drop --budget")
    if config.copies == 1:
        raise UsageError(
            f"--schedule {config.schedule} needs more than one copy",
            hint="give --copies EPOCHS",
        )
    _, first, last = config.schedule.split(":")
    return budget.linear(float(first), float(last), config.copies)


@dataclass(frozen=True)
class DrawnEpoch:
    """The masks of one epoch, drawn on demand."""

    reader: ShardReader
    recipe: Recipe
    number: int
    rates: Rates

    def batch(self, indices: NDArray[np.integer[Any]]) -> Masks:
        """The masks of the sequences with these numbers, in this order."""
        return self.recipe.mask(self.reader.batch(indices), self.rates, self.number)[1]

    def count_kinds(self) -> tuple[int, int]:
        """The numbers of predicted tokens of generic words and of DS-terms."""
        counts = np.zeros(3, dtype=np.int64)
        for batch in self.reader.blocks():
            counts += np.bincount(self.recipe.mask(batch, self.rates, self.number)[1].kinds, minlength=3)
        return int(counts[GENERIC]), int(counts[DS_TERM])


@dataclass(frozen=True)
class ShardMasks:
    """The masks of all epochs for a shards folder."""

    reader: ShardReader
    recipe: Recipe
    _known: dict[int, DrawnEpoch] = field(default_factory=dict)

    def epoch(self, number: int) -> MaskSource:
        """The masks of epoch ``number``, from 0.

        Raises:
            ArtifactError: the folder holds stored masks, but none for this epoch.
        """
        return self._drawn(number) if self.recipe.config.dynamic else self.reader.epoch(number)

    def prepare(self, n_epochs: int) -> None:
        """Solve the rates of the training epochs whose masks are drawn on demand.

        Raises:
            UsageError: the budget of one of them cannot be met.
        """
        epochs = range(self.reader.n_copies, n_epochs)
        if epochs and self._can_draw:
            for number, rates in zip(epochs, self.recipe.rates(Blocks(self.reader.blocks), epochs), strict=True):
                self._known[number] = DrawnEpoch(self.reader, self.recipe, number, rates)

    def training_epoch(self, number: int) -> MaskSource:
        """As ``epoch``, but masks that are not stored are drawn, so that every epoch has its own.

        Only if the strategy's preparation is not stored either, the stored copies are reused cyclically.
        """
        if number < self.reader.n_copies:
            return self.reader.epoch(number)
        return self._drawn(number) if self._can_draw else self.reader.epoch(number % self.reader.n_copies)

    @property
    def _can_draw(self) -> bool:
        return self.recipe.config.dynamic or self.recipe.strategy.preparation is None

    def _drawn(self, number: int) -> DrawnEpoch:
        if number not in self._known:
            (rates,) = self.recipe.rates(Blocks(self.reader.blocks), [number])
            self._known[number] = DrawnEpoch(self.reader, self.recipe, number, rates)
        return self._known[number]


def open_masks(reader: ShardReader, config: MaskingOptions, tokenizer: "AnyTokenizer") -> ShardMasks:
    """The masks of a shards folder made with ``config``.

    Raises:
        ArtifactError: the saved result of the strategy's preparation is missing or damaged.
    """
    preparation = STRATEGIES[config.strategy].preparation
    state = preparation.load(reader.folder) if config.dynamic and preparation else None
    return ShardMasks(reader, Recipe.of(config, tokenizer, state))
