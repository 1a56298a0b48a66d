"""The plan of a study: a graph of stage runs, and the trials that need them.

The key of a node is the hash of its options and of the content of its inputs, and names its folder. So trials share
common work, a killed study finds what is done, and an extended study makes only what is new.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from mslm_cli import artifacts
from mslm_cli.config import AdaptConfig, EvalConfig, ExtractTermsConfig, PreprocessConfig, ProbeConfig
from mslm_cli.corpus.formats.brat import annotations_beside
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import DataError
from mslm_cli.options import Config
from mslm_cli.studies.resampled_data import DEV, SAMPLE, TRAIN, AugmentConfig, SampleConfig, SplitConfig
from mslm_cli.studies.spec import AUGMENT, MORE_STEPS, Arm, DataSet, LexiconOptions, Study

Stage = Literal["split", "sample", "lexicon", "augment", "shards", "encoder", "ner", "eval", "probe"]

_MIN_FINETUNE_STEPS = 64
"""In the fine-tuning of a short trial; after 22, MiniLM found no mention in the dev data of NCBI-disease."""


@dataclass(frozen=True)
class OutputOf:
    """The output folder of a node, or one file in it."""

    node: "StageNode"
    name: str = ""


Dependency = Path | OutputOf


@dataclass(frozen=True)
class StageNode:
    """One run of a stage: its options and its inputs, each with a role."""

    stage: Stage
    config: Config
    inputs: tuple[tuple[str, Dependency], ...]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the options and the content of the inputs; the code's identity is kept once for the study."""
        inputs = [[role, [m.node.key, m.name] if isinstance(m, OutputOf) else content_of(m)] for role, m in self.inputs]
        identity = [self.stage, self.config.identity(), inputs]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of the node's folder."""
        return f"{self.stage}-{self.key[:16]}"

    def needs(self) -> list["StageNode"]:
        """The nodes whose output this node takes as input."""
        return [dependency.node for _, dependency in self.inputs if isinstance(dependency, OutputOf)]

    def chain(self) -> Iterator["StageNode"]:
        """The node and all its dependencies in topological order, itself last."""
        for need in self.needs():
            yield from need.chain()
        yield self


def content_of(path: Path) -> str:
    """The content hash of a file or folder.

    Raises:
        DataError: it cannot be read.
    """
    beside = annotations_beside(path)
    try:
        parts = [(each, each.stat()) for each in (path, beside) if each is not None]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    return " ".join(_content_of(each, found.st_mtime_ns, found.st_size) for each, found in parts)


@lru_cache(maxsize=4096)
def _content_of(path: Path, _mtime_ns: int, _n_bytes: int) -> str:
    return artifacts.file_input("", path).fingerprint


@dataclass(frozen=True)
class Trial:
    """One arm with one seed on one data set; ``share`` < 1 is a short trial of the search, scored only on dev."""

    data: str
    arm: Arm
    seed: int
    ner: StageNode
    score: StageNode | None
    probe: StageNode | None
    share: float = 1.0

    @property
    def key(self) -> str:
        """The key of ``result``, which identifies the trial."""
        return self.result.key

    @property
    def result(self) -> StageNode:
        """The trial's last node; the trial is done once it is."""
        return self.score or self.ner

    @property
    def trained(self) -> list[StageNode]:
        """The adaptation, if any, and the fine-tuning; not the warm-up of the MLM head, which adaptations share."""
        adaptations = [node for node in self.ner.needs() if node.stage == "encoder"]
        return [*adaptations, self.ner]

    def nodes(self) -> Iterator[StageNode]:
        """All nodes of the trial in topological order."""
        yield from self.result.chain()
        if self.probe is not None:
            yield from self.probe.chain()

    @property
    def title(self) -> str:
        """The trial's name in messages."""
        return f"{self.data} · {self.arm.name} · seed {self.seed}"


