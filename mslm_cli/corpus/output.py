"""Writing annotated documents to a file, a folder or standard output; files and folders whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

from mslm_cli import console, fsio
from mslm_cli.corpus.formats.format import Part, Writer
from mslm_cli.errors import UsageError

_OWN_SUFFIXES = {".ann", ".txt", ".conf"}
"""Endings of files in a folder that this program may have written and may therefore replace."""


def check_output(output: Path, *, is_folder: bool, overwrite: bool) -> None:
    """Check that ``output`` can be written.

    Raises:
        UsageError: it exists, and ``overwrite`` is false, or it is a folder in place of a file or the reverse.
        UnavailableError: it cannot be written.
    """
    if output.exists():
        if not overwrite:
            raise UsageError(f"{output} exists", hint="choose another -o, or use --overwrite")
        if is_folder and not output.is_dir():
            raise UsageError(f"{output} is a file, and would become a folder", hint="choose another -o")
        if not is_folder and output.is_dir():
            raise UsageError(f"{output} is a folder, and would become a file", hint="choose another -o")
        if is_folder and (other := sorted(p for p in output.iterdir() if p.suffix not in _OWN_SUFFIXES)):
            raise UsageError(f"{output} cannot be overwritten: it contains {other[0].name}", hint="choose another -o")
    fsio.check_writable(output)


def refuse_standard_output(form: str, writer: Writer) -> None:
    """Check that a format can be written to standard output.

    Raises:
        UsageError: it is a folder or a binary file.
    """
    if writer.is_folder or writer.is_binary:
        what = "a folder" if writer.is_folder else "a binary file"
        raise UsageError(f"--to {form} writes {what}: name it with -o")


def write_parts(parts: Iterable[Part], output: Path | None, *, is_folder: bool, is_safe: bool = False) -> None:
    """Write the parts to ``output``, or, if that is None, to standard output as they come.

    Args:
        is_safe: whether they cannot control a terminal, except by our own colours.

    Raises:
        UnavailableError: there is no space left on the device.
    """
    if output is None:
        for part in parts:
            assert isinstance(part.content, str)
            console.stream([part.content], is_safe=is_safe)
    elif is_folder:
        with fsio.staged_folder(output) as folder:
            for part in parts:
                assert isinstance(part.content, str)
                (folder / part.file).write_text(part.content, encoding="utf-8", newline="")
    else:
        with fsio.staged_file(output) as file:
            for part in parts:
                if isinstance(part.content, bytes):
                    file.buffer.write(part.content)
                else:
                    file.write(part.content)
