"""STUDY.toml: the arms of a study, its data, and its training options."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mslm_cli.config import (
    AdaptConfig,
    ExtractTermsConfig,
    FinetuneConfig,
    LabelConfig,
    PreprocessConfig,
    ProbeConfig,
)
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import UsageError
from mslm_cli.masking.strategies import STRATEGIES, Strategy
from mslm_cli.options import Name, OneOf, Rate, expectation, read_toml

VANILLA, MORE_STEPS, AUGMENT = "vanilla", "more-steps", "augment"
TRANSFER, ALSO, SILVER, FINETUNE = "transfer", "also", "silver", "finetune"
WITHOUT_MASKS = (VANILLA, MORE_STEPS, AUGMENT, TRANSFER, ALSO, SILVER, FINETUNE)
"""Kinds of arms without adaptation; all other kinds are masking strategies."""

OF_DOCUMENTS = ("relations", "documents")
"""Tasks whose data are documents, which cannot be divided by sentences."""

_FOR_DOCUMENTS = (VANILLA, MORE_STEPS, FINETUNE)
"""Kinds of arms without adaptation that these tasks can have."""

MIN_SEEDS = 3
"""With fewer, the variation between seeds is unknown."""

_T = TypeVar("_T")
Many = Annotated[tuple[_T, ...], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else (v,))]
"""One value or a list of them."""


def is_plain(name: str) -> bool:
    """Whether a name is safe as a folder name and short enough for a table row."""
    return re.fullmatch(r"\w[\w.:+-]*( [\w.:+-]+)*", name) is not None and len(name) <= 40


def _plain(name: str) -> str:
    if not is_plain(name):
        raise ValueError("expected at most 40 letters, digits, spaces and . : + - _")
    return name


PlainName = Annotated[str, AfterValidator(_plain)]
Weights = Annotated[str, Field(pattern=AdaptConfig.model_fields["weights"].metadata[0].pattern)]


class TomlTable(BaseModel):
    """A table of STUDY.toml; unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelledData(TomlTable):
    """Labelled sentences to learn from, and to choose the best epoch on."""

    name: PlainName
    train: Path
    dev: Path | None = None
    dev_share: float = Field(0.15, gt=0, lt=1)

    @property
    def learnt_share(self) -> float:
        """The share of the sentences in ``train`` that a trial learns from."""
        return 1 - self.dev_share if self.dev is None else 1.0


class DataSet(LabelledData):
    """A labelled data set, optionally with its own text; without ``test``, it is cross-validated in ``folds``.

    task: what is learnt from it; default: that of [finetune]. finetune: its own options of fine-tuning.
    """

    test: Path | None = None
    folds: int | None = Field(None, ge=2)
    text: tuple[Path, ...] | None = None
    task: str | None = None
    finetune: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_tested(self) -> Self:
        if (self.test is None) == (self.folds is None):
            raise ValueError("needs either test, or folds for cross-validation")
        return self

    def tuned(self, options: FinetuneConfig) -> FinetuneConfig:
        """``options`` with the data set's own task and options."""
        own = self.finetune | ({} if self.task is None else {"task": self.task})
        return FinetuneConfig.model_validate(options.model_dump() | own)

    @property
    def n_folds(self) -> int:
        """The number of trials that together score every test sentence."""
        return self.folds or 1

    @property
    def learnt_share(self) -> float:
        """The share of the sentences in ``train`` that a trial learns from."""
        return super().learnt_share * (1 - 1 / self.folds if self.folds else 1)


class Source(LabelledData):
    """Another labelled corpus, which arms with a ``source`` learn first, and ``also`` arms at the same time.

    map: new names of its mention types, by their names in the files; other types keep theirs. epochs: of learning it;
    default: those of [finetune]. per_seed: a model for each seed; otherwise all seeds share one.
    """

    map: dict[str, str] = {}
    epochs: int | None = Field(None, ge=1)
    per_seed: bool = True


class LexiconOptions(ExtractTermsConfig):
    """A lexicon: its sources, and any option of ``mslm extract-terms``."""

    from_text: bool = True
    from_labels: bool = False
    terms: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if not (self.from_text or self.from_labels or self.terms):
            raise ValueError("a lexicon needs from_text, from_labels or terms")
        return self


class ShardsOptions(PreprocessConfig):
    """Any option of ``mslm preprocess`` not set by arms; by default masks are drawn during training."""

    dynamic: bool = True


class AdaptOptions(AdaptConfig):
    """Any option of ``mslm adapt``, and the amount of adaptation, the same for every arm."""

    tokens: int = Field(1_000_000, ge=1)
    per_seed: bool = True


