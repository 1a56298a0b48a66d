"""Fine-tuning for any task: epochs, selection of the best on dev, resumable checkpoints."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.masking.batch import Int64
from mslm_cli.training import ranks, rng
from mslm_cli.training.batching import Collator, ModelBatch, Targets
from mslm_cli.training.checkpoint import Workspace
from mslm_cli.training.device import precision
from mslm_cli.training.flops import Meter
from mslm_cli.training.labelled import MASKED_LM_HEAD
from mslm_cli.training.loop import Microbatch, MicrobatchOptions, StepResult, TrainState, Update, train
from mslm_cli.training.metric import Metric
from mslm_cli.training.mixing import Companion, plan_epochs
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.packing import make_collator
from mslm_cli.training.schedule import Schedule, choose_schedule
from mslm_cli.training.tensorboard import tensorboard_writer
from mslm_cli.workspace import new_checkpoint

_SILVER_EPOCHS = 2 / 3
"""The share of epochs, the first ones, in which sentences labelled by a model take part."""


class SupervisedBatch(Microbatch, Protocol):
    """The labelled data of a forward pass."""

    @property
    def model_batch(self) -> ModelBatch:
        """The input of the encoder."""

    @property
    def targets(self) -> Targets:
        """The prediction targets."""


class TrainingData(Protocol):
    """Labelled sequences for training, for example ``training.labelled.LabelledSequences``."""

    @property
    def lengths(self) -> Int64:
        """Tokens in each sequence, including special tokens: int64 [n]."""

    @property
    def origins(self) -> Int64 | None:
        """The source of each sequence, int64 [n]: 0 for the training data; None if there are no others."""

    def update(
        self, sequences: Int64, epoch: int, collate_fn: Collator, device: torch.device
    ) -> Update[SupervisedBatch]:
        """The optimizer step over the sequences with these numbers, in this epoch: this process's part of it."""


class DevSet(Protocol):
    """Dev data, on which epochs are scored."""

    @property
    def metric(self) -> Metric:
        """The score that selects the best epoch."""

    def scores(self, model: PreTrainedModel) -> dict[str, float]:
        """All scores of ``model``, by key; fractions from 0 to 1, or other numbers where higher is better."""

    def standard_error(self, score: float) -> float:
        """The standard error of a score of the metric: how much it would differ on other data of this size."""


@dataclass(frozen=True)
class Kept:
    """The epoch that is kept (from 1), the folder of its model in the workspace, its dev scores, and the best score."""

    epoch: int
    folder: str
    scores: dict[str, float]
    best_score: float


@dataclass(frozen=True)
class Trained:
    """The result of fine-tuning: the epoch that is kept, the number of epochs run, and the schedule."""

    kept: Kept
    n_epochs: int
    schedule: Schedule


@dataclass(frozen=True)
class TrainingPlan:
    """What determines the steps of fine-tuning: options, schedule, and the sources besides the training data."""

    config: FinetuneConfig
    schedule: Schedule
    companions: tuple[Companion, ...] = ()

    @classmethod
    def of(cls, config: FinetuneConfig, data: TrainingData, silver: int | None = None) -> "TrainingPlan":
        """The plan for ``data``.

        Args:
            silver: the origin of the sequences that a model has labelled.
        """
        origins, lengths = data.origins, data.lengths
        n_tokens = int(lengths.sum() if origins is None else lengths[origins == 0].sum())
        schedule = choose_schedule(config, n_tokens)
        numbers = [] if origins is None else np.unique(origins[origins > 0]).tolist()
        n_gold = len(numbers) - (silver in numbers)
        n_mixed = math.ceil(schedule.epochs * _SILVER_EPOCHS)
        companions = [
            Companion(number, 1.0, n_mixed) if number == silver else Companion(number, 1.0 / n_gold, schedule.epochs)
            for number in numbers
        ]
        return cls(config, schedule, tuple(companions))


def fit(
    model: PreTrainedModel, data: TrainingData, dev: DevSet, plan: TrainingPlan, pad_id: int, work: Workspace
) -> Trained:
    """Train ``model``, resuming from ``work``, until all epochs are done or several were clearly worse than the best.

    The last epoch is kept whose score on ``dev`` is within one standard error of the best. As the learning rate falls
    to zero, later epochs are better on average, and the best score on small data is often luck.

    Source: the one-standard-error rule of Breiman et al. (1984), "Classification and Regression Trees", section 3.4.3.
    """
    return _Fit(data, dev, plan, pad_id, work).run(model)


def start_training(
    model: PreTrainedModel, data: TrainingData, plan: TrainingPlan
) -> tuple[TrainState, list[list[Int64]]]:
    """The initial state, and the sequences of each step in each epoch."""
    config, schedule = plan.config, plan.schedule
    plans = plan_epochs(data.lengths, data.origins, plan.companions, schedule, config.seed)
    optimizer = make_optimizer(model.named_parameters(), config.learning_rate, config.weight_decay)
    return TrainState(model, optimizer, make_schedule(optimizer, sum(map(len, plans)), config.warmup_share)), plans