@dataclass(frozen=True)
class Runtime:
    """Options that affect how stages run, not what they compute."""

    threads: int = 0
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class PlanContext:
    """The inputs of planning.

    model: the encoder's folder. has_head: whether it has an MLM head. max_tokens: its longest sequence.
    train_tokens: tokens in one epoch of fine-tuning, by data set. cost_ratio: the cost of a token in adaptation over
    that of one in fine-tuning (see ``studies.cost``).
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
    """Plans the trials for arms, data sets and seeds."""

    def __init__(self, context: PlanContext) -> None:
        self.context = context
        self.study = context.study
        self._reading = dict(DataOptions.of(self.study.finetune))
        self._splits = {d.name: self._split(d) for d in self.study.data}

    def trials(self, arms: Iterable[Arm]) -> list[Trial]:
        """All trials of these arms, in the best order to start them.

        One adapted arm comes first, so that shared inputs are made while another process trains vanilla.
        """
        arms = sorted(arms, key=lambda arm: not arm.is_adapted)
        ordered = [arms[0], *sorted(arms[1:], key=lambda arm: arm.is_adapted)]
        return [self.trial(d, arm, seed) for d in self.study.data for seed in self.study.seeds for arm in ordered]

    def trial(self, data: DataSet, arm: Arm, seed: int, share: float = 1.0) -> Trial:
        """One trial; ``share`` < 1 shortens its adaptation and fine-tuning to that fraction."""
        train, dev = self._splits[data.name]
        if arm.kind == AUGMENT:
            made_from = (("train", train), ("lexicon", OutputOf(self.lexicon(arm, data))))
            train = OutputOf(StageNode("augment", AugmentConfig(seed=seed, **self._reading), made_from), TRAIN)
        epochs = self.epochs(data, arm)
        if share < 1:
            train, dev, epochs = self._shortened(data, train, dev, epochs, share)
        encoder = self.encoder(data, arm, seed, share) if arm.is_adapted else None
        tuning = self.config(self.study.finetune, seed=seed, epochs=epochs)
        model = self.context.model if encoder is None else OutputOf(encoder)
        ner = StageNode("ner", tuning, (("train", train), ("dev", dev), ("model", model)))
        score = probe = None
        if share == 1:
            test, known = self.context.root / data.test, self._splits[data.name][0]
            scoring = self.config(EvalConfig(**self._reading))
            score = StageNode("eval", scoring, (("ner", OutputOf(ner)), ("data", test), ("train", known)))
            if encoder is not None and self.study.probes:
                probe = self.probe(data, encoder)
        return Trial(data.name, arm, seed, ner, score, probe, share)

    def _shortened(
        self, data: DataSet, train: Dependency, dev: Dependency, epochs: int, share: float
    ) -> tuple[Dependency, Dependency, int]:
        """Training sentences, dev sentences (at most as many) and epochs of a short trial.

        Below a minimum number of steps no encoder has learnt to tag, and dev scores do not separate them.
        """
        n_steps = epochs * self.context.train_tokens[data.name] / self.study.finetune.tokens_per_step
        share = min(1.0, max(share, _MIN_FINETUNE_STEPS / n_steps))
        n_epochs = max(1, round(epochs * math.sqrt(share)))
        part = SampleConfig(share=min(1.0, share * epochs / n_epochs), **self._reading)
        few = OutputOf(StageNode("sample", part, (("source", train),)), SAMPLE)
        rest = SampleConfig(share=1.0, **self._reading)
        return few, OutputOf(StageNode("sample", rest, (("source", dev), ("beside", few))), SAMPLE), n_epochs

    def epochs(self, data: DataSet, arm: Arm) -> int:
        """Epochs of fine-tuning: those of the study, except for arms defined by a different number."""
        epochs = self.study.finetune.epochs
        if arm.kind == MORE_STEPS:
            extra = self.study.adapt.tokens * self.context.cost_ratio / self.context.train_tokens[data.name]
            return epochs + math.ceil(extra)
        if arm.kind == AUGMENT:
            return max(1, math.ceil(epochs / 2))
        return epochs

    def encoder(self, data: DataSet, arm: Arm, seed: int, share: float = 1.0) -> StageNode:
        """The adaptation of an arm; seeds share one if the study says so."""
        options = self.study.adapt
        tokens = max(1, round(options.tokens * share))
        config = self.config(
            options,
            AdaptConfig,
            seed=seed if options.per_seed else self.study.seeds[0],
            steps=math.ceil(tokens / options.tokens_per_step),
            tokens=None,
            **arm.adapt,
        )
        return StageNode("encoder", config, (("shards", OutputOf(self.shards(data, arm))), ("model", self.start(data))))

    def start(self, data: DataSet) -> Dependency:
        """The encoder from which every adaptation on this text starts; a fresh MLM head is trained first."""
        if self.context.has_head:
            return self.context.model
        config = self.config(self.study.adapt, AdaptConfig, seed=0, epochs=0, tokens=None, weights="uniform")
        shards = self.shards(data, Arm("word", "word"))
        return OutputOf(StageNode("encoder", config, (("shards", OutputOf(shards)), ("model", self.context.model))))

    def shards(self, data: DataSet, arm: Arm) -> StageNode:
        """The shards of an arm: the text with its masks."""
        masking = {"strategy": arm.kind, **arm.masking}
        config = self.config(self.study.shards, PreprocessConfig, **masking)
        text = [("text", t) for t in self.text(data)]
        lexicon = [] if arm.lexicon is None else [("lexicon", OutputOf(self.lexicon(arm, data)))]
        return StageNode("shards", config, (*text, *lexicon, ("model", self.context.model)))

    def lexicon(self, arm: Arm, data: DataSet) -> StageNode:
        """The lexicon of an arm that needs one."""
        assert arm.lexicon is not None
        return self._lexicon(self.study.lexicon[arm.lexicon], data)

    def _lexicon(self, options: LexiconOptions, data: DataSet) -> StageNode:
        config = self.config(options, ExtractTermsConfig)
        inputs: list[tuple[str, Dependency]] = []
        if options.from_text:
            inputs += [("text", t) for t in self.text(data)]
        if options.from_labels:
            inputs.append(("labels", self._splits[data.name][0]))
        inputs += [("terms", self.context.root / path) for path in options.terms]
        return StageNode("lexicon", config, tuple(inputs))

    def probe(self, data: DataSet, encoder: StageNode) -> StageNode:
        """The probe of an encoder on the dev text; every arm gets the same items, from the study's first lexicon."""
        options = self.study.probe
        lexicon = self._lexicon(next(iter(self.study.lexicon.values())), data)
        inputs: list[tuple[str, Dependency]] = [("encoder", OutputOf(encoder)), ("text", self._splits[data.name][1])]
        inputs.append(("lexicon", OutputOf(lexicon)))
        if options.general is not None:
            inputs.append(("general", self.context.root / options.general))
        return StageNode("probe", self.config(options, ProbeConfig), tuple(inputs))

    def text(self, data: DataSet) -> list[Dependency]:
        """The text for lexicons and adaptation: never dev or test."""
        root = self.context.root
        if data.text is not None:
            own = [self._splits[data.name][0]] if self.study.train_text else []
            return [*(root / path for path in data.text), *own]
        sharing = [self._splits[d.name][0] for d in self.study.data if d.text is None and self.study.train_text]
        return list(dict.fromkeys([*(root / path for path in self.study.text), *sharing]))

    def _split(self, data: DataSet) -> tuple[Dependency, Dependency]:
        root = self.context.root
        if data.dev is not None:
            return root / data.train, root / data.dev
        node = StageNode(
            "split", SplitConfig(dev_share=data.dev_share, **self._reading), (("train", root / data.train),)
        )
        return OutputOf(node, TRAIN), OutputOf(node, DEV)

    def config(self, options: Any, config_type: type[Any] | None = None, **changes: object) -> Any:
        """``options`` as a validated stage config, with the study's model options and the runtime options."""
        config_type = config_type or type(options)
        study, runtime = self.study, self.context.runtime
        common = {
            "lowercase": study.lowercase,
            "allow_pickle": study.allow_pickle,
            "offline": runtime.offline,
            "threads": runtime.threads,
            "device": runtime.device,
        }
        if "max_length" in config_type.model_fields:
            changes["max_length"] = min(options.max_length, self.context.max_tokens)
        names = config_type.model_fields
        values = {n: v for n, v in options.model_dump().items() if n in names}
        return config_type.build(**values | {n: v for n, v in common.items() if n in names} | changes)


def shared(trials: Sequence[Trial]) -> list[StageNode]:
    """The nodes of all trials in topological order, each once."""
    return list({node.key: node for trial in trials for node in trial.nodes()}.values())