class ProbeOptions(ProbeConfig):
    """Any option of ``mslm probe``, and a general text on which to measure forgetting."""

    items: int = Field(300, ge=1)
    general: Path | None = None


class SearchOptions(TomlTable):
    """The grid for ``--search`` and the settings of the search; see ``studies.search``."""

    elm_rate: Many[Rate] = (0.25, 0.5, 0.75, 1.0)
    blm_rate: Many[Rate] = (0.075, 0.15, 0.225)
    weights: Many[Weights] = ("uniform", "ratio:2")
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((1 / 16, 1 / 4), min_length=1)
    keep: float = Field(0.25, gt=0, lt=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)


def _arm_kinds() -> tuple[str, ...]:
    return (*WITHOUT_MASKS, *(strategy.name for strategy in STRATEGIES if strategy.rates))


@dataclass(frozen=True)
class Arm:
    """One way to train: ``masking``, ``adapt`` and ``finetune`` hold options of those commands."""

    name: str
    kind: str
    masking: dict[str, Any] = field(default_factory=dict)
    adapt: dict[str, Any] = field(default_factory=dict)
    lexicon: str | None = None
    source: str | None = None
    finetune: dict[str, Any] = field(default_factory=dict)
    like: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """All options that distinguish the arm."""
        inputs = {"lexicon": self.lexicon, "source": self.source, "like": self.like}
        return self.masking | self.adapt | self.finetune | {n: v for n, v in inputs.items() if v is not None}

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def is_adapted(self) -> bool:
        return self.kind not in WITHOUT_MASKS


class ArmOptions(TomlTable):
    """One arm, or, if options have several values, one arm for each combination."""

    kind: Annotated[str, AfterValidator(OneOf(_arm_kinds))]
    name: PlainName | None = None
    elm_rate: Many[Rate] = ()
    blm_rate: Many[Rate] = ()
    rate: Many[Rate] = ()
    budget: Many[Rate] = ()
    weights: Many[Weights] = ()
    sbo: Many[Annotated[float, Field(ge=0)]] = ()
    detect: Many[Annotated[float, Field(ge=0)]] = ()
    lexicon: Many[str] = ()
    source: Many[str] = ()
    finetune: dict[str, Any] = {}
    like: Many[str] = ()

    @property
    def strategy(self) -> Strategy | None:
        """The masking strategy, or None if the arm is not adapted."""
        return None if self.kind in WITHOUT_MASKS else STRATEGIES[self.kind]

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        allowed = _allowed(self.strategy) if self.strategy else _WITHOUT_MASKS_ALLOWED.get(self.kind, set())
        if wrong := sorted(self.model_fields_set - allowed - {"kind", "name"}):
            raise ValueError(f"{wrong[0]} does not apply to kind {self.kind!r}")
        if self.budget and (self.rate or self.blm_rate):
            other = "rate" if self.rate else "blm_rate"
            raise ValueError(f"budget and {other} both set how much is masked; give only one")
        if self.kind in (TRANSFER, ALSO) and not self.source:
            raise ValueError(f"{self.kind} needs a source")
        if self.kind == FINETUNE and not self.finetune:
            raise ValueError("kind 'finetune' needs options, such as finetune = { epochs = 10 }")
        return self

    def arms(self, lexicons: Sequence[str]) -> Iterator[Arm]:
        """One arm for each combination of the given options."""
        strategy = self.strategy
        options = ("elm_rate", "blm_rate", "rate", "budget", "weights", "sbo", "detect", "lexicon", "source", "like")
        given = {name: values for name in options if (values := getattr(self, name))}
        for chosen in itertools.product(*given.values()):
            picked = dict(zip(given, chosen, strict=True))
            lexicon, others = picked.pop("lexicon", lexicons[0]), {n: picked.pop(n, None) for n in ("source", "like")}
            trained = [name for name in ("weights", "sbo", "detect") if name in picked]
            adapt: dict[str, Any] = {name: picked.pop(name) for name in trained}
            has_terms = self.kind == AUGMENT or "detect" in adapt or bool(strategy and strategy.needs_lexicon)
            told = {**picked, **adapt, **({"lexicon": lexicon} if has_terms and "lexicon" in given else {})}
            told |= {n: value for n, value in others.items() if value}
            parts = [_shown(n, v) for n, v in told.items() if len(given[n]) > 1 or not self.name]
            parts += [] if self.name else [_shown(n, v) for n, v in self.finetune.items()]
            if {"rate", "blm_rate"} & picked.keys():
                picked["budget"] = None  # overrides the budget of [shards]
            # weights need both DS-term and generic targets
            adapt |= {} if strategy and strategy.is_weighted else {"weights": "uniform"}
            name = " ".join([self.name or self.kind, *parts])
            yield Arm(name, self.kind, picked, adapt, lexicon if has_terms else None, finetune=self.finetune, **others)


