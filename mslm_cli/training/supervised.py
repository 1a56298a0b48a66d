"""Fine-tuning for any task: epochs, selection of the best on dev, resumable checkpoints."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from transformers import PreTrainedModel

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.masking.batch import Int64
from mslm_cli.training import ranks, rng
from mslm_cli.training.batching import Collator, ModelBatch, Targets, plan_steps
from mslm_cli.training.checkpoint import Workspace
from mslm_cli.training.device import precision
from mslm_cli.training.flops import Meter
from mslm_cli.training.loop import Microbatch, MicrobatchOptions, StepResult, TrainState, Update, train
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.packing import make_collator
from mslm_cli.training.tensorboard import tensorboard_writer
from mslm_cli.workspace import new_checkpoint


class Metric(NamedTuple):
    """The score that selects the best epoch: its key in the dev scores, and its user-facing name."""

    key: str
    title: str


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

    def update(self, sequences: Int64, collate_fn: Collator, device: torch.device) -> Update[SupervisedBatch]:
        """The optimizer step over the sequences with these numbers: this process's part of it."""


class DevSet(Protocol):
    """Dev data, on which epochs are scored."""

    @property
    def metric(self) -> Metric:
        """The score that selects the best epoch."""

    def scores(self, model: PreTrainedModel) -> dict[str, float]:
        """All scores of ``model``, by key; fractions from 0 to 1, or other numbers where higher is better."""


@dataclass(frozen=True)
class Best:
    """The best epoch (from 1), the folder of its model in the workspace, and its dev scores."""

    epoch: int
    folder: str
    scores: dict[str, float]


def fit(
    model: PreTrainedModel, data: TrainingData, dev: DevSet, config: FinetuneConfig, pad_id: int, work: Workspace
) -> Best:
    """Train ``model`` for all epochs, resuming from ``work``; the best epoch on ``dev`` (the first on ties)."""
    return _Fit(data, dev, config, pad_id, work).run(model)


def start_training(
    model: PreTrainedModel, data: TrainingData, config: FinetuneConfig
) -> tuple[TrainState, list[list[Int64]]]:
    """The initial state, and the sequences of each step in each epoch."""
    plans = [plan_steps(data.lengths, config.tokens_per_step, seed=config.seed, epoch=e) for e in range(config.epochs)]
    optimizer = make_optimizer(model.named_parameters(), config.learning_rate, config.weight_decay)
    return TrainState(model, optimizer, make_schedule(optimizer, sum(map(len, plans)), config.warmup_share)), plans


def training_steps(
    state: TrainState, data: TrainingData, plan: Sequence[Int64], config: FinetuneConfig, pad_id: int
) -> Iterator[StepResult[SupervisedBatch]]:
    """Take the optimizer steps of ``plan``, lazily."""
    model = state.model
    model.train()
    options = MicrobatchOptions.of(config, model.device)
    collate_fn = make_collator(model, pad_id, options.dtype)
    updates = (data.update(sequences, collate_fn, model.device) for sequences in plan)
    return train(state, updates, config.max_grad_norm, options)


@dataclass(frozen=True)
class _Fit:
    data: TrainingData
    dev: DevSet
    config: FinetuneConfig
    pad_id: int
    work: Workspace

    def run(self, model: PreTrainedModel) -> Best:
        state, plans = start_training(model, self.data, self.config)
        rng.seed(self.config.seed)
        self.work.restore(state)
        best = Best(**self.work.progress["best"]) if self.work.progress.get("best") else None
        n_before, n_steps = 0, sum(map(len, plans))
        with tensorboard_writer(self.config.tensorboard) as show, console.progress("finetune", n_steps) as bar:
            bar.advance(state.n_steps)
            report = _Report(Meter(model, model.device, precision(self.config.precision, model.device)), show, bar)
            for epoch, plan in enumerate(plans):
                if self.work.progress.get("epoch", -1) < epoch:
                    self._run_epoch(state, plan[state.n_steps - n_before :], epoch, best, report)
                    best = self._choose(state, epoch, best)
                    self.work.save_if_due(state.n_steps, state, _progress(epoch, best))
                    if ranks.is_first():
                        self.work.drop_unneeded_best(best.folder)
                n_before += len(plan)
        assert best is not None, "there is at least one epoch"
        return best

    def _run_epoch(
        self, state: TrainState, plan: Sequence[Int64], epoch: int, best: Best | None, report: "_Report"
    ) -> None:
        report.meter.restart()
        for step in training_steps(state, self.data, plan, self.config, self.pad_id):
            self.work.log(report.record(step, epoch))
            self.work.save_if_due(step.number, state, _progress(epoch - 1, best))

    def _choose(self, state: TrainState, epoch: int, best: Best | None) -> Best:
        """Score the model on dev and save it if it is the best so far."""
        metric, number = self.dev.metric, epoch + 1
        started = time.perf_counter()
        scores = ranks.from_first(partial(self.dev.scores, state.model))
        seconds = round(time.perf_counter() - started, 2)
        self.work.log(
            {"step": state.n_steps, "epoch": number, "dev": scores, "dev_score": scores[metric.key], "seconds": seconds}
        )
        console.note(f"epoch {number}: dev {metric.title} {100 * scores[metric.key]:.2f}")
        if scores.get("predicted") == 0:
            console.note(f"epoch {number}: no mention was predicted on dev")
        if best is not None and scores[metric.key] <= best.scores[metric.key]:
            return best
        found = Best(number, f"best-{number:04d}", scores)
        if ranks.is_first():
            with new_checkpoint(self.work.folder / found.folder) as staged:
                state.model.save_pretrained(staged)
        return found


def _progress(epoch: int, best: Best | None) -> dict[str, Any]:
    """The progress stored in checkpoints: the last finished epoch (from 0) and the best one."""
    return {"epoch": epoch, "best": None if best is None else vars(best)}


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
