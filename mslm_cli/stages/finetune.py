"""``mslm finetune``: fine-tune an encoder for a task on labelled sentences."""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from mslm_cli import allocator, artifacts, console, fsio, models
from mslm_cli.artifacts import ENCODER_METRICS, METRICS, Artifact, ArtifactBuild, StagedArtifact
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus, check_renamed, renamed
from mslm_cli.corpus.lines import STDIN
from mslm_cli.corpus.readers import count_changes, gold_inputs
from mslm_cli.corpus.seen import Sketch
from mslm_cli.corpus.silver import SILVER, read_silver
from mslm_cli.errors import DataError, UsageError
from mslm_cli.evaluation.thresholds import NEUTRAL, THRESHOLDS, ThresholdPoint
from mslm_cli.tasks.registry import find_task
from mslm_cli.tasks.task import Task, inapplicable
from mslm_cli.text.tokens import keeps_punctuation
from mslm_cli.training import ranks
from mslm_cli.training.checkpoint import workspace
from mslm_cli.training.classifier import label_names
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.heads import MaskedLmHead
from mslm_cli.training.labelled import MASKED_LM_HEAD, TrainingSource
from mslm_cli.training.metric import Metric
from mslm_cli.training.model import (
    detected_labels,
    labels_of,
    load_masked_lm,
    max_tokens,
    mlm_head,
    save_mlm_head,
)
from mslm_cli.training.supervised import Trained, TrainingPlan, fit
from mslm_cli.workspace import HASHES, RunOptions, discard, verify_checkpoint

_DEV_BATCH_TOKENS = 2048
_COUNTED = {"spans": "mentions", "relations": "relations", "documents": "labels"}


@dataclass(frozen=True)
class _Dev:
    """The dev data, encoded once for all epochs, and the types that they do not annotate."""

    task: Task
    corpus: LabelledCorpus
    encoded: Any
    pad_id: int
    foreign: frozenset[str]

    @property
    def metric(self) -> Metric:
        return self.task.metric

    def scores(self, model: PreTrainedModel) -> dict[str, Any]:
        return next(self._scores(model, self._found(model), [NEUTRAL]))

    def standard_error(self, score: float) -> float:
        """That of a fraction of the gold labels; an approximation for F1."""
        n = self.corpus.n_gold
        return math.sqrt(max(0.0, score * (1 - score)) / n) if n else 0.0

    def finish(self, model: PreTrainedModel) -> tuple[dict[str, Any], list[ThresholdPoint]]:
        """What the task chooses on dev for the trained ``model``, whose config gets it; and precision and recall by
        threshold, none if the task has other scores.
        """
        found = self._found(model)
        chosen = self.task.chosen_on_dev(self.corpus, found, label_names(model))
        if chosen:
            model.config.update(chosen)
            found = self._found(model)
        scores = list(self._scores(model, found, THRESHOLDS))
        if not all({"precision", "recall", "f1"} <= of_one.keys() for of_one in scores):
            return chosen, []
        return chosen, [ThresholdPoint.of(t, of_one) for t, of_one in zip(THRESHOLDS, scores, strict=True)]

    def _found(self, model: PreTrainedModel) -> Sequence[Any]:
        return self.task.probabilities(model, self.encoded, pad_id=self.pad_id, batch_tokens=_DEV_BATCH_TOKENS)

    def _scores(
        self, model: PreTrainedModel, found: Sequence[Any], thresholds: Sequence[float]
    ) -> Iterator[dict[str, Any]]:
        task, labels = self.task, label_names(model)
        for threshold in thresholds:
            predicted = task.decode(found, labels, threshold)
            yield task.score(self.corpus, task.without(predicted, self.foreign) if self.foreign else predicted)


@dataclass(frozen=True)
class Companions:
    """What is learnt beside the training data: other labelled corpora, and a silver artifact."""

    also: tuple[Path, ...] = ()
    silver: Path | None = None


class Target(NamedTuple):
    """What is to be learnt: training and dev data, and what accompanies them."""

    train: Path
    dev: Path
    companions: Companions = Companions()


def check_map(companions: Companions, config: FinetuneConfig, sources: Sequence[Path] = ()) -> None:
    """Check that every type to rename is in a companion, in one of ``sources`` or known to the encoder.

    Raises:
        UsageError: one is not. Also, as ``run``.
    """
    if not config.map:
        return
    task = find_task(config.task)
    encoder = _encoder(config)
    types = set(task.types([*labels_of(encoder), *detected_labels(encoder)]))
    if STDIN in companions.also:
        fsio.spool_stdin()
    for path in (*companions.also, *sources):
        types |= set(task.read(path, config).types)
    if STDIN in companions.also:
        sys.stdin.buffer.seek(0)
    if companions.silver is not None:
        types |= set(artifacts.load(companions.silver, "silver").manifest.run.get("types", ()))
    others = "SOURCES, " if sources else ""
    check_renamed(config.type_names, types, f"{others}--also, --silver or --model (--map)")


