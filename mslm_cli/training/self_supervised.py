"""Adaptation from start to end: phases, held-out loss, selection of the best step, resumable checkpoints."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from transformers import PreTrainedModel

from mslm_cli import console
from mslm_cli.config import AdaptConfig
from mslm_cli.training import ranks
from mslm_cli.training.adaptation import AdaptationData, Phase, start_phase, training_steps
from mslm_cli.training.checkpoint import Workspace, load_parameters, save_parameters
from mslm_cli.training.device import precision
from mslm_cli.training.flops import Meter
from mslm_cli.training.held_out import HeldOut
from mslm_cli.training.kinds import TITLES, by_kind
from mslm_cli.training.loop import StepResult, TrainState
from mslm_cli.training.masked import MaskedBatch
from mslm_cli.training.tensorboard import tensorboard_writer


@dataclass(frozen=True)
class Measured:
    """The held-out loss after a step of the whole run, counted from 1, as ``HeldOut.measure`` gives it.

    folder: of the weights in the workspace; empty if they are those of the last step, or not kept.
    """

    step: int
    scores: dict[str, Any]
    folder: str = ""


@dataclass
class Progress:
    """What a checkpoint says of a run, beside the state of its phase.

    phase: the number of the phase, from 0. is_over: whether it has ended. n_before: steps of the phases before it.
    losses: measured in it, but for that at its start. start, last, best: measurements of the whole model's phase.
    """

    phase: int = 0
    is_over: bool = False
    n_before: int = 0
    losses: list[float] = field(default_factory=list)
    start: Measured | None = None
    last: Measured | None = None
    best: Measured | None = None

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Progress":
        """The progress from its record in a checkpoint; a new one if there is none."""
        names = ("start", "last", "best")
        kept = {k: v for k, v in record.items() if k in cls.__dataclass_fields__}
        return cls(**kept | {n: Measured(**kept[n]) for n in names if kept.get(n)})

    def after(self, n_steps: int) -> "Progress":
        """The progress at the start of the phase after this one, which took ``n_steps``."""
        return replace(self, phase=self.phase + 1, is_over=False, n_before=self.n_before + n_steps, losses=[])


def adapt(
    model: PreTrainedModel,
    phases: Sequence[Phase],
    data: AdaptationData,
    held_out: HeldOut | None,
    config: AdaptConfig,
    work: Workspace,
) -> Progress:
    """Train ``model`` in all ``phases``, resuming from ``work``, and leave it at the step with the best held-out loss.

    Without ``held_out``, at the last one.
    """
    return _Adaptation(data, held_out, config, work).run(model, phases)


@dataclass(frozen=True)
class _Adaptation:
    data: AdaptationData
    held_out: HeldOut | None
    config: AdaptConfig
    work: Workspace

    def run(self, model: PreTrainedModel, phases: Sequence[Phase]) -> Progress:
        progress = Progress.of(self.work.progress)
        is_resumed = bool(self.work.progress)
        for number, phase in enumerate(phases):
            if number < progress.phase:
                continue
            state = start_phase(model, phase, self.config)
            if is_resumed:
                self.work.restore(state)
                is_resumed = False
            if not progress.is_over:
                self._run_phase(state, phase, progress)
            if number + 1 < len(phases):
                progress = progress.after(state.n_steps)
        if progress.best and progress.best.folder:
            load_parameters(self.work.folder / progress.best.folder, model)
        return progress

    def _run_phase(self, state: TrainState, phase: Phase, progress: Progress) -> None:
        meter = Meter(state.model, state.model.device, precision(self.config.precision, state.model.device))
        with (
            tensorboard_writer(self.config.tensorboard) as show,
            console.progress(f"adapt: {phase.name}", phase.n_steps) as bar,
        ):
            bar.advance(state.n_steps)
            report = _Report(phase.name, meter, show, bar)
            if state.n_steps == 0 and not phase.is_head_only:
                self._measure(state, phase, progress, report)
                meter.restart()
            for step in training_steps(state, phase, self.data, self.config):
                number = progress.n_before + step.number
                self.work.log(report.record(step, number))
                if phase.is_measured(step.number):
                    self._measure(state, phase, progress, report)
                    meter.restart()
                progress.is_over = step.number == phase.n_steps or phase.has_ended(progress.losses)
                save = self.work.save if progress.is_over else self.work.save_if_due
                save(number, state, asdict(progress))
                if progress.is_over:
                    break

    def _measure(self, state: TrainState, phase: Phase, progress: Progress, report: "_Report") -> None:
        """Measure the held-out loss, log it, and keep the weights if they are the best so far."""
        if self.held_out is None:
            return
        began = time.perf_counter()
        scores = self.held_out.measure(state.model)
        seconds = round(time.perf_counter() - began, 2)
        found = Measured(progress.n_before + state.n_steps, scores)
        self.work.log({"step": found.step, "phase": phase.name, "held_out": scores, "seconds": seconds})
        report.held_out = f"{scores['loss']:.3f}"
        if state.n_steps:
            progress.losses.append(scores["loss"])
        if phase.is_head_only:
            return
        progress.last = found
        progress.start = progress.start or found
        if progress.best is None or scores["loss"] < progress.best.scores["loss"]:
            progress.best = found if state.n_steps == phase.n_steps else self._kept(found, state)

    def _kept(self, found: Measured, state: TrainState) -> Measured:
        """Keep the weights in the workspace."""
        kept = replace(found, folder=f"best-{found.step:07d}")
        if ranks.is_first():
            save_parameters(self.work.folder / kept.folder, state.model)
            self.work.drop_unneeded_best(kept.folder)
        return kept


@dataclass
class _Report:
    """Reports steps during training."""

    phase: str
    meter: Meter
    show: Callable[[dict[str, Any]], None]
    bar: console.ProgressLine
    held_out: str = ""

    def record(self, step: StepResult[MaskedBatch], number: int) -> dict[str, Any]:
        """Show a step, and return its line of metrics.jsonl, over all processes."""
        batches = step.microbatches
        record: dict[str, Any] = {
            "step": number,
            "phase": self.phase,
            **step.outcome(),
            "learning_rate": step.learning_rate,
            **self.meter.lap([b.model_batch for b in batches], sum(len(b.kinds) for b in batches)),
        }
        kinds = by_kind([b.kinds for b in batches], step.reported)
        if not step.is_skipped:
            record |= kinds
        self.show(record)
        self.bar.advance()
        self.bar.update(self._text(record))
        return record

    def _text(self, record: dict[str, Any]) -> str:
        kinds = ", ".join(f"{title} {record[key]['loss']:.2f}" for key, title in TITLES.items() if key in record)
        held_out = f"  held out {self.held_out}" if self.held_out else ""
        return f"loss {kinds}{held_out}  {record['tokens_per_s']:,.0f} tokens/s  {100 * record['mfu']:.0f} % of peak"
