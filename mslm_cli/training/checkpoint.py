"""OUTPUT.work: the checkpoints and metrics of an unfinished run, for resuming it.

A checkpoint holds all parameters, the optimizer, the schedule and the random generators, as safetensors and JSON. It
also records what affects the last bits: with the same number of processes and threads, CPU capability and library
versions, a resumed run is bit-identical to an uninterrupted one.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from mslm_cli import console, fsio, signals
from mslm_cli.artifacts import METRICS, ArtifactBuild
from mslm_cli.config import TrainingOptions
from mslm_cli.errors import DivergedError, UsageError
from mslm_cli.training import ranks, rng
from mslm_cli.training.device import numerics
from mslm_cli.training.loop import TrainState
from mslm_cli.workspace import RunOptions, checkpoints, damaged, new_checkpoint, verify_checkpoint, work_folder

_PARAMETERS = "parameters.safetensors"
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def save_checkpoint(folder: Path, state: TrainState, progress: dict[str, Any], environment: dict[str, str]) -> None:
    """Write ``state``, ``progress`` (JSON values) and ``environment`` (see ``numerics``) to ``folder`` atomically."""
    optimizer = state.optimizer.state_dict()
    tensors = {f"model.{name}": p.detach().contiguous() for name, p in state.model.named_parameters()}
    for index, moments in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in moments.items()}
    own, values = rng.state()
    record = {
        "progress": progress,
        "numerics": environment,
        "n_steps": state.n_steps,
        "n_skipped": state.n_skipped,
        "param_groups": optimizer["param_groups"],
        "schedule": {k: v for k, v in state.schedule.state_dict().items() if k != "lr_lambdas"},
        "generators": values,
    }
    with new_checkpoint(folder) as staged:
        save_file(tensors | own, staged / "state.safetensors")
        (staged / "state.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def restore_checkpoint(folder: Path, state: TrainState) -> None:
    """Restore ``state`` and the random generators from ``folder``.

    Raises:
        ArtifactError: the checkpoint is damaged or belongs to another model.
    """
    record = _read_record(folder)
    try:
        tensors = load_file(folder / "state.safetensors")
    except (OSError, SafetensorError) as error:
        raise damaged(folder, str(error)) from error
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        owner, _, rest = name.partition(".")
        if owner == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = value
    try:
        with torch.no_grad():
            for name, parameter in state.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        state.optimizer.load_state_dict({"state": states, "param_groups": record["param_groups"]})
        state.schedule.load_state_dict(record["schedule"] | {"lr_lambdas": [None]})
        rng.restore(tensors, record["generators"])
        state.n_steps, state.n_skipped = record["n_steps"], record["n_skipped"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(folder, str(error)) from error


def save_parameters(folder: Path, model: PreTrainedModel) -> None:
    """Write the parameters of ``model`` to ``folder`` atomically."""
    with new_checkpoint(folder) as staged:
        save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, staged / _PARAMETERS)


def load_parameters(folder: Path, model: PreTrainedModel) -> None:
    """Set the parameters of ``model`` to those in ``folder``.

    Raises:
        ArtifactError: they were changed after they were written.
    """
    verify_checkpoint(folder)
    tensors = load_file(folder / _PARAMETERS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / "state.json").read_bytes())
        missing = {"total_steps", "metrics_bytes"} - record["progress"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, str(error)) from error
    if missing:
        raise damaged(folder, f"no {min(missing)} in state.json")
    return record


@dataclass
class Workspace:
    """The OUTPUT.work folder of a run, locked by this process."""

    folder: Path
    every: str
    keep: int
    environment: dict[str, str]
    resumed: Path | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    _request: signals.Request = field(default_factory=signals.Request)
    _saved_at: float = field(default_factory=time.monotonic)
    _saved_steps: int = 0

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS

    def log(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl; warn about a skipped step."""
        if "skipped" in record:
            console.warn(f"step {record['step']} was skipped: {record['skipped']}")
        if ranks.is_first():
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    @contextmanager
    def finishing_steps(self) -> Iterator[None]:
        """Delay SIGTERM and Ctrl-C until the current step is done and a checkpoint is written."""
        with signals.deferred() as self._request:
            yield

    def save_if_due(self, n_steps: int, state: TrainState, progress: dict[str, Any]) -> None:
        """``save`` if a checkpoint is due by time or number of steps, or the process was asked to stop.

        No regular checkpoint is written right after a skipped step, as it would be a bad one to resume from.
        """
        if self.every.endswith("steps"):
            is_due = n_steps - self._saved_steps >= int(self.every.removesuffix("steps"))
        else:
            is_due = time.monotonic() - self._saved_at >= int(self.every[:-1]) * _SECONDS[self.every[-1]]
        is_due = is_due and not state.n_skipped
        if ranks.total(is_due or self._request.is_made):  # all processes, or none
            self.save(n_steps, state, progress)

    def save(self, n_steps: int, state: TrainState, progress: dict[str, Any]) -> None:
        """Write a checkpoint after ``n_steps`` total steps, drop old ones, and stop if the process was asked to.

        Raises:
            KeyboardInterrupt, Terminated: the process was asked to stop.
        """
        if ranks.is_first():
            fsio.sync(self.metrics)
            name = f"checkpoint-{n_steps:07d}"
            position = {"total_steps": n_steps, "metrics_bytes": self.metrics.stat().st_size}
            save_checkpoint(self.folder / name, state, {**progress, **position}, self.environment)
            for older in checkpoints(self.folder)[: -self.keep]:
                fsio.delete(older)
        self._saved_at, self._saved_steps = time.monotonic(), n_steps
        if ranks.total(self._request.is_made):
            self._request.obey()
            raise signals.Terminated  # another process was asked to stop

    def check_learnt(self) -> None:
        """Check that most steps of the run changed the model.

        Raises:
            DivergedError: more than half of them were skipped.
        """
        lines = map(json.loads, self.metrics.read_text(encoding="utf-8").splitlines())
        skipped = ["skipped" in line for line in lines if "learning_rate" in line]
        if sum(skipped) > len(skipped) / 2:
            raise DivergedError(
                f"training diverged: {sum(skipped)} of {console.count(len(skipped), 'step')} were skipped, because the"
                " loss or the gradient was not finite or exploded",
                hint="start over with --resume never and a lower --learning-rate",
            )

    def restore(self, state: TrainState) -> None:
        """Restore ``state`` from the checkpoint to resume from, if any."""
        if self.resumed is not None:
            restore_checkpoint(self.resumed, state)

    def drop_unneeded_best(self, folder: str) -> None:
        """Delete the weights kept as the best so far, except ``folder`` and those that a checkpoint refers to."""
        kept = (_read_record(step)["progress"] for step in checkpoints(self.folder))
        needed = {folder} | {(progress.get("best") or {}).get("folder") for progress in kept}
        for best in self.folder.glob("best-*"):
            if best.name not in needed:
                fsio.delete(best)


