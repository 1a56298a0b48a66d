"""OUTPUT.work: where an unfinished run keeps its checkpoints and metrics, and goes on from.

A checkpoint holds every parameter, the optimizer, the schedule and the random generators,
as safetensors and JSON; with the same threads, CPU capability and library versions a
resumed run ends in the same bits as an undisturbed one.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mslm_cli import console, fsio
from mslm_cli.artifacts import Job
from mslm_cli.errors import ArtifactError, DivergedError, UsageError
from mslm_cli.training.device import numerics
from mslm_cli.training.loop import Trainee

IDENTITY = "identity.json"
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def save_checkpoint(folder: Path, trainee: Trainee, progress: dict[str, Any]) -> None:
    """Write ``trainee`` and ``progress`` (JSON values) to ``folder``, whole or not at all."""
    optimizer = trainee.optimizer.state_dict()
    tensors = {f"model.{name}": p.detach().contiguous() for name, p in trainee.model.named_parameters()}
    for index, state in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in state.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    record = {
        "progress": progress,
        "n_updates": trainee.n_updates,
        "param_groups": optimizer["param_groups"],
        "schedule": {k: v for k, v in trainee.schedule.state_dict().items() if k != "lr_lambdas"},
    }
    with fsio.staged_folder(folder) as staged:
        save_file(tensors, staged / "state.safetensors")
        (staged / "state.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def restore_checkpoint(folder: Path, trainee: Trainee) -> None:
    """Put ``trainee`` and the random generators into the state saved in ``folder``.

    Raises:
        ArtifactError: the checkpoint is damaged, or of another model.
    """
    record = _read_record(folder)
    try:
        tensors = load_file(folder / "state.safetensors")
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, str(error)) from error
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        owner, _, rest = name.partition(".")
        if owner == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = value
    try:
        with torch.no_grad():
            for name, parameter in trainee.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        trainee.optimizer.load_state_dict({"state": states, "param_groups": record["param_groups"]})
        trainee.schedule.load_state_dict(record["schedule"] | {"lr_lambdas": [None]})
    except (KeyError, ValueError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from error
    trainee.n_updates = record["n_updates"]
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / "state.json").read_bytes())
        missing = {"total_updates", "metrics_bytes"} - record["progress"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, str(error)) from error
    if missing:
        raise _damaged(folder, f"no {min(missing)} in state.json")
    return record


def _damaged(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(f"{folder}: damaged checkpoint: {reason}", hint="delete it, or use --resume never")


@dataclass
class Workspace:
    """The OUTPUT.work folder of one run, held for this process."""

    folder: Path
    every: str
    resumed: Path | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    _saved_at: float = field(default_factory=time.monotonic)
    _saved_updates: int = 0

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def is_due(self, n_updates: int) -> bool:
        """Whether the time or number of updates between checkpoints has gone by."""
        number, unit = int(self.every[:-1]), self.every[-1]
        if unit == "u":
            return n_updates - self._saved_updates >= number
        return time.monotonic() - self._saved_at >= number * _SECONDS[unit]

    def save(self, n_updates: int, trainee: Trainee, progress: dict[str, Any]) -> None:
        """Write a checkpoint after ``n_updates`` updates in all, then drop the older ones."""
        fsio.sync(self.metrics)
        name = f"step-{n_updates:07d}"
        position = {"total_updates": n_updates, "metrics_bytes": self.metrics.stat().st_size}
        save_checkpoint(self.folder / name, trainee, {**progress, **position})
        for other in self.folder.glob("step-*"):
            if other.name != name:
                shutil.rmtree(other)
        self._saved_at, self._saved_updates = time.monotonic(), n_updates

    def restore(self, trainee: Trainee) -> None:
        """Put ``trainee`` where the checkpoint that the run goes on from was."""
        if self.resumed is not None:
            restore_checkpoint(self.resumed, trainee)


@contextmanager
def workspace(job: Job, device: torch.device, *, every: str, resume: str) -> Iterator[Workspace]:
    """Yield the run's OUTPUT.work, with the checkpoint to go on from where there is one.

    It is deleted when the block ends well; otherwise it is kept for the next run if it holds a checkpoint.

    Args:
        every: time or updates between checkpoints, such as ``5m`` or ``200u``.
        resume: ``auto`` goes on from the newest checkpoint, ``never`` starts again, anything else is a
            checkpoint in OUTPUT.work.

    Raises:
        UsageError: OUTPUT.work belongs to a run with other options or input (the message names them), or to
            no run at all.
        ArtifactError: the checkpoint named by ``resume`` does not exist, or the one to go on from is damaged.
        UnavailableError: there is no space left on the device.
    """
    folder = _folder(job)
    with fsio.disk_full_named(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with fsio.locked(folder):
            _refuse_strangers(folder)
            try:
                if resume == "never":
                    fsio.empty(folder)
                _claim(folder, job, device)
                work = Workspace(folder, every, _checkpoint(folder, resume))
                _rewind(work)
                yield work
            except BaseException as error:
                _leave(folder, error)
                raise
            shutil.rmtree(folder)


def discard_workspace(job: Job) -> None:
    """Delete the OUTPUT.work of a job whose output is there: what a kill at the very end left."""
    folder = _folder(job)
    # another process that writes the same output may hold it
    with suppress(OSError, ValueError, UsageError), fsio.locked(folder):
        found = json.loads((folder / IDENTITY).read_bytes())
        if all(found[part] == value for part, value in _identity(job).items()):
            shutil.rmtree(folder)


def _folder(job: Job) -> Path:
    return job.output.with_name(f"{job.output.name}.work")


def _refuse_strangers(folder: Path) -> None:
    """A folder of this name that mslm did not make is not touched."""
    if not (folder / IDENTITY).is_file() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise UsageError(f"{folder} exists and is no work folder of mslm", hint="choose another -o")


def _leave(folder: Path, error: BaseException) -> None:
    """Clear away what no run can go on from; say what one can."""
    newest = max(folder.glob("step-*"), default=None)
    if newest is None:
        shutil.rmtree(folder, ignore_errors=True)
    elif not isinstance(error, DivergedError | UsageError | ArtifactError):
        console.note(f"{newest} is kept: the same command goes on from there")


def _checkpoint(folder: Path, resume: str) -> Path | None:
    if resume in ("auto", "never"):
        return max(folder.glob("step-*"), default=None)
    chosen = Path(resume)
    if not (chosen / "state.json").is_file() or not chosen.resolve().parent.samefile(folder):
        hint = f"they are the step-* folders in {folder}"
        raise ArtifactError(f"--resume {resume}: no checkpoint of this run", hint=hint)
    return chosen


def _identity(job: Job) -> dict[str, dict[str, Any]]:
    return {"options": job.config.identity(), "inputs": {i.role: i.fingerprint for i in job.inputs}}


def _claim(folder: Path, job: Job, device: torch.device) -> None:
    """Make the folder this job's, or check that it is."""
    wanted = {**_identity(job), "numerics": numerics(device)}
    if not any(folder.glob("step-*")):
        fsio.write_text(folder / IDENTITY, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads((folder / IDENTITY).read_bytes())
        different = {
            part: sorted(k for k in {*found[part], *wanted[part]} if found[part].get(k) != wanted[part].get(k))
            for part in wanted
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / IDENTITY}: damaged: {error}", hint="use --resume never to start again"
        ) from error
    for part in ("options", "inputs"):
        if different[part]:
            raise UsageError(
                f"{folder} holds a run with other {part}: {', '.join(different[part])}",
                hint="give the same ones to go on, or --resume never to start again",
            )
    if keys := different["numerics"]:
        changes = ", ".join(f"{k} was {found['numerics'].get(k)}, is {wanted['numerics'].get(k)}" for k in keys)
        console.warn(f"going on in another environment ({changes}): the last bits will differ")


def _rewind(work: Workspace) -> None:
    """Take up the progress of the checkpoint, and drop the metrics of what will be done again."""
    work.metrics.touch()
    n_bytes = 0
    if work.resumed is not None:
        work.progress = _read_record(work.resumed)["progress"]
        work._saved_updates, n_bytes = int(work.progress["total_updates"]), int(work.progress["metrics_bytes"])
        if work.metrics.stat().st_size < n_bytes:
            raise _damaged(work.resumed, f"{work.metrics} has lost lines")
        console.note(f"going on from {work.resumed} (update {work._saved_updates})")
    os.truncate(work.metrics, n_bytes)
