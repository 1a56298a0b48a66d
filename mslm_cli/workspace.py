"""OUTPUT.work: the folder where an unfinished run keeps what it can go on from, in folders ``step-NNNNNNN``."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mslm_cli import console, fsio
from mslm_cli.artifacts import Job
from mslm_cli.errors import ArtifactError, DataError, DivergedError, UsageError

IDENTITY = "identity.json"


@contextmanager
def work_folder(job: Job, *, resume: str, numerics: dict[str, Any]) -> Iterator[tuple[Path, Path | None]]:
    """Yield the run's OUTPUT.work, held for this process, and the step to go on from where there is one.

    It is deleted when the block ends well; otherwise it is kept for the next run if it holds a step.

    Args:
        resume: ``auto`` goes on from the newest step, ``never`` starts again, anything else is a step in OUTPUT.work.
        numerics: what decides on the last bits of the result; going on with others is said.

    Raises:
        UsageError: OUTPUT.work belongs to a run with other options or input (the message names them), or to
            no run at all.
        ArtifactError: the step named by ``resume`` does not exist, or the folder is damaged.
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
                _claim(folder, {**_identity(job), "numerics": numerics})
                yield folder, _step(folder, resume)
            except BaseException as error:
                _leave(folder, error)
                raise
            shutil.rmtree(folder)


def drop_older_steps(step: Path) -> None:
    """Delete the steps beside ``step``."""
    for other in step.parent.glob("step-*"):
        if other.name != step.name:
            shutil.rmtree(other)


def discard(job: Job) -> None:
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
    if newest is None or isinstance(error, DataError):  # mended input is other input
        shutil.rmtree(folder, ignore_errors=True)
    elif not isinstance(error, DivergedError | UsageError | ArtifactError):
        console.note(f"{newest} is kept: the same command goes on from there")


def _step(folder: Path, resume: str) -> Path | None:
    if resume in ("auto", "never"):
        return max(folder.glob("step-*"), default=None)
    chosen = Path(resume)
    if not (chosen / "state.json").is_file() or not chosen.resolve().parent.samefile(folder):
        hint = f"they are the step-* folders in {folder}"
        raise ArtifactError(f"--resume {resume}: no checkpoint of this run", hint=hint)
    return chosen


def _identity(job: Job) -> dict[str, dict[str, Any]]:
    inputs: dict[str, list[str]] = {}
    for source in job.inputs:
        inputs.setdefault(source.role, []).append(source.fingerprint)
    return {"options": job.config.identity(), "inputs": inputs}


def _claim(folder: Path, wanted: dict[str, dict[str, Any]]) -> None:
    """Make the folder this job's, or check that it is."""
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
