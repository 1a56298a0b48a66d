"""OUTPUT.work: the folder with the checkpoints (``checkpoint-NNNNNNN``) or the journal of an unfinished run."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mslm_cli import code_identity, console, fsio
from mslm_cli.artifacts import MANIFEST, ArtifactBuild, Input
from mslm_cli.errors import ArtifactError, BadDocumentError, DataError, DivergedError, UsageError
from mslm_cli.options import Config


class RunOptions(NamedTuple):
    """How a run treats existing outputs and checkpoints.

    overwrite: replace an existing output. resume: ``auto`` resumes from the newest checkpoint, ``never`` starts over,
    anything else is the path of a checkpoint. resume_anyway: resume even if code, versions, threads or device changed.
    """

    overwrite: bool = False
    resume: str = "auto"
    resume_anyway: bool = False


@dataclass(frozen=True)
class FileBuild:
    """The recipe of an output file, which is no artifact: the kind of file, options, inputs, and what else matters."""

    kind: str
    output: Path
    config: Config
    inputs: Sequence[Input]
    form: Mapping[str, Any]

    @cached_property
    def code(self) -> dict[str, str]:
        """The hashes of the source code that determines the content (see ``code_identity``)."""
        return code_identity.sources_of(self.kind, self.config.model_dump())


IDENTITY = "identity.json"
HASHES = "hashes.json"
JOURNAL = "journal.jsonl"


@contextmanager
def work_folder(build: ArtifactBuild | FileBuild, options: RunOptions) -> Iterator[tuple[Path, Path | None]]:
    """Yield the run's OUTPUT.work, locked by this process, and the checkpoint to resume from, if any.

    It is deleted if the block succeeds; otherwise it is kept for the next run if it has a checkpoint or a journal.
    Checkpoints after the one named by ``options.resume`` are deleted.

    Raises:
        UsageError: OUTPUT.work belongs to a run with other options, inputs or code (the message names the difference),
            or is not the work folder of a run.
        ArtifactError: the checkpoint named by ``resume`` does not exist, or the folder or the checkpoint is damaged.
        UnavailableError: no space is left on the device.
    """
    folder = _folder(build)
    with fsio.naming_full_disk(folder):
        fsio.recover(folder)
        fsio.make_folder(folder, mode=0o700)
        with fsio.locked(folder):
            _check_ownership(folder)
            has_begun = False
            try:
                if options.resume == "never":
                    fsio.empty(folder)
                _claim(folder, _identity(build), anyway=options.resume_anyway)
                checkpoint = _checkpoint(folder, options.resume)
                if checkpoint is not None:
                    verify_checkpoint(checkpoint)
                has_begun = True
                yield folder, checkpoint
            except BaseException as error:
                _leave(folder, error, has_begun=has_begun)
                raise
            fsio.delete(folder)


@contextmanager
def new_checkpoint(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``folder``, with the hashes of its files, if the block succeeds."""
    with fsio.staged_folder(folder) as staged:
        yield staged
        fsio.write_text(staged / HASHES, json.dumps(_hashes(staged), indent=2) + "\n")


def verify_checkpoint(folder: Path) -> None:
    """Check the files of ``folder`` against their stored hashes.

    Raises:
        ArtifactError: they differ.
    """
    try:
        is_sound = json.loads((folder / HASHES).read_bytes()) == _hashes(folder)
    except (OSError, ValueError):
        is_sound = False
    if not is_sound:
        raise damaged(folder, "its files were changed after they were written")


