"""The plan of a study: the trials of its arms, with the runs of stages that they need."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mslm_cli.config import AdaptConfig, EvalConfig, ExtractTermsConfig, PreprocessConfig, ProbeConfig
from mslm_cli.corpus.options import DataOptions
from mslm_cli.studies.nodes import Dependency, OutputOf, StageNode, Trial
from mslm_cli.studies.resampled_data import (
    DEV,
    RENAMED,
    SAMPLE,
    SUBSET,
    TEST,
    TRAIN,
    AugmentConfig,
    FoldConfig,
    RenameConfig,
    SampleConfig,
    SplitConfig,
    SubsetConfig,
)
from mslm_cli.studies.spec import (
    ALSO,
    AUGMENT,
    MIN_SEEDS,
    MORE_STEPS,
    OF_DOCUMENTS,
    SILVER,
    VANILLA,
    Arm,
    DataSet,
    LabelledData,
    LexiconOptions,
    Source,
    Study,
)
from mslm_cli.training.schedule import choose_schedule

_MIN_FINETUNE_STEPS = 64
"""In the fine-tuning of a short trial; after 22, MiniLM found no mention in the dev data of NCBI-disease."""


_LEAST_DEV = 50
"""Dev sentences at the smallest share of the labels: fewer cannot choose an epoch."""


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
    train_tokens: tokens in one epoch of fine-tuning, by data set. source_tokens: the same, by source. cost_ratio: the
    cost of a token in adaptation over that of one in fine-tuning (see ``studies.cost``).
    """

    study: Study
    root: Path
    model: Path
    has_head: bool
    max_tokens: int
    train_tokens: dict[str, int]
    cost_ratio: float
    runtime: Runtime
    source_tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialData:
    """A data set, the sentences that are labelled in a trial (a share of train and dev), and those it is scored on."""

    of: DataSet
    train: Dependency
    dev: Dependency
    test: Dependency
    label_share: float
    fold: int


