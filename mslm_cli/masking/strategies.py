"""The masking strategies: their properties and functions.

Help texts read this table and must not load numpy, so built-in functions are imported on first use. Installed packages
add strategies through entry points of the group ``mslm.strategies``, each a ``Strategy``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mslm_cli.plugins import Table

if TYPE_CHECKING:
    from mslm_cli.masking.batch import Drawn
    from mslm_cli.masking.blocks import Blocks
    from mslm_cli.masking.options import MaskingOptions
    from mslm_cli.masking.units import DrawContext, Units


class Remark(NamedTuple):
    """A note or warning for the user."""

    text: str
    is_warning: bool = False


class Statistics(Protocol):
    """Statistics of a strategy's own masks."""

    def add(self, context: "DrawContext", drawn: "Drawn") -> None:
        """Count one batch in one epoch."""

    def merge(self, other: Any) -> None:
        """Add the counts of another batch, which can come from another process."""

    def to_json(self) -> dict[str, Any]:
        """Entries for stats.json, in addition to the common ones."""

    def remarks(self) -> Iterator[Remark]:
        """Notes and warnings for the user."""


@dataclass(frozen=True)
class Preparation:
    """What a strategy computes from all sequences before masking, such as a vocabulary.

    build: computes the state from all sequences and the options.
    save: writes the state to the shards folder. load: reads it; raises ArtifactError if it is missing or damaged.
    """

    build: Callable[["Blocks", "MaskingOptions"], Any]
    save: Callable[[Path, Any], None]
    load: Callable[[Path], Any]


@dataclass(frozen=True)
class Strategy:
    """A way to choose what to mask.

    name: the value of ``--strategy``. help: what it masks, in a few words.
    rates: its rate options, out of rate, elm_rate and blm_rate, and what each is a fraction of; a budget solves for the
    last one.
    units: the maskable units for each rate (``masking.units``).
    needs_lexicon: whether it masks DS-terms.
    masks_runs: whether a unit can have several words, as the span-boundary objective needs.
    is_weighted: whether it masks both DS-terms and generic words, so that loss weights matter.
    preparation: a computation over all sequences before masking, if needed.
    statistics: its own statistics, if any; created for each run from the options.
    """

    name: str
    help: str
    rates: Mapping[str, str]
    units: Callable[["DrawContext"], Mapping[str, "Units"]]
    needs_lexicon: bool = False
    masks_runs: bool = False
    is_weighted: bool = False
    preparation: Preparation | None = None
    statistics: Callable[["MaskingOptions"], Statistics] | None = None


def late(where: str) -> Callable[..., Any]:
    """The function at ``where`` (``package.module:name``), imported when it is first called."""

    resolve = cache(lambda: resolve_name(where))

    def call(*arguments: Any) -> Any:
        return resolve()(*arguments)

    return call


_UNITS, _PMI, _SPANS = (f"mslm_cli.masking.{name}" for name in ("units", "pmi", "spans"))

BUILT_IN = (
    Strategy(
        "mslm",
        "DS-terms and generic words",
        {"elm_rate": "DS-term mentions", "blm_rate": "generic words"},
        late(f"{_UNITS}:mslm"),
        needs_lexicon=True,
        masks_runs=True,
        is_weighted=True,
    ),
    Strategy(
        "entity",
        "DS-terms",
        {"elm_rate": "DS-term mentions"},
        late(f"{_UNITS}:entity"),
        needs_lexicon=True,
        masks_runs=True,
    ),
    Strategy("token", "tokens", {"rate": "tokens"}, late(f"{_UNITS}:token")),
    Strategy("word", "words", {"rate": "words"}, late(f"{_UNITS}:word")),
    Strategy(
        "span",
        "spans",
        {"rate": "the tokens of each sequence"},
        late(f"{_UNITS}:span"),
        masks_runs=True,
        statistics=late(f"{_SPANS}:SpanLengths"),
    ),
    Strategy(
        "pmi",
        "collocations",
        {"rate": "collocations"},
        late(f"{_UNITS}:pmi_grams"),
        masks_runs=True,
        preparation=Preparation(late(f"{_PMI}:prepare"), late(f"{_PMI}:save"), late(f"{_PMI}:load")),
        statistics=late(f"{_PMI}:Collocations"),
    ),
    Strategy("none", "nothing", {}, late(f"{_UNITS}:nothing")),
)

STRATEGIES: Table[Strategy] = Table("mslm.strategies", Strategy, [(s.name, s) for s in BUILT_IN])
"""The strategies, by name."""