def _check_options(task: Task, companions: Companions, config: FinetuneConfig) -> None:
    """Check that no option is given that means nothing to the task.

    Raises:
        UsageError: one is.
    """
    given = {name for name in ("also", "silver") if getattr(companions, name)}
    if wrong := sorted(given & task.unused_options) or inapplicable(task, config):
        raise UsageError(f"--{wrong[0].replace('_', '-')} does not apply to --task {task.name}")


def recipe(target: Target, output: Path, config: FinetuneConfig) -> ArtifactBuild:
    """The recipe of the ner artifact that ``run`` publishes.

    Raises:
        DataError: a file is unreadable.
        UnavailableError: the encoder is unavailable.
    """
    return _recipe(target, output, config, _opened(target, config))


class _Opened(NamedTuple):
    """What the model starts from: the encoder, as an artifact if it is one, and the silver artifact."""

    encoder: Path
    parent: Artifact | None
    silver: Artifact | None


def _opened(target: Target, config: FinetuneConfig) -> _Opened:
    silver = target.companions.silver
    found = None if silver is None else artifacts.load(silver, "silver")
    encoder = _encoder(config)
    return _Opened(encoder, artifacts.load_if_artifact(encoder, "encoder", "ner"), found)


def _recipe(target: Target, output: Path, config: FinetuneConfig, opened: _Opened) -> ArtifactBuild:
    encoder, parent, silver = opened
    inputs = [*gold_inputs("train", target.train), *gold_inputs("dev", target.dev)]
    inputs += [one for path in target.companions.also for one in gold_inputs("also", path)]
    inputs += [] if silver is None else [silver.as_input("silver")]
    inputs.append(parent.as_input("model") if parent else artifacts.file_input("model", encoder))
    return ArtifactBuild("ner", output, config, inputs)


def _encoder(config: FinetuneConfig) -> Path:
    return models.resolve(config.model, offline=config.offline, allow_pickle=config.allow_pickle)