class Planner:
    """Plans the trials for arms, data sets and seeds."""

    def __init__(self, context: PlanContext) -> None:
        self.context = context
        self.study = context.study
        self._reading = dict(DataOptions.of(self.study.finetune))
        self._splits = {
            (d.name, i): self._split(d, self._train(d, i)) for d in self.study.data for i in range(d.n_folds)
        }

    def trials(self, arms: Iterable[Arm]) -> list[Trial]:
        """All trials of these arms, in the best order to start them.

        One adapted arm comes first, so that shared inputs are made while another process trains vanilla. With several
        shares of the labels, three seeds of every arm with all labels come first, then vanilla's learning curve.
        """
        arms = sorted(arms, key=lambda arm: not arm.is_adapted)
        ordered = [arms[0], *sorted(arms[1:], key=lambda arm: arm.is_adapted)]
        shares = sorted(self.study.label_shares, reverse=True)
        trials = [
            self.trial(d, arm, seed, label_share=share, fold=fold)
            for d in self.study.data
            for seed in self.study.seeds
            for share in shares
            for fold in range(d.n_folds)
            for arm in ordered
        ]
        return sorted(trials, key=self._turn) if len(shares) > 1 else trials

    def _turn(self, trial: Trial) -> tuple[int, int]:
        block = self.study.seeds.index(trial.seed) // MIN_SEEDS
        is_full = trial.label_share == self.study.full_share
        return block, 0 if is_full else 1 if trial.arm.kind == VANILLA else 2

    def trial(
        self, data: DataSet, arm: Arm, seed: int, share: float = 1.0, *, label_share: float | None = None, fold: int = 0
    ) -> Trial:
        """One trial.

        Args:
            share: below 1, shortens adaptation and fine-tuning to that fraction.
            label_share: the share of the labels; default: the study's largest.
            fold: the fold of cross-validation, from 0.
        """
        label_share = self.study.full_share if label_share is None else label_share
        labelled = self._labelled(data, seed, label_share, fold)
        train, dev = labelled.train, labelled.dev
        if arm.kind == AUGMENT:
            made_from = (("train", train), ("lexicon", OutputOf(self.lexicon(arm, labelled))))
            train = OutputOf(StageNode("augment", AugmentConfig(seed=seed, **self._reading), made_from), TRAIN)
        epochs = self.epochs(labelled, arm)
        if share < 1:
            train, dev, epochs = self._shortened(data, train, dev, share)
        encoder = self.encoder(labelled, arm, seed, share) if arm.is_adapted else None
        own = data.tuned(self.study.finetune)
        patience = 0 if arm.kind == MORE_STEPS else own.patience
        options: dict[str, Any] = {"epochs": epochs, "patience": patience, "seed": seed}
        tuning = self.config(own, **options | arm.finetune)
        model: Dependency = self.context.model if encoder is None else OutputOf(encoder)
        if arm.source is not None and arm.kind != ALSO:
            model = OutputOf(self.source_model(arm.source, seed, model))
        inputs: list[tuple[str, Dependency]] = [("train", train), ("dev", dev), ("model", model)]
        if arm.source is not None and arm.kind == ALSO:
            inputs.append(("also", self._source_data(arm.source)[0]))
        if arm.kind == SILVER:
            teacher = StageNode("ner", self.config(own, **options), tuple(inputs))
            inputs.append(("silver", OutputOf(self.silver(labelled, teacher, seed))))
        ner = StageNode("ner", tuning, tuple(inputs))
        score = probe = None
        if share == 1:
            scoring = self.config(EvalConfig(**self._reading))
            score = StageNode(
                "eval", scoring, (("ner", OutputOf(ner)), ("data", labelled.test), ("train", labelled.train))
            )
            is_probed = self.study.probes and own.task not in OF_DOCUMENTS
            if encoder is not None and is_probed and label_share == self.study.full_share:
                probe = self.probe(labelled, encoder)
        return Trial(data.name, arm, seed, ner, score, probe, share, label_share, fold, data.n_folds)

    def _labelled(self, data: DataSet, seed: int, share: float, fold: int) -> TrialData:
        """The labelled sentences of a trial: nested subsets, drawn anew for each seed, the same for every arm."""
        train, dev = self._splits[data.name, fold]
        test = OutputOf(self._fold(data, fold), TEST) if data.test is None else self.context.root / data.test
        if share < 1:
            train, dev = (
                OutputOf(
                    StageNode(
                        "subset",
                        SubsetConfig(share=share, least=least, seed=seed, **self._reading),
                        (("source", source),),
                    ),
                    SUBSET,
                )
                for source, least in ((train, 0), (dev, _LEAST_DEV))
            )
        return TrialData(data, train, dev, test, share, fold)

    def _shortened(
        self, data: DataSet, train: Dependency, dev: Dependency, share: float
    ) -> tuple[Dependency, Dependency, int]:
        """Training sentences, dev sentences (at most as many) and epochs of a short trial.

        Below a minimum number of steps no encoder has learnt to tag, and dev scores do not separate them.
        """
        n_tokens = self.context.train_tokens[data.name]
        epochs, tokens_per_step, _ = choose_schedule(self.study.finetune, n_tokens)
        n_steps = epochs * n_tokens / tokens_per_step
        share = min(1.0, max(share, _MIN_FINETUNE_STEPS / n_steps))
        n_epochs = max(1, round(epochs * math.sqrt(share)))
        part = SampleConfig(share=min(1.0, share * epochs / n_epochs), **self._reading)
        few = OutputOf(StageNode("sample", part, (("source", train),)), SAMPLE)
        rest = SampleConfig(share=1.0, **self._reading)
        return few, OutputOf(StageNode("sample", rest, (("source", dev), ("beside", few))), SAMPLE), n_epochs

    def epochs(self, data: TrialData, arm: Arm) -> int | Literal["auto"]:
        """Epochs of fine-tuning: those of the study, except for arms defined by a different number."""
        tuning = data.of.tuned(self.study.finetune)
        epochs = tuning.epochs
        if arm.kind == MORE_STEPS:
            n_tokens = self.context.train_tokens[data.of.name] * data.label_share
            own = choose_schedule(tuning, round(n_tokens)).epochs
            return own + math.ceil(self._cost_before(arm.like) / n_tokens)
        if arm.kind == AUGMENT and epochs != "auto":  # auto takes the size of the data into account
            return max(1, math.ceil(epochs / 2))
        return epochs

    def _cost_before(self, name: str | None) -> float:
        """What the arm ``name`` spends before fine-tuning, in tokens of fine-tuning; default: what adaptation costs."""
        source = next((arm.source for arm in self.study.arms() if arm.name == name), None)
        if source is None:
            return self.study.adapt.tokens * self.context.cost_ratio
        n_tokens = self.context.source_tokens[source]
        epochs = self._source(source).epochs or choose_schedule(self.study.finetune, n_tokens).epochs
        return n_tokens * epochs

    def _source(self, name: str) -> Source:
        return next(source for source in self.study.source if source.name == name)

    def encoder(self, data: TrialData, arm: Arm, seed: int, share: float = 1.0) -> StageNode:
        """The adaptation of an arm; seeds share one if the study says so."""
        options = self.study.adapt
        tokens = max(1, round(options.tokens * share))
        config = self.config(
            options,
            AdaptConfig,
            seed=seed if options.per_seed else self.study.seeds[0],
            tokens_per_step=options.step_tokens,
            steps=math.ceil(tokens / options.step_tokens),
            tokens=None,
            **arm.adapt,
        )
        return StageNode("encoder", config, (("shards", OutputOf(self.shards(data, arm))), ("model", self.start(data))))

    def silver(self, data: TrialData, teacher: StageNode, seed: int) -> StageNode:
        """Sentences of the text as ``teacher`` labels them."""
        text = [("text", t) for t in self.text(data.of, data.fold)]
        return StageNode("silver", self.config(self.study.label, seed=seed), (("model", OutputOf(teacher)), *text))

    def _source_data(self, name: str) -> list[Dependency]:
        """The training and dev sentences of another corpus, with our names of its types."""
        source, parts = self._source(name), []
        for part in self._split(source, self.context.root / source.train):
            renamed = StageNode("rename", RenameConfig(names=source.map, **self._reading), (("source", part),))
            parts.append(OutputOf(renamed, RENAMED) if source.map else part)
        return parts

    def source_model(self, name: str, seed: int, start: Dependency) -> StageNode:
        """The model of another corpus, made from the encoder ``start``."""
        source, (train, dev) = self._source(name), self._source_data(name)
        epochs: dict[str, Any] = {} if source.epochs is None else {"epochs": source.epochs}
        config = self.config(self.study.finetune, seed=seed if source.per_seed else self.study.seeds[0], **epochs)
        return StageNode("ner", config, (("train", train), ("dev", dev), ("model", start)))

    def start(self, data: TrialData) -> Dependency:
        """The encoder from which every adaptation on this text starts; a fresh MLM head is trained first."""
        if self.context.has_head:
            return self.context.model
        config = self.config(self.study.adapt, AdaptConfig, seed=0, epochs=0, tokens=None, weights="uniform")
        shards = self.shards(data, Arm("word", "word"))
        return OutputOf(StageNode("encoder", config, (("shards", OutputOf(shards)), ("model", self.context.model))))

    def shards(self, data: TrialData, arm: Arm) -> StageNode:
        """The shards of an arm: the text with its masks."""
        masking = {"strategy": arm.kind, **arm.masking}
        config = self.config(self.study.shards, PreprocessConfig, **masking)
        text = [("text", t) for t in self.text(data.of, data.fold)]
        lexicon = [] if arm.lexicon is None else [("lexicon", OutputOf(self.lexicon(arm, data)))]
        return StageNode("shards", config, (*text, *lexicon, ("model", self.context.model)))

    def lexicon(self, arm: Arm, data: TrialData) -> StageNode:
        """The lexicon of an arm that needs one."""
        assert arm.lexicon is not None
        return self._lexicon(self.study.lexicon[arm.lexicon], data)

    def _lexicon(self, options: LexiconOptions, data: TrialData) -> StageNode:
        config = self.config(options, ExtractTermsConfig)
        inputs: list[tuple[str, Dependency]] = []
        if options.from_text:
            inputs += [("text", t) for t in self.text(data.of, data.fold)]
        if options.from_labels:
            inputs.append(("labels", data.train))
        inputs += [("terms", self.context.root / path) for path in options.terms]
        return StageNode("lexicon", config, tuple(inputs))

    def probe(self, data: TrialData, encoder: StageNode) -> StageNode:
        """The probe of an encoder on the dev text; every arm gets the same items, from the study's first lexicon."""
        options = self.study.probe
        lexicon = self._lexicon(next(iter(self.study.lexicon.values())), data)
        inputs: list[tuple[str, Dependency]] = [
            ("encoder", OutputOf(encoder)),
            ("text", self._splits[data.of.name, data.fold][1]),
        ]
        inputs.append(("lexicon", OutputOf(lexicon)))
        if options.general is not None:
            inputs.append(("general", self.context.root / options.general))
        return StageNode("probe", self.config(options, ProbeConfig), tuple(inputs))

    def text(self, data: DataSet, fold: int = 0) -> list[Dependency]:
        """The text for lexicons and adaptation: never dev or test; all training sentences, labelled or not."""
        root = self.context.root
        if data.text is not None:
            has_text = self.study.train_text and data.tuned(self.study.finetune).task not in OF_DOCUMENTS
            own = [self._splits[data.name, fold][0]] if has_text else []
            return [*(root / path for path in data.text), *own]
        sharing = [
            self._splits[d.name, fold if d is data else 0][0]
            for d in self.study.data
            if d.text is None and self.study.train_text and d.tuned(self.study.finetune).task not in OF_DOCUMENTS
        ]
        return list(dict.fromkeys([*(root / path for path in self.study.text), *sharing]))

    def _fold(self, data: DataSet, number: int) -> StageNode:
        assert data.folds is not None
        config = FoldConfig(folds=data.folds, number=number, **self._reading)
        return StageNode("fold", config, (("train", self.context.root / data.train),))

    def _train(self, data: DataSet, fold: int) -> Dependency:
        """The sentences that are not test sentences in this fold."""
        return self.context.root / data.train if data.folds is None else OutputOf(self._fold(data, fold), TRAIN)

    def _split(self, data: LabelledData, train: Dependency) -> tuple[Dependency, Dependency]:
        """``train``, without what becomes dev if there are no dev data, and dev."""
        if data.dev is not None:
            return train, self.context.root / data.dev
        node = StageNode("split", SplitConfig(dev_share=data.dev_share, **self._reading), (("train", train),))
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
