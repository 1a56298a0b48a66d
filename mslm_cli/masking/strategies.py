"""The masking strategies: what each has and needs, and where its functions are.

This table can be read without numpy, which help texts must not load; so built-in functions are imported late.
Installed packages add to it through entry points of the group ``mslm.strategies``, each a ``Strategy``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mslm_cli.plugins import Table

if TYPE_CHECKING:
    from mslm_cli.masking.batch import Drawn
    from mslm_cli.masking.options import MaskingOptions
    from mslm_cli.masking.pmi import Blocks
    from mslm_cli.masking.units import DrawContext, Units


class Remark(NamedTuple):
    """Something to tell the user."""

    text: str
    is_warning: bool = False


class Statistics(Protocol):
    """What a strategy counts of its own masks."""

    def add(self, context: "DrawContext", drawn: "Drawn") -> None:
        """Count one batch in one epoch."""

    def to_json(self) -> dict[str, Any]:
        """What goes into stats.json beside what every strategy has there."""

    def remarks(self) -> Iterator[Remark]:
        """What the user should know."""


@dataclass(frozen=True)
class Preparation:
    """What a strategy works out from all sequences before it can mask any, such as a vocabulary.

    build: the state, given a function that gives all sequences, every time anew, and the options.
    save: writes a state into the folder of the shards. load: reads it; ArtifactError where it is missing or damaged.
    """

    build: Callable[["Blocks", "MaskingOptions"], Any]
    save: Callable[[Path, Any], None]
    load: Callable[[Path], Any]


@dataclass(frozen=True)
class Strategy:
    """One way to choose what is masked.

    name: what ``--strategy`` calls it. help: what it masks, in a few words.
    rates: the rate options that it has, of rate, elm_rate and blm_rate; a budget solves for the last one.
    units: what may be masked at each of the rates (``masking.units``).
    needs_lexicon: whether it masks DS-terms.
    masks_runs: whether what is masked as one can be several words, which the span-boundary objective predicts.
    is_weighted: whether it masks DS-terms and generic words, which the loss can weigh against each other.
    preparation: where it works something out from all sequences first.
    statistics: where it counts something of its own; made anew for each run, from the options.
    """

    name: str
    help: str
    rates: tuple[str, ...]
    units: Callable[["DrawContext"], Mapping[str, "Units"]]
    needs_lexicon: bool = False
    masks_runs: bool = False
    is_weighted: bool = False
    preparation: Preparation | None = None
    statistics: Callable[["MaskingOptions"], Statistics] | None = None


def late(where: str) -> Callable[..., Any]:
    """The function at ``where`` (``package.module:name``), imported when it is first called."""

    def call(*arguments: Any) -> Any:
        return resolve_name(where)(*arguments)

    return call


_UNITS, _PMI, _SPANS = (f"mslm_cli.masking.{name}" for name in ("units", "pmi", "spans"))

BUILT_IN = (
    Strategy(
        "mslm",
        "DS-terms and generic words",
        ("elm_rate", "blm_rate"),
        late(f"{_UNITS}:mslm"),
        needs_lexicon=True,
        masks_runs=True,
        is_weighted=True,
    ),
    Strategy("entity", "DS-terms", ("elm_rate",), late(f"{_UNITS}:entity"), needs_lexicon=True, masks_runs=True),
    Strategy("token", "tokens", ("rate",), late(f"{_UNITS}:token")),
    Strategy("word", "words", ("rate",), late(f"{_UNITS}:word")),
    Strategy(
        "span", "spans", ("rate",), late(f"{_UNITS}:span"), masks_runs=True, statistics=late(f"{_SPANS}:SpanLengths")
    ),
    Strategy(
        "pmi",
        "collocations",
        ("rate",),
        late(f"{_UNITS}:pmi_grams"),
        masks_runs=True,
        preparation=Preparation(late(f"{_PMI}:prepare"), late(f"{_PMI}:save"), late(f"{_PMI}:load")),
        statistics=late(f"{_PMI}:Collocations"),
    ),
    Strategy("none", "nothing", (), late(f"{_UNITS}:nothing")),
)

STRATEGIES: Table[Strategy] = Table("mslm.strategies", Strategy, [(s.name, s) for s in BUILT_IN])
"""By name."""