def run(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: FinetuneConfig,
    rerun: RunOptions = RunOptions(),  # noqa: B008 - immutable
    companions: Companions = Companions(),
    about: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Fine-tune an encoder and publish the best epoch on ``dev_file`` as a ner artifact.

    Args:
        about: further entries of the manifest's ``run``.

    Raises:
        UsageError: the task is unknown.
        DataError: the data are invalid, or there is nothing to learn from them.
        UnavailableError: the encoder is unavailable, or the package of the task is broken.
        DivergedError: too many steps in a row had a non-finite or exploded loss.
    """
    allocator.keep_freed_memory()
    task = find_task(config.task)
    _check_options(task, companions, config)
    target = Target(train_file, dev_file, companions)
    opened = _opened(target, config)
    encoder, parent, silver = opened
    build = _recipe(target, output, config, opened)
    if ranks.from_first(partial(build.is_done, overwrite=rerun.overwrite)):
        discard(build)
        return output
    train, dev = (task.read(file, config) for file in (train_file, dev_file))
    if config.context and all(sentence.doc is None for sentence in train.sentences):
        console.warn(f"--context has no effect: {train_file} marks no documents")
    sources = [TrainingSource(train, frozenset(train.types)), *_companions(task, companions, silver, config)]
    labels = task.labels(train, dev, train_file, {kind for source in sources[1:] for kind in source.types})
    tokenizer = models.load_tokenizer(encoder, lowercase=config.lowercase)
    device = select_device(config.device, threads=config.threads)
    head = mlm_head(encoder, allow_pickle=config.allow_pickle)
    model = task.new_model(encoder, labels, config, train)
    if config.mlm:
        _add_masked_lm_head(model, encoder, config)
    prepare_model(model, device)
    tokenizer.model_max_length = min(config.max_length, max_tokens(model))
    pad_id: int = tokenizer.pad_token_id
    data = task.training_data(sources, labels, tokenizer, config)
    encoded = task.encode(dev, model, tokenizer, config)
    dev_set = _Dev(task, dev, encoded, pad_id, _foreign(sources))
    plan = TrainingPlan.of(config, data, silver=len(sources) - 1 if silver else None)
    with workspace(build, device, config, rerun) as work:
        with work.finishing_steps():
            trained = fit(model, data, dev_set, plan, pad_id, work)
        if not ranks.is_first():
            return output
        work.check_learnt()
        with build.publish() as staged:
            chosen = work.folder / trained.kept.folder
            verify_checkpoint(chosen)
            no_hashes = shutil.ignore_patterns(HASHES)
            shutil.copytree(chosen, staged.path, ignore=no_hashes, dirs_exist_ok=True)
            tokenizer.save_pretrained(staged.path)
            if head:
                save_mlm_head(head, staged.path)
            best = task.load_model(staged.path)
            prepare_model(best, device)
            chosen_on_dev, points = dev_set.finish(best)
            if chosen_on_dev:
                best.config.save_pretrained(staged.path)
            curve = [json.dumps(point._asdict()) + "\n" for point in points]
            if curve:
                (staged.path / artifacts.THRESHOLDS).write_text("".join(curve), encoding="utf-8")
            (staged.path / METRICS).write_bytes(work.metrics.read_bytes())
            (staged.path / "README.md").write_text(task.card(config, labels, train, trained), encoding="utf-8")
            seen = {f"also{i}": source.corpus for i, source in enumerate(sources[1:], 1) if not source.is_noisy}
            _pass_on([parent, silver], {"train": train, "dev": dev, **seen}, staged)
            staged.seeds["training"] = config.seed
            staged.run |= _about(task, trained) | {"n_sequences": len(data.lengths), "words": _word_form(train)}
            staged.run |= about
            staged.run["other_types"] = sorted(_foreign(sources))
            staged.run["changed_mentions"] = {"train": count_changes(train), "dev": count_changes(dev)}
    _report(task, trained)
    return output


def _report(task: Task, trained: Trained) -> None:
    kept, n_epochs = trained.kept, trained.n_epochs
    score = kept.scores[task.metric.key]
    if n_epochs < trained.schedule.epochs:
        console.note(
            f"stopped after {n_epochs} of {trained.schedule.epochs} epochs: the last were clearly worse on dev"
        )
    told = f"kept epoch {kept.epoch} of {n_epochs}: {task.metric.title} {100 * score:.2f} on dev"
    if score < kept.best_score:
        told += f" (best {100 * kept.best_score:.2f}, which may be luck on so few {_COUNTED[task.kind]})"
    console.note(told)
    if kept.epoch == trained.schedule.epochs > 1 and score == kept.best_score:
        console.note("the last epoch is the best: more --epochs may help")


def _about(task: Task, trained: Trained) -> dict[str, Any]:
    """Manifest entries on the task, the schedule and the kept epoch, read by studies, reports and `mslm eval`."""
    kept = trained.kept
    return {
        "task": task.name,
        "n_epochs": trained.n_epochs,
        "max_epochs": trained.schedule.epochs,
        "tokens_per_step": trained.schedule.tokens_per_step,
        "primary_metric": task.metric.title,
        "dev_score": kept.scores[task.metric.key],
        "dev_scores": kept.scores,
        "best_epoch": kept.epoch,
    }


def _add_masked_lm_head(model: PreTrainedModel, encoder: Path, config: FinetuneConfig) -> None:
    """Give the model a head that predicts hidden words; it is trained with it, and not published."""
    if not (config.mask_mentions or config.mask_words):
        raise UsageError(f"--mlm {config.mlm:g} predicts hidden words, but none are", hint="use --mask-mentions too")
    masked_lm, fresh = load_masked_lm(encoder, allow_pickle=config.allow_pickle, seed=config.seed)
    if fresh:
        console.warn(f"the checkpoint has no MLM head: {len(fresh)} parameters start at random")
    model.add_module(MASKED_LM_HEAD, MaskedLmHead(masked_lm, model))


def _companions(
    task: Task, companions: Companions, silver: Artifact | None, config: FinetuneConfig
) -> Iterator[TrainingSource]:
    names = config.type_names
    for path in companions.also:
        corpus = renamed(task.read(path, config), names)
        if not corpus.types:
            raise DataError("has no mentions, so there is nothing to learn from it", path=path)
        yield TrainingSource(corpus, frozenset(corpus.types))
    if silver is not None:
        found = read_silver(silver.file(SILVER), silver.manifest.run.get("types", ()))
        weights = tuple(config.silver_weight * confidence for confidence in found.confidences)
        types = frozenset(names.get(kind, kind) for kind in found.types)
        yield TrainingSource(renamed(found.corpus, names), types, weights, is_noisy=True)


def _foreign(sources: Sequence[TrainingSource]) -> frozenset[str]:
    """Types that are annotated in companions, but not in the training data."""
    return frozenset(kind for source in sources[1:] for kind in source.types) - sources[0].types


def _pass_on(sources: Sequence[Artifact | None], seen: dict[str, LabelledCorpus], staged: StagedArtifact) -> None:
    """Write sketches of everything seen here and in ``sources``, and the training log of the first, the encoder."""
    encoder = sources[0]
    if encoder and encoder.has(METRICS):
        shutil.copyfile(encoder.file(METRICS), staged.path / ENCODER_METRICS)
    for source in sources:
        artifacts.pass_on_sketches([source], staged.path, prefix=artifacts.sketch_prefix(source))
    for name, corpus in seen.items():  # dev too, as it selected the best epoch
        sketch = Sketch.of(" ".join(sentence.words) for sentence in corpus.sentences)
        sketch.save(staged.path / artifacts.SKETCHES / f"finetune-{name}.u64")


def _word_form(corpus: LabelledCorpus) -> str:
    """How the data split text into words; `mslm predict` does the same."""
    words = (word for sentence in corpus.sentences for word in sentence.words)
    return "joined" if keeps_punctuation(words) else "punctuation"