def damaged(folder: Path, reason: str) -> ArtifactError:
    """The error for a damaged checkpoint."""
    return ArtifactError(
        f"{folder}: damaged: {reason}",
        hint="delete it to resume from the previous one, or use --resume never to start over",
    )


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != HASHES)
    return {p.relative_to(folder).as_posix(): fsio.sha256_of(p) for p in files}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in OUTPUT.work, oldest first."""
    return sorted(folder.glob("checkpoint-*"))


def earlier_options(output: Path) -> list[dict[str, Any]]:
    """The options of the unfinished run for ``output`` and of the finished one, as far as there are any to be read."""
    found = []
    for path, key in ((output.with_name(f"{output.name}.work") / IDENTITY, "options"), (output / MANIFEST, "config")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            found.append(dict(json.loads(path.read_bytes())[key]))
    return found


def is_unfinished(output: Path) -> bool:
    """Whether a run for this output file left its journal: if the file exists, it was killed at the very end."""
    return (output.with_name(f"{output.name}.work") / JOURNAL).exists()


def discard(build: ArtifactBuild) -> None:
    """Delete the OUTPUT.work of a finished build, left by a kill at the very end."""
    folder = _folder(build)
    fsio.recover(folder)
    # another process that writes the same output may have locked it
    with suppress(OSError, ValueError, UsageError), fsio.locked(folder):
        found = json.loads((folder / IDENTITY).read_bytes())
        if all(found[part] == value for part, value in _identity(build).items()):
            fsio.delete(folder)


def _folder(build: ArtifactBuild | FileBuild) -> Path:
    return build.output.with_name(f"{build.output.name}.work")


def _check_ownership(folder: Path) -> None:
    """Reject a folder of this name that mslm did not create."""
    if not (folder / IDENTITY).is_file() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise UsageError(f"{folder} exists and is not a work folder of mslm", hint="choose another -o")


def _leave(folder: Path, error: BaseException, *, has_begun: bool) -> None:
    """Delete a folder that cannot be resumed from; otherwise tell the user how."""
    newest = max(checkpoints(folder), default=folder if (folder / JOURNAL).exists() else None)
    is_about_input = isinstance(error, DataError) and not isinstance(error, BadDocumentError)
    is_about_options = isinstance(error, UsageError) and newest == folder and has_begun
    if newest is None or is_about_input or is_about_options:  # what is corrected is another run
        shutil.rmtree(folder, ignore_errors=True)
    elif isinstance(error, DivergedError):
        console.warn(f"{newest} is the last good checkpoint")
    elif not isinstance(error, UsageError | ArtifactError):
        console.note(f"{newest} is kept: run the same command again to resume from it")


def _checkpoint(folder: Path, resume: str) -> Path | None:
    if resume in ("auto", "never"):
        return max(checkpoints(folder), default=None)
    chosen = Path(resume)
    if not (chosen / "state.json").is_file() or not chosen.resolve().parent.samefile(folder):
        hint = f"checkpoints are the checkpoint-* folders in {folder}"
        raise ArtifactError(f"--resume {resume}: not a checkpoint of this run", hint=hint)
    for later in checkpoints(folder):
        if later.name > chosen.name:
            fsio.delete(later)
    return chosen


def _identity(build: ArtifactBuild | FileBuild) -> dict[str, dict[str, Any]]:
    inputs: dict[str, list[str]] = {}
    for source in build.inputs:
        inputs.setdefault(source.role, []).append(source.fingerprint)
    form = build.form if isinstance(build, FileBuild) else {}
    return {"options": build.config.identity() | dict(form), "inputs": inputs, "code": build.code}


def _claim(folder: Path, wanted: dict[str, dict[str, Any]], *, anyway: bool) -> None:
    """Record the build's identity in a new folder, or check it in an existing one."""
    if not any(folder.glob("checkpoint-*")) and not (folder / JOURNAL).exists():
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
            f"{folder / IDENTITY}: damaged: {error}", hint="use --resume never to start over"
        ) from error
    for part in ("options", "inputs"):
        if different[part]:
            raise UsageError(
                f"{folder} holds a run with other {part}: {', '.join(different[part])}",
                hint="use the same ones to resume, or --resume never to start over",
            )
    if different["code"] and not anyway:
        names = code_identity.shortlist(code_identity.difference(found["code"], wanted["code"]))
        raise UsageError(
            f"{folder} holds a run with other code ({names})",
            hint="use --resume-anyway to continue it, or --resume never to start over",
        )
