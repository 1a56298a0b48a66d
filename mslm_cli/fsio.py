"""Files and folders that appear whole or not at all.

An artifact is filled in a hidden sibling folder (``.NAME.partial``), synced, and
renamed into place. Replacing one takes two renames, by way of ``.NAME.old``; deleting
one begins with its renaming to ``.NAME.gone``. What a kill leaves of these is cleared
away, or put back, by ``recover`` at the next run.
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
except ImportError:  # Windows: two writers of one output are not told apart there
    fcntl = None  # type: ignore[assignment]  # the module's absence is the information


def resource(name: str) -> Path:
    """The path of a file or folder that ships under ``resources/``, in a wheel or a checkout."""
    package = Path(__file__).parent
    installed = package / "resources" / name
    return installed if installed.exists() else package.parent / "resources" / name


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder``, and the folder itself, to the disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Have ``folder`` exist, and on the disk; it and its parents are made where they do not."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by a file that holds ``text`` (UTF-8, LF), atomically and synced."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def staged_file(path: Path) -> Iterator[TextIO]:
    """Yield a file (UTF-8, LF) that becomes ``path`` when the block ends well; else nothing is left of it.

    Raises:
        UnavailableError: there is no space left on the device.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with disk_full_named(path):
        make_folder(path.parent)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def spool_stdin() -> str:
    """The SHA-256 of standard input, which is copied to a nameless file and can be read from its start again."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it lives on as standard input
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.seek(0)
    digest = hashlib.file_digest(copy, "sha256").hexdigest()
    copy.seek(0)
    sys.stdin = io.TextIOWrapper(copy)
    return digest


@contextmanager
def disk_full_named(output: Path) -> Iterator[None]:
    """Turn an error inside the block that says the disk is full into one that names ``output``.

    Raises:
        UnavailableError: the disk, or the user's quota, is full.
    """
    try:
        yield
    except BaseException as error:  # what libraries in Rust raise has no class of its own
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "(os error 28)" in str(error):
            raise UnavailableError(f"{output}: No space left on device", hint="free some and run it again") from error
        raise


def check_writable(output: Path) -> None:
    """Find out before the work whether ``output`` can be made.

    Raises:
        UsageError: it would be inside a file.
        UnavailableError: the user may not write there.
    """
    parent = next(p for p in output.absolute().parents if p.exists())
    if not parent.is_dir():
        raise UsageError(f"{output}: cannot be made, because {parent} is a file")
    if not os.access(parent, os.W_OK):
        raise UnavailableError(f"{output}: cannot be made: no permission to write in {parent}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; a second process is refused.

    Raises:
        UsageError: another process holds the folder.
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


def hold(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock file ``path``, which is made, until it is closed or the process ends.

    None if another process holds it and ``wait`` is false. Where the system knows no locks, all get one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
    return descriptor


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs, after whoever holds it now."""
    descriptor = hold(path, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


def _sibling(output: Path, suffix: str) -> Path:
    if output.name in ("", ".."):
        raise UsageError(f"{output} exists: it is not replaced as a whole", hint="name a folder in it")
    return output.with_name(f".{output.name}.{suffix}")


def recover(output: Path) -> None:
    """Mend what a killed process left of ``output``: the new one, or else the old one, is there, and nothing beside."""
    old, gone, partial = (_sibling(output, suffix) for suffix in ("old", "gone", "partial"))
    if old.exists():
        if output.exists():
            shutil.rmtree(old)
        else:
            old.rename(output)
            sync(output.parent)
    if gone.exists():
        shutil.rmtree(gone)
    if partial.is_dir():
        with suppress(UsageError), locked(partial):  # another process may be filling it
            shutil.rmtree(partial)


def delete(folder: Path) -> None:
    """Delete ``folder`` so that a kill leaves all of it, or nothing under its name."""
    gone = _sibling(folder, "gone")
    if gone.exists():
        shutil.rmtree(gone)
    folder.rename(gone)
    shutil.rmtree(gone)


def empty(folder: Path) -> None:
    """Delete what is in ``folder``, but not the folder."""
    for inside in folder.iterdir():
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()


@contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """Yield an empty private folder that becomes ``output`` when the block ends well.

    The folder is readable by its owner only (it may hold text). If the block raises,
    nothing is left of it and an existing ``output`` is untouched.

    Raises:
        UnavailableError: there is no space left on the device.
    """
    with disk_full_named(output):
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
