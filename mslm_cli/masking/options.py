"""The options that determine the masks of given sequences."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from mslm_cli.masking.strategies import BUILT_IN, STRATEGIES
from mslm_cli.options import Config, OneOf, Rate

_THREE_FRACTIONS = "expected three fractions that sum to 1, such as 0.8,0.1,0.1"


def _parse_fractions(value: object) -> object:
    fractions = tuple(value.split(",")) if isinstance(value, str) else value
    if not isinstance(fractions, tuple | list) or len(fractions) != 3:
        raise ValueError(_THREE_FRACTIONS)
    return fractions


def _sum_to_one(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(value) < 0 or abs(sum(value) - 1.0) > 1e-9:
        raise ValueError(_THREE_FRACTIONS)
    return value


Fractions = Annotated[tuple[float, float, float], BeforeValidator(_parse_fractions), AfterValidator(_sum_to_one)]


def _fraction_to_mask(rate: str) -> str:
    """The help of a rate: what it is a fraction of, by strategy."""
    strategies: dict[str, list[str]] = {}
    for strategy in BUILT_IN:
        if rate in strategy.rates:
            strategies.setdefault(strategy.rates[rate], []).append(strategy.name)
    of = [f"{units} ({', '.join(names)})" for units, names in strategies.items()]
    return f"Fraction of {', '.join(of)} to mask."


class MaskingOptions(Config):
    """The options that determine masks."""

    strategy: Annotated[str, AfterValidator(OneOf(STRATEGIES.names))] = Field(
        "mslm", description=f"What to mask: {', '.join(strategy.help for strategy in BUILT_IN if strategy.rates)}."
    )
    elm_rate: Rate = Field(0.5, description=_fraction_to_mask("elm_rate"))
    blm_rate: Rate = Field(0.15, description=_fraction_to_mask("blm_rate"))
    rate: Rate = Field(0.15, description=_fraction_to_mask("rate"))
    budget: float | None = Field(
        None, ge=0.0, le=1.0, description="Fraction of all tokens to mask; the rate is solved for (mslm: the blm rate)."
    )
    schedule: str = Field(
        "constant",
        pattern=r"^(constant|linear:(0?\.\d+|[01](\.0*)?):(0?\.\d+|[01](\.0*)?))$",
        description="constant, or linear:FROM:TO: the budgets of the first and the last copy.",
    )
    pmi_min_count: int = Field(10, ge=0, description="pmi: a collocation must occur more often than this.")
    pmi_size: int | None = Field(
        None, ge=1, description="pmi: number of collocations; default: half of those that are frequent enough."
    )
    mask_replace: Fractions = Field(
        (0.8, 0.1, 0.1),
        description="Fractions of masked units replaced by [MASK], replaced at random, and left unchanged.",
    )
    copies: int = Field(1, ge=1, le=1000, description="Number of epochs to draw masks for, each anew.")
    dynamic: bool = Field(
        False, description="Store no masks: `mslm adapt` draws the same ones while it trains, anew for each epoch."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for the masks.")

    def given_rates(self) -> dict[str, float]:
        """The strategy's rates if no budget is given."""
        return {name: getattr(self, name) for name in STRATEGIES[self.strategy].rates}

    def unused(self) -> list[str]:
        """The options that differ from their default, but do not apply to the strategy."""
        own = STRATEGIES[self.strategy].rates
        others = {name for strategy in BUILT_IN for name in strategy.rates if name not in own}
        others |= {name for name in MaskingOptions.model_fields if name.startswith("pmi_") and self.strategy != "pmi"}
        fields = MaskingOptions.model_fields
        return [name for name in fields if name in others and getattr(self, name) != fields[name].default]
