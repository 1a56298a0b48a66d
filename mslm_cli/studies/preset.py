"""What ``mslm study`` compares: the usual arms, or those that fit a time limit on this machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mslm_cli.studies.spec import MORE_STEPS

OVERNIGHT_MINUTES = 600

_USUAL = (MORE_STEPS, "word", "span", "mslm")
_ONE_MSLM = 'kind = "mslm"\nelm_rate = 0.5\n'
_BOTH_WEIGHTS = _ONE_MSLM + 'weights = ["uniform", "ratio:2"]\n'
_SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 1)


@dataclass(frozen=True)
class Design:
    """What is compared, on how much data.

    tokens: of adaptation. kinds: of arms, beside vanilla and transfer. epochs: of fine-tuning.
    """

    seeds: int
    tokens: int
    kinds: Sequence[str] = _USUAL
    label_shares: Sequence[float] = (1,)
    epochs: int | Literal["auto"] = "auto"

    def arms(self, sources: Sequence[str]) -> str:
        """The arms as TOML; those of transfer learn first from ``sources``, and one of each after adaptation too.

        Source: benchmarks/few_labels.md, for adaptation and then transfer.
        """
        blocks = ['kind = "vanilla"\n', *(f'kind = "transfer"\nsource = {toml_string(source)}\n' for source in sources)]
        mslm = _BOTH_WEIGHTS if self.kinds == _USUAL else _ONE_MSLM
        blocks += [mslm if kind == "mslm" else f'kind = "{kind}"\n' for kind in self.kinds]
        if "mslm" in self.kinds:
            blocks += [f"{_ONE_MSLM}source = {toml_string(source)}\n" for source in sources]
        if MORE_STEPS in self.kinds:
            likes = (toml_string(f"transfer from {source}") for source in sources)
            blocks += [f'kind = "{MORE_STEPS}"\nlike = {name}\n' for name in likes]
        return "\n".join(f"[[arm]]\n{block}" for block in blocks)


def designs(*, has_sources: bool) -> list[Design]:
    """Designs for a time limit, from the cheapest on; each adds what is most worth knowing next.

    Transfer with all labels, then vanilla's learning curve with enough points for a forecast, then adaptation, then
    longer adaptation and its control, then smaller shares and more seeds. Without other corpora the curve is first.
    """
    found = [
        Design(3, 300_000, (), (1,)),
        Design(3, 300_000, (), _SHARES[-3:]),
        Design(3, 300_000, (), _SHARES[-4:]),
        Design(3, 300_000, ("word",), _SHARES[-4:]),
        Design(3, 1_000_000, ("word", "mslm"), _SHARES[-4:]),
        Design(3, 1_000_000, ("word", "mslm"), _SHARES[-5:]),
        Design(3, 1_000_000, (MORE_STEPS, "word", "mslm"), _SHARES[-5:]),
        Design(5, 1_000_000, (MORE_STEPS, "word", "mslm"), _SHARES),
    ]
    return found if has_sources else found[2:]


def largest_that_fits(seconds: Sequence[float], limit: float) -> int:
    """The number of the last design that takes at most ``limit`` seconds; the first one if none does."""
    return max((i for i, needed in enumerate(seconds) if needed <= limit), default=0)


def toml_string(value: str) -> str:
    """``value`` as TOML: every JSON string is one."""
    return json.dumps(value, ensure_ascii=False)
