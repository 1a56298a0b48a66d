"""Finding the files that a user names, and what they are called in messages and ids."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mslm_cli.corpus.lines import STDIN
from mslm_cli.errors import DataError


def source_files(paths: Sequence[Path]) -> list[Path]:
    """The files that ``paths`` stand for, in order, each once; folders are searched to any depth, by name.

    Hidden files and folders inside a folder are skipped. ``-`` is standard input and stays as it is.

    Raises:
        DataError: a path does not exist, or a folder holds no file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path == STDIN:
            found.setdefault(STDIN, STDIN)
        elif path.is_dir():
            inside = _files_below(path)
            if not inside:
                raise DataError("the folder holds no files", path=path)
            for file in inside:
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise DataError("no such file or folder", path=path)
    return list(found.values())


def labels_of(files: Sequence[Path]) -> list[str]:
    """A name for each file to number its documents under: as much of its path's end as tells the files apart."""
    deepest = max((len(file.parts) for file in files), default=1)
    labels: list[str] = []
    for depth in range(1, deepest + 1):
        labels = ["stdin" if file == STDIN else "/".join(file.parts[-depth:]) for file in files]
        if len(set(labels)) == len(labels):
            break
    return labels


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"cannot be read: {error.strerror}", path=error.filename) from error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(root, name) for name in names if not name.startswith("."))
    return sorted(found)