@contextmanager
def workspace(
    build: ArtifactBuild, device: torch.device, config: TrainingOptions, options: RunOptions
) -> Iterator[Workspace]:
    """Yield the run's OUTPUT.work, with the checkpoint to resume from, if any.

    It is deleted when the block succeeds; otherwise it is kept for the next run if it has a checkpoint.

    Args:
        config: how often to write checkpoints, and how many to keep.
        options: which checkpoint to resume from.

    Raises:
        UsageError: OUTPUT.work belongs to a run with other options, inputs or environment (the message names the
            difference), or is not the work folder of a run.
        ArtifactError: the checkpoint named in ``options`` does not exist, or the one to resume from is damaged.
        UnavailableError: no space is left on the device.
    """
    environment = numerics(device, config.batch_tokens)
    with ExitStack() as stack:

        def enter() -> dict[str, Any]:
            folder, resumed = stack.enter_context(work_folder(build, options))
            progress = _rewind(folder / METRICS, resumed, environment, anyway=options.resume_anyway)
            return {"folder": str(folder), "resumed": resumed and str(resumed), "progress": progress}

        entered = ranks.from_first(enter)
        resumed = entered["resumed"] and Path(entered["resumed"])
        work = Workspace(
            Path(entered["folder"]),
            config.checkpoint_every,
            config.keep_checkpoints,
            environment,
            resumed,
            entered["progress"],
        )
        work._saved_steps = int(work.progress.get("total_steps", 0))
        yield work


def _rewind(metrics: Path, resumed: Path | None, found: dict[str, str], *, anyway: bool) -> dict[str, Any]:
    """Drop the metrics of steps that will be repeated; the progress of the checkpoint."""
    metrics.touch()
    progress: dict[str, Any] = {}
    if resumed is not None:
        record = _read_record(resumed)
        _compare(resumed, record.get("numerics", {}), found, anyway=anyway)
        progress = record["progress"]
        if metrics.stat().st_size < progress["metrics_bytes"]:
            raise damaged(resumed, f"{metrics} has lost lines")
        console.note(f"resuming from {resumed} (step {progress['total_steps']})")
    os.truncate(metrics, progress.get("metrics_bytes", 0))
    return progress


def _compare(checkpoint: Path, then: dict[str, str], now: dict[str, str], *, anyway: bool) -> None:
    changes = ", ".join(f"{k} was {then.get(k)}, is {now[k]}" for k in now if then.get(k) != now[k])
    if changes and not anyway:
        raise UsageError(
            f"{checkpoint} was written in another environment ({changes}): results would differ in the last bits",
            hint="use --resume-anyway if that does not matter, or --resume never to start over",
        )
    if changes:
        console.warn(f"resuming in another environment ({changes}): results may differ in the last bits")
