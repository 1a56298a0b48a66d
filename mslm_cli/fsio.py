"""Atomic writing of files and folders.

An artifact is written to a hidden sibling folder (``.NAME.partial``), synced, and renamed into place. Replacing one
takes two renames, via ``.NAME.old``; deleting one starts by renaming it to ``.NAME.gone``. ``recover`` in the next run
removes or restores what a killed process left of these. An output that is a link is written where it points.
"""

import errno
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mslm_cli.errors import UnavailableError, UsageError

try:
    import fcntl
except ImportError:  # Windows: concurrent writers of the same output are not detected
    fcntl = None  # type: ignore[assignment]  # the module's absence is the information


def resource(name: str) -> Path:
    """The path of a file or folder in ``resources/``, in a wheel or a checkout."""
    package = Path(__file__).parent
    installed = package / "resources" / name
    return installed if installed.exists() else package.parent / "resources" / name


def cache_folder() -> Path:
    """The folder for downloaded models and what is made once: $MSLM_CACHE, else mslm/ in the user's cache."""
    if explicit := os.environ.get("MSLM_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mslm"


def sync(path: Path) -> None:
    """Flush a file's content or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush ``folder`` and everything below it to disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create ``folder`` and its parents if they are missing, and sync them to disk."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8, LF) to ``path``, atomically and synced, after any other process that is writing it."""
    with _partial_file(path, wait=True) as file:
        file.write(text)


@contextmanager
def staged_file(path: Path) -> Iterator[TextIO]:
    """Yield a file (UTF-8, LF) that becomes ``path`` if the block succeeds; otherwise it is removed.

    Raises:
        UsageError: another process is writing ``path``.
        UnavailableError: no space is left on the device.
    """
    path = target(path)
    with naming_full_disk(path):
        make_folder(path.parent)
        with _partial_file(path, wait=False) as file:
            yield file


@contextmanager
def _partial_file(path: Path, *, wait: bool) -> Iterator[TextIO]:
    """Yield ``.NAME.partial``, locked by this process, which becomes ``path`` if the block succeeds."""
    temporary = path.with_name(f".{path.name}.partial")
    while True:
        descriptor = hold(temporary, wait=wait, mode=0o666)
        if descriptor is None:
            raise UsageError(f"{path} is being written by another process")
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                break
        os.close(descriptor)  # another process has renamed it in the meantime
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        try:
            file.truncate()
            yield file
            file.flush()
            os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync(path.parent)


def link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def spool_stdin() -> str:
    """The SHA-256 of standard input, which is copied to an unnamed file so that it can be read again from its start."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it lives on as standard input
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.seek(0)
    digest = hashlib.file_digest(copy, "sha256").hexdigest()
    copy.seek(0)
    sys.stdin = io.TextIOWrapper(copy)
    return digest


@contextmanager
def naming_full_disk(output: Path) -> Iterator[None]:
    """Convert a disk-full error within the block into one that names ``output``.

    Raises:
        UnavailableError: the disk, or the user's quota, is full.
    """
    try:
        yield
    except BaseException as error:  # errors of Rust libraries and of shutil.copytree have no number of their own
        is_named = "(os error 28)" in str(error) or f"[Errno {errno.ENOSPC}]" in str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or is_named:
            raise UnavailableError(f"{output}: No space left on device", hint="free space and run it again") from error
        raise


def check_writable(output: Path) -> None:
    """Check before the work that ``output`` can be created.

    Raises:
        UsageError: a parent of ``output`` is a file, or its path is not UTF-8, which libraries for weights need.
        UnavailableError: there is no write permission.
    """
    try:
        str(output.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{output}: cannot be created: the path is not UTF-8", hint="choose another -o") from error
    parent = next(p for p in output.absolute().parents if p.exists())
    if not parent.is_dir():
        raise UsageError(f"{output}: cannot be created: {parent} is a file")
    if not os.access(parent, os.W_OK):
        raise UnavailableError(f"{output}: cannot be created: no permission to write in {parent}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process within the block.

    Raises:
        UsageError: another process has locked the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{folder} is being written by another process") from None
        yield
    finally:
        os.close(descriptor)


def hold(path: Path, *, wait: bool, mode: int = 0o600) -> int | None:
    """Create and lock the file ``path``; its descriptor holds the lock until closed or until the process ends.

    None if another process holds the lock and ``wait`` is false. On systems without locks, every process gets one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
    return descriptor


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` within the block, waiting for its current holder."""
    descriptor = hold(path, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


def target(output: Path) -> Path:
    """Where an output is written: the place that it points to if it is a link."""
    return output.resolve() if output.is_symlink() else output


def _sibling(output: Path, suffix: str) -> Path:
    if output.name in ("", ".."):
        raise UsageError(f"{output} exists and cannot be replaced as a whole", hint="name a folder inside it")
    return output.with_name(f".{output.name}.{suffix}")


def _remove(path: Path) -> None:
    """Delete a folder, or a link to one."""
    path.unlink() if path.is_symlink() else shutil.rmtree(path)


def recover(output: Path) -> None:
    """Clean up after a killed process: keeps the new ``output``, else restores the old one, and removes leftovers."""
    output = target(output)
    old, gone, partial = (_sibling(output, suffix) for suffix in ("old", "gone", "partial"))
    if os.path.lexists(old):
        if output.exists():
            _remove(old)
        else:
            old.rename(output)
            sync(output.parent)
    if os.path.lexists(gone):
        _remove(gone)
    if partial.is_dir():
        with suppress(UsageError), locked(partial):  # another process may be writing it
            shutil.rmtree(partial)


def delete(folder: Path) -> None:
    """Delete ``folder`` atomically: a kill leaves all of it or nothing under its name."""
    folder = target(folder)
    gone = _sibling(folder, "gone")
    if os.path.lexists(gone):
        _remove(gone)
    folder.rename(gone)
    shutil.rmtree(gone)


def empty(folder: Path) -> None:
    """Delete the content of ``folder``, but not the folder."""
    for inside in folder.iterdir():
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``output`` if the block succeeds.

    Only the owner can read the folder (it may contain text). If the block raises, the folder is removed and an existing
    ``output`` stays untouched.

    Raises:
        UnavailableError: no space is left on the device.
    """
    output = target(output)
    with naming_full_disk(output):
        make_folder(output.parent)
        recover(output)
        partial, old = _sibling(output, "partial"), _sibling(output, "old")
        partial.mkdir(mode=0o700, exist_ok=True)
        with locked(partial):
            try:
                empty(partial)
                yield partial
                sync_tree(partial)
                if output.exists():
                    output.rename(old)
                partial.rename(output)
                sync(output.parent)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                recover(output)
                raise
        shutil.rmtree(old, ignore_errors=True)