_WITHOUT_MASKS_ALLOWED = {
    MORE_STEPS: {"like"},
    AUGMENT: {"lexicon"},
    TRANSFER: {"source", "finetune"},
    ALSO: {"source", "finetune"},
    SILVER: {"source", "finetune"},
    FINETUNE: {"finetune"},
}


def _allowed(strategy: Strategy) -> set[str]:
    """The options that apply to an arm with this strategy."""
    optional = {"sbo": strategy.masks_runs, "weights": strategy.is_weighted}
    return {*strategy.rates, "budget", "detect", "lexicon", "source", *(name for name, has in optional.items() if has)}


def _shown(name: str, value: object) -> str:
    words = {"elm_rate": "elm ", "blm_rate": "blm ", "weights": "", "lexicon": "", "source": "from "}
    shown = format(value, "g") if isinstance(value, float) else str(value)
    return f"{words.get(name, name.replace('_', '-') + ' ')}{shown}"


class Study(TomlTable):
    """The contents of STUDY.toml."""

    model: Name = "minilm"
    lowercase: bool | None = None
    allow_pickle: bool = False
    data_root: Path = Path()
    text: tuple[Path, ...] = ()
    train_text: bool = True
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    label_shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((1.0,), min_length=1)
    reading: DataOptions = DataOptions()
    data: tuple[DataSet, ...] = Field(min_length=1)
    source: tuple[Source, ...] = ()
    arm: tuple[ArmOptions, ...] = Field(min_length=1)
    lexicon: dict[PlainName, LexiconOptions] = Field(
        default_factory=lambda: {"lexicon": LexiconOptions()}, min_length=1
    )
    shards: ShardsOptions = ShardsOptions()
    adapt: AdaptOptions = AdaptOptions()
    finetune: FinetuneConfig = FinetuneConfig()
    label: LabelConfig = LabelConfig()
    probe: ProbeOptions = ProbeOptions()
    probes: bool = True
    search: SearchOptions = SearchOptions()

    @model_validator(mode="before")
    @classmethod
    def _share_reading_options(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Apply the options of [reading] to every stage that reads data, unless its own table overrides them."""
        reading = given.get("reading")
        if not isinstance(reading, dict):
            return given
        lexicons = given.get("lexicon", {"lexicon": {}})
        tables = {name: given.get(name, {}) for name in ("shards", "finetune", "label", "probe")}
        if not all(isinstance(table, dict) for table in (lexicons, *tables.values())):
            return given
        lexicons = {name: reading | table if isinstance(table, dict) else table for name, table in lexicons.items()}
        return given | {"lexicon": lexicons} | {name: reading | table for name, table in tables.items()}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        named: dict[str, Sequence[Any]] = {"data set": self.data, "source": self.source, "arm": self.arms()}
        for what, names in ((what, [one.name for one in ones]) for what, ones in named.items()):
            if (same := _repeated(names)) is not None:
                raise ValueError(f"two {what}s are named {same!r}; give each its own name")
        for name, values in (("seed", self.seeds), ("label share", self.label_shares)):
            if (twice := _repeated(values)) is not None:
                raise ValueError(f"{name} {twice:g} is listed twice")
        for option in self.arm:
            if unknown := sorted(set(option.lexicon) - set(self.lexicon)):
                raise ValueError(f"no [lexicon.{unknown[0]}] for arm {option.name or option.kind!r}")
            if missing := sorted(set(option.source) - {source.name for source in self.source}):
                raise ValueError(f"no [[source]] is named {missing[0]!r}, for arm {option.name or option.kind!r}")
            costly = [arm.name for arm in self.arms() if arm.is_adapted or arm.kind == TRANSFER]
            if wrong := sorted(set(option.like) - set(costly)):
                raise ValueError(f"no arm {wrong[0]!r} with adaptation or transfer, for more-steps")
            self._check_finetuning(option.finetune, f"arm {option.name or option.kind!r}")
        for data in self.data:
            self._check_finetuning(data.finetune, f"data set {data.name!r}")
            self._check_task(data)
        for table, own in _DECIDED.items():
            if wrong := sorted(getattr(self, table).model_fields_set & own):
                raise ValueError(f"{table}.{wrong[0]} is set by the study or its arms, not in [{table}]")
        return self

    def _check_task(self, data: DataSet) -> None:
        """Check that the study does nothing to data of documents that only sentences allow."""
        if data.tuned(self.finetune).task not in OF_DOCUMENTS:
            return
        if data.dev is None or data.test is None:
            raise ValueError(f"data set {data.name!r} needs dev and test: documents of this task are not divided")
        if self.label_shares != (1.0,):
            raise ValueError(f"data set {data.name!r}: label_shares are for tasks of sentences")
        kinds = (arm.kind for arm in self.arms() if not arm.is_adapted and arm.kind not in _FOR_DOCUMENTS)
        if (kind := next(kinds, None)) is not None:
            raise ValueError(f"data set {data.name!r}: an arm of kind {kind!r} is for tasks of sentences")
        if source := next((arm.source for arm in self.arms() if arm.source is not None), None):
            raise ValueError(f"data set {data.name!r}: source {source!r} is for tasks of sentences")

    def _check_finetuning(self, options: dict[str, Any], of: str) -> None:
        """Check the options of fine-tuning of an arm or a data set."""
        if wrong := sorted(options.keys() & _DECIDED["finetune"]):
            raise ValueError(f"finetune.{wrong[0]} is set by the study, not by {of}")
        try:
            FinetuneConfig.model_validate(self.finetune.model_dump() | options)
        except ValidationError as error:
            first = error.errors()[0]
            reason = "unknown key" if first["type"] == "extra_forbidden" else expectation(first)
            raise ValueError(f"finetune.{first['loc'][0]} of {of}: {reason}") from None

    @property
    def full_share(self) -> float:
        """The largest share of the labels, which the verdict is about."""
        return max(self.label_shares)

    def arms(self) -> list[Arm]:
        """All arms in file order, with the baseline, vanilla, always included and first."""
        found = [arm for option in self.arm for arm in option.arms(list(self.lexicon))]
        vanilla = [arm for arm in found if arm.kind == VANILLA] or [Arm(VANILLA, VANILLA)]
        return [vanilla[0], *(arm for arm in found if arm is not vanilla[0])]


_DECIDED = {
    "shards": {"model", "lowercase", "offline", "strategy", "elm_rate", "blm_rate", "rate", "copies"},
    "adapt": {
        "model",
        "lowercase",
        "offline",
        "allow_pickle",
        "epochs",
        "steps",
        "minutes",
        "seed",
        "threads",
        "device",
        "weights",
    },
    "finetune": {"model", "lowercase", "offline", "allow_pickle", "seed", "threads", "device"},
    "label": {"seed", "threads", "device"},
    "probe": {"lowercase", "offline", "threads", "device"},
}


def read_study(path: Path) -> Study:
    """Read a study from a TOML file.

    Raises:
        UsageError: the file is unreadable or invalid; the message names the line or the key.
    """
    found = read_toml(path)
    try:
        return Study.model_validate(found)
    except ValidationError as error:
        raise UsageError(_message(error.errors()[0], path.read_text(encoding="utf-8"), path)) from error


def _repeated(values: Sequence[_T]) -> _T | None:
    """The first value that occurs again; None if all differ."""
    return next((value for i, value in enumerate(values) if value in values[:i]), None)


def _message(error: Any, text: str, path: Path) -> str:
    """A validation error as a message, with its line in the file."""
    place = tuple(part for part in error["loc"] if not str(part).startswith("function-"))
    line = _line_of(text, place)
    where = f"{path}:{line}: " if line else f"{path}: "
    key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    message = expectation(error)
    if error["type"] == "extra_forbidden":
        return f"{where}{key}: unknown key"
    if error["type"] == "missing":
        return f"{where}{key}: is missing"
    found = (
        ""
        if error["type"] == "value_error" and isinstance(error["input"], dict)
        else f", found {_short(error['input'])}"
    )
    return f"{where}{key}{': ' * bool(key)}{message}{found}"


def _short(value: object) -> str:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _line_of(text: str, place: Sequence[str | int]) -> int | None:
    """The line (from 1) of the key at ``place``, or of the table that lacks it; None if not found."""
    table: list[str | int] = []
    count: dict[str, int] = {}
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            names = [part.strip(" \"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', header[2])]
            table = list(names)
            if header[1] == "[[":
                count[header[2]] = count.get(header[2], -1) + 1
                table.append(count[header[2]])
            here = table
        elif key := re.match(r"\s*([\w\"'-]+)\s*=", line):
            here = [*table, key[1].strip("\"'")]
        else:
            continue
        depth = len(here)
        if list(place[:depth]) == here and (best is None or depth > best[0]):
            best = depth, number
    return best[1] if best else None
