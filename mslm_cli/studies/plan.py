"""What a study has to do: pieces of work that know what they are made from, and the trials that need them.

A piece has a key, the hash of its options and of the content of all that goes into it, and its folder is named after
the key. So trials share what they have in common, a study that was killed finds what is done, and one that has grown
makes only what is new.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from mslm_cli import artifacts, provenance
from mslm_cli.config import AdaptConfig, Config, EvalConfig, ExtractTermsConfig, PreprocessConfig, ProbeConfig
from mslm_cli.errors import DataError
from mslm_cli.studies.derived import DEV, SAMPLE, TRAIN, AugmentConfig, SampleConfig, SplitConfig
from mslm_cli.studies.spec import AUGMENT, MORE_UPDATES, Arm, DataSet, LexiconOptions, Study

Stage = Literal["split", "sample", "lexicon", "augment", "shards", "encoder", "ner", "eval", "probe"]

_LEAST_UPDATES = 64
"""Of the fine-tuning of a short trial; after 22 MiniLM found no mention on the dev data of NCBI-disease."""


@dataclass(frozen=True)
class Made:
    """What a piece of work makes, or with a name one file of it."""

    piece: "Piece"
    name: str = ""


Material = Path | Made


@dataclass(frozen=True)
class Piece:
    """One run of a stage: its options, and by role the files and pieces that it is made from."""

    stage: Stage
    config: Config
    inputs: tuple[tuple[str, Material], ...]

    @cached_property
    def key(self) -> str:
        """The SHA-256 that identifies the work, by content: options, inputs, the version of mslm."""
        inputs = [[role, [m.piece.key, m.name] if isinstance(m, Made) else content_of(m)] for role, m in self.inputs]
        identity = [self.stage, self.config.identity(), inputs, provenance.code_version()]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.stage}-{self.key[:16]}"

    def needs(self) -> list["Piece"]:
        """The pieces that it is made from."""
        return [material.piece for _, material in self.inputs if isinstance(material, Made)]

    def chain(self) -> Iterator["Piece"]:
        """All pieces that have to be there, in an order in which they can be made; itself last."""
        for need in self.needs():
            yield from need.chain()
        yield self


def content_of(path: Path) -> str:
    """The hash of the content of a file or folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    return _content_of(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _content_of(path: Path, _mtime_ns: int, _n_bytes: int) -> str:
    return artifacts.file_input("", path).fingerprint


@dataclass(frozen=True)
class Trial:
    """One arm with one seed on one data set; ``share`` < 1 is a short one of the search, scored on dev alone."""

    data: str
    arm: Arm
    seed: int
    ner: Piece
    score: Piece | None
    probe: Piece | None
    share: float = 1.0

    @property
    def key(self) -> str:
        """What identifies the trial's work."""
        return self.result.key

    @property
    def result(self) -> Piece:
        """The piece that is done last, and means that the trial is done."""
        return self.score or self.ner

    @property
    def trained(self) -> list[Piece]:
        """Its adaptation, if it has one, and its fine-tuning; not the head that all adaptations start from."""
        adaptations = [piece for piece in self.ner.needs() if piece.stage == "encoder"]
        return [*adaptations, self.ner]

    def pieces(self) -> Iterator[Piece]:
        """All its pieces, in an order in which they can be made."""
        yield from self.result.chain()
        if self.probe is not None:
            yield from self.probe.chain()

    @property
    def title(self) -> str:
        """How it is called at the terminal."""
        return f"{self.data} · {self.arm.name} · seed {self.seed}"


@dataclass(frozen=True)
class Runtime:
    """How stages run, whatever they make: ``threads``, ``device``, ``offline``."""

    threads: int = 0
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class Setting:
    """What trials are planned from.

    model: the encoder's folder. has_head: whether it has an MLM head. max_tokens: the longest sequence it takes.
    train_tokens: of a pass over each data set's training sentences. cost_ratio: of a token in adaptation to one in
    fine-tuning (see ``studies.cost``).
    """

    study: Study
    root: Path
    model: Path
    has_head: bool
    max_tokens: int
    train_tokens: dict[str, int]
    cost_ratio: float
    runtime: Runtime


class Planner:
    """Makes trials of arms, data sets and seeds."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.study = setting.study
        # splits and the like are written in UTF-8
        self._reading = {"encoding": self.study.finetune.encoding, "errors": self.study.finetune.errors}
        self._splits = {d.name: self._split(d) for d in self.study.data}

    def trials(self, arms: Iterable[Arm]) -> list[Trial]:
        """All trials of these arms, in the order in which they are best begun.

        An adapted arm comes first, so that what the others share is being made while vanilla is trained.
        """
        arms = sorted(arms, key=lambda arm: not arm.is_adapted)
        ordered = [arms[0], *sorted(arms[1:], key=lambda arm: arm.is_adapted)]
        return [self.trial(d, arm, seed) for d in self.study.data for seed in self.study.seeds for arm in ordered]

    def trial(self, data: DataSet, arm: Arm, seed: int, share: float = 1.0) -> Trial:
        """One trial, or with a ``share`` below 1 a short one: so much of the adaptation and the fine-tuning."""
        train, dev = self._splits[data.name]
        if arm.kind == AUGMENT:
            made_from = (("train", train), ("lexicon", Made(self.lexicon(arm, data))))
            train = Made(Piece("augment", AugmentConfig(seed=seed, **self._reading), made_from), TRAIN)
        epochs = self.epochs(data, arm)
        if share < 1:
            train, dev, epochs = self._shortened(data, train, dev, epochs, share)
        encoder = self.encoder(data, arm, seed, share) if arm.is_adapted else None
        tuning = self.config(self.study.finetune, seed=seed, epochs=epochs)
        model = self.setting.model if encoder is None else Made(encoder)
        ner = Piece("ner", tuning, (("train", train), ("dev", dev), ("model", model)))
        score = probe = None
        if share == 1:
            test, known = self.setting.root / data.test, self._splits[data.name][0]
            scoring = self.config(EvalConfig(encoding=tuning.encoding, errors=tuning.errors))
            score = Piece("eval", scoring, (("ner", Made(ner)), ("data", test), ("train", known)))
            if encoder is not None and self.study.probes:
                probe = self.probe(data, encoder)
        return Trial(data.name, arm, seed, ner, score, probe, share)

    def _shortened(
        self, data: DataSet, train: Material, dev: Material, epochs: int, share: float
    ) -> tuple[Material, Material, int]:
        """Training sentences, dev sentences and passes of a short trial: fewer of each, of dev no more than of train.

        Below a number of updates no encoder has learnt to tag, and dev cannot tell one from another.
        """
        n_updates = epochs * self.setting.train_tokens[data.name] / self.study.finetune.tokens_per_update
        share = min(1.0, max(share, _LEAST_UPDATES / n_updates))
        passes = max(1, round(epochs * math.sqrt(share)))
        part = SampleConfig(share=min(1.0, share * epochs / passes), **self._reading)
        few = Made(Piece("sample", part, (("source", train),)), SAMPLE)
        rest = SampleConfig(share=1.0, **self._reading)
        return few, Made(Piece("sample", rest, (("source", dev), ("beside", few))), SAMPLE), passes

    def epochs(self, data: DataSet, arm: Arm) -> int:
        """Passes of fine-tuning: as many as the study says, unless the arm's point is their number."""
        epochs = self.study.finetune.epochs
        if arm.kind == MORE_UPDATES:
            extra = self.study.adapt.tokens * self.setting.cost_ratio / self.setting.train_tokens[data.name]
            return epochs + math.ceil(extra)
        if arm.kind == AUGMENT:
            return max(1, math.ceil(epochs / 2))
        return epochs

    def encoder(self, data: DataSet, arm: Arm, seed: int, share: float = 1.0) -> Piece:
        """The adaptation of an arm; seeds share one where the study says so."""
        options = self.study.adapt
        tokens = max(1, round(options.tokens * share))
        config = self.config(
            options,
            AdaptConfig,
            seed=seed if options.per_seed else self.study.seeds[0],
            updates=math.ceil(tokens / options.tokens_per_update),
            **arm.adapt,
        )
        return Piece("encoder", config, (("shards", Made(self.shards(data, arm))), ("model", self.start(data))))

    def start(self, data: DataSet) -> Material:
        """The encoder that every adaptation on this text starts from: one whose fresh MLM head was trained."""
        if self.setting.has_head:
            return self.setting.model
        config = self.config(self.study.adapt, AdaptConfig, seed=0, epochs=0, weights="uniform")
        shards = self.shards(data, Arm("word", "word"))
        return Made(Piece("encoder", config, (("shards", Made(shards)), ("model", self.setting.model))))

    def shards(self, data: DataSet, arm: Arm) -> Piece:
        """The text with an arm's masks."""
        masking = {"strategy": arm.kind, **arm.masking}
        config = self.config(self.study.shards, PreprocessConfig, **masking)
        text = [("text", t) for t in self.text(data)]
        lexicon = [] if arm.lexicon is None else [("lexicon", Made(self.lexicon(arm, data)))]
        return Piece("shards", config, (*text, *lexicon, ("model", self.setting.model)))

    def lexicon(self, arm: Arm, data: DataSet) -> Piece:
        """The lexicon of an arm that has one."""
        assert arm.lexicon is not None
        return self._lexicon(self.study.lexicon[arm.lexicon], data)

    def _lexicon(self, options: LexiconOptions, data: DataSet) -> Piece:
        config = self.config(options, ExtractTermsConfig)
        inputs: list[tuple[str, Material]] = []
        if options.from_text:
            inputs += [("text", t) for t in self.text(data)]
        if options.from_labels:
            inputs.append(("labels", self._splits[data.name][0]))
        inputs += [("terms", self.setting.root / path) for path in options.terms]
        return Piece("lexicon", config, tuple(inputs))

    def probe(self, data: DataSet, encoder: Piece) -> Piece:
        """What an encoder restores of the dev text: the same items, of the study's first lexicon, for every arm."""
        options = self.study.probe
        lexicon = self._lexicon(next(iter(self.study.lexicon.values())), data)
        inputs: list[tuple[str, Material]] = [("encoder", Made(encoder)), ("text", self._splits[data.name][1])]
        inputs.append(("lexicon", Made(lexicon)))
        if options.general is not None:
            inputs.append(("general", self.setting.root / options.general))
        return Piece("probe", self.config(options, ProbeConfig), tuple(inputs))

    def text(self, data: DataSet) -> list[Material]:
        """The text of lexicons and adaptation: never dev or test."""
        root = self.setting.root
        if data.text is not None:
            own = [self._splits[data.name][0]] if self.study.train_text else []
            return [*(root / path for path in data.text), *own]
        sharing = [self._splits[d.name][0] for d in self.study.data if d.text is None and self.study.train_text]
        return list(dict.fromkeys([*(root / path for path in self.study.text), *sharing]))

    def _split(self, data: DataSet) -> tuple[Material, Material]:
        root = self.setting.root
        if data.dev is not None:
            return root / data.train, root / data.dev
        piece = Piece("split", SplitConfig(dev_share=data.dev_share, **self._reading), (("train", root / data.train),))
        return Made(piece, TRAIN), Made(piece, DEV)

    def config(self, options: Any, kind: type[Any] | None = None, **changes: object) -> Any:
        """``options`` as the config of a stage, validated, with the study's model and how it is run."""
        kind = kind or type(options)
        study, runtime = self.study, self.setting.runtime
        common = {
            "lowercase": study.lowercase,
            "allow_pickle": study.allow_pickle,
            "offline": runtime.offline,
            "threads": runtime.threads,
            "device": runtime.device,
        }
        if "max_length" in kind.model_fields:
            changes["max_length"] = min(options.max_length, self.setting.max_tokens)
        names = kind.model_fields
        values = {n: v for n, v in options.model_dump().items() if n in names}
        return kind.build(**values | {n: v for n, v in common.items() if n in names} | changes)


def shared(trials: Sequence[Trial]) -> list[Piece]:
    """The pieces of all trials, each once, in an order in which they can be made."""
    return list({piece.key: piece for trial in trials for piece in trial.pieces()}.values())
