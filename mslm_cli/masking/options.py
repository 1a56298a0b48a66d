"""What is masked, and how much: the options that decide the masks of given sequences."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from mslm_cli import plugins
from mslm_cli.masking.strategies import BUILT_IN, STRATEGIES
from mslm_cli.options import Config, OneOf, Rate

_THREE_SHARES = "expected three shares that sum to 1, such as 0.8,0.1,0.1"


def _parse_shares(value: object) -> object:
    shares = tuple(value.split(",")) if isinstance(value, str) else value
    if not isinstance(shares, tuple | list) or len(shares) != 3:
        raise ValueError(_THREE_SHARES)
    return shares


def _sum_to_one(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(value) < 0 or abs(sum(value) - 1.0) > 1e-9:
        raise ValueError(_THREE_SHARES)
    return value


Shares = Annotated[tuple[float, float, float], BeforeValidator(_parse_shares), AfterValidator(_sum_to_one)]


class MaskingOptions(Config):
    """What decides the masks."""

    strategy: Annotated[str, AfterValidator(OneOf(STRATEGIES.names))] = Field(
        "mslm", description=f"What is masked: {', '.join(strategy.help for strategy in BUILT_IN if strategy.rates)}."
    )
    elm_rate: Rate = Field(0.5, description="mslm, entity: share of DS-term mentions that are masked, whole.")
    blm_rate: Rate = Field(0.15, description="mslm: share of the generic words that are masked.")
    rate: Rate = Field(
        0.15,
        description="token, word, pmi: share of the tokens, words or collocations that are masked;"
        " span: share of the tokens of each sequence.",
    )
    budget: float | None = Field(
        None, ge=0.0, le=1.0, description="Share of all tokens to mask; the rate is solved for (mslm: the blm rate)."
    )
    schedule: str = Field(
        "constant",
        pattern=r"^(constant|linear:(0?\.\d+|[01](\.0*)?):(0?\.\d+|[01](\.0*)?))$",
        description="constant, or linear:FROM:TO, the budget of the first and of the last copy.",
    )
    pmi_min_count: int = Field(10, ge=0, description="pmi: a collocation occurs more often than this.")
    pmi_size: int | None = Field(
        None, ge=1, description="pmi: number of collocations; else half of those that are frequent enough."
    )
    mask_replace: Shares = Field(
        (0.8, 0.1, 0.1), description="Shares of masked units that become [MASK], become random, stay as they are."
    )
    copies: int = Field(1, ge=1, le=1000, description="Masks for so many epochs, each drawn anew.")
    dynamic: bool = Field(
        False, description="Write no masks: `mslm adapt` draws the same ones as it goes, anew for every epoch."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the masks.")

    def identity(self) -> dict[str, Any]:
        """Also the package that the strategy is from, where it is not this one."""
        found = plugins.versions(STRATEGIES.group).get(self.strategy)
        return super().identity() | ({"strategy_plugin": found} if found else {})

    def given_rates(self) -> dict[str, float]:
        """The rates of the strategy, where no budget is to be solved for."""
        return {name: getattr(self, name) for name in STRATEGIES[self.strategy].rates}