def training_steps(
    state: TrainState,
    data: TrainingData,
    steps: Sequence[Int64],
    epoch: int,
    plan: TrainingPlan,
    pad_id: int,
) -> Iterator[StepResult[SupervisedBatch]]:
    """Take the optimizer ``steps``, a part of ``epoch`` (from 0), lazily."""
    model, config = state.model, plan.config
    model.train()
    options = MicrobatchOptions.of(config, plan.schedule.tokens_per_step, model.device)
    collate_fn = make_collator(model, pad_id, options.dtype, is_small=options.has_graphs)
    updates = (data.update(sequences, epoch, collate_fn, model.device) for sequences in steps)
    return train(state, updates, config.max_grad_norm, options)


@dataclass(frozen=True)
class _Fit:
    data: TrainingData
    dev: DevSet
    plan: TrainingPlan
    pad_id: int
    work: Workspace

    def run(self, model: PreTrainedModel) -> Trained:
        config, schedule = self.plan.config, self.plan.schedule
        state, plans = start_training(model, self.data, self.plan)
        rng.seed(config.seed)
        self.work.restore(state)
        kept = Kept(**self.work.progress["best"]) if self.work.progress.get("best") else None
        n_before, n_steps, n_epochs = 0, sum(map(len, plans)), 0
        with tensorboard_writer(config.tensorboard) as show, console.progress("finetune", n_steps) as bar:
            bar.advance(state.n_steps)
            report = _Report(Meter(model, model.device, precision(config.precision, model.device)), show, bar)
            for epoch, steps in enumerate(plans):
                if kept is not None and 0 < schedule.patience <= epoch - kept.epoch:
                    break
                n_epochs += 1
                if self.work.progress.get("epoch", -1) < epoch:
                    self._run_epoch(state, steps[state.n_steps - n_before :], epoch, kept, report)
                    kept = self._choose(state, epoch, kept)
                    self.work.save_if_due(state.n_steps, state, _progress(epoch, kept))
                    if ranks.is_first():
                        self.work.drop_unneeded_best(kept.folder)
                n_before += len(steps)
        assert kept is not None, "there is at least one epoch"
        return Trained(kept, n_epochs, schedule)

    def _run_epoch(
        self, state: TrainState, steps: Sequence[Int64], epoch: int, kept: Kept | None, report: "_Report"
    ) -> None:
        report.meter.restart()
        for step in training_steps(state, self.data, steps, epoch, self.plan, self.pad_id):
            self.work.log(report.record(step, epoch))
            self.work.save_if_due(step.number, state, _progress(epoch - 1, kept))

    def _choose(self, state: TrainState, epoch: int, kept: Kept | None) -> Kept:
        """Score the model on dev, and save it unless its score is clearly worse than the best so far."""
        metric, number = self.dev.metric, epoch + 1
        started = time.perf_counter()
        scores = ranks.from_first(partial(self.dev.scores, state.model))
        seconds = round(time.perf_counter() - started, 2)
        self.work.log(
            {"step": state.n_steps, "epoch": number, "dev": scores, "dev_score": scores[metric.key], "seconds": seconds}
        )
        console.note(f"epoch {number}: dev {metric.title} {100 * scores[metric.key]:.2f}")
        if scores.get("predicted") == 0:
            console.note(f"epoch {number}: nothing was predicted on dev")
        score = scores[metric.key]
        best = score if kept is None else max(score, kept.best_score)
        if kept is not None and score < best - self.dev.standard_error(best):
            return kept
        found = Kept(number, f"best-{number:04d}", scores, best)
        if ranks.is_first():
            with new_checkpoint(self.work.folder / found.folder) as staged:
                weights = state.model.state_dict()
                kept_weights = {k: v for k, v in weights.items() if not k.startswith(f"{MASKED_LM_HEAD}.")}
                state.model.save_pretrained(staged, state_dict=kept_weights)
        return found


def _progress(epoch: int, kept: Kept | None) -> dict[str, Any]:
    """The progress stored in checkpoints: the last finished epoch (from 0) and the one that is kept."""
    return {"epoch": epoch, "best": None if kept is None else vars(kept)}


@dataclass(frozen=True)
class _Report:
    """Reports steps during training."""

    meter: Meter
    show: Callable[[dict[str, Any]], None]
    bar: console.ProgressLine

    def record(self, step: StepResult[SupervisedBatch], epoch: int) -> dict[str, Any]:
        """Show a step, and return its line of metrics.jsonl, over all processes."""
        batches = step.microbatches
        speed = self.meter.lap([b.model_batch for b in batches], sum(len(b.targets.positions) for b in batches))
        record = {"step": step.number, **step.outcome(), "learning_rate": step.learning_rate, **speed}
        self.show(record)
        self.bar.advance()
        speed_text = f"{speed['tokens_per_s']:,.0f} tokens/s  {100 * speed['mfu']:.0f} % of peak"
        self.bar.update(f"epoch {epoch + 1}  loss {step.loss:.3f}  {speed_text}")
        return record
