"""Finding the files that a user names, and what they are called in messages and ids."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mslm_cli import console
from mslm_cli.artifacts import MANIFEST
from mslm_cli.corpus.lines import STDIN
from mslm_cli.errors import DataError

_OF_DATASETS = {"dataset_info.json", "state.json"}
"""Files that ``datasets`` saves next to the ``.arrow`` files of a data set."""

_SIDE_ENDINGS = (".a1", ".a2", ".ann", ".cfg", ".conf", ".ini", ".log", ".md", ".rst", ".toml", ".yaml", ".yml")
"""Endings of files that lie next to data and hold none, or none without another file."""


def source_files(paths: Sequence[Path]) -> list[Path]:
    """The files that ``paths`` name, in order, each once; folders are searched to any depth, in order of names.

    Hidden files and folders inside a folder are skipped, and so are side files (``.ann``, ``.conf``), with a message.
    ``-`` is standard input and is returned as it is.

    Raises:
        DataError: a path does not exist, a folder holds no file, or is an artifact of this program.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path == STDIN:
            found.setdefault(STDIN, STDIN)
        elif path.is_dir():
            for file in _data_files(path):
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise DataError("no such file or folder", path=path)
    return list(found.values())


def total_bytes(files: Sequence[Path]) -> int:
    """The size of the files on disk; standard input and pipes count as 0."""
    return sum(file.stat().st_size for file in files if file.is_file())


def labels_of(files: Sequence[Path]) -> list[str]:
    """A name for each file to number its documents under: as much of its path's end as tells the files apart."""
    deepest = max((len(file.parts) for file in files), default=1)
    labels: list[str] = []
    for depth in range(1, deepest + 1):
        labels = ["stdin" if file == STDIN else "/".join(file.parts[-depth:]) for file in files]
        if len(set(labels)) == len(labels):
            break
    return labels


_MEANT = {"lexicon": "--lexicon", "encoder": "--model"}
"""The options that take artifacts, where these are easily given as data."""


def _data_files(folder: Path) -> list[Path]:
    """The files below ``folder`` that can hold data."""
    inside = _files_below(folder)
    for file in inside:
        if file.name == MANIFEST and (kind := _artifact_kind(file)):
            message = f"a {kind} artifact of mslm, where data were expected"
            hint = f"did you mean {_MEANT[kind]}?" if kind in _MEANT else "name the files that it was made from"
            raise DataError(message, path=file.parent, hint=hint)
        if file.name == "dataset_dict.json":
            splits = ", ".join(sorted(path.name for path in file.parent.iterdir() if path.is_dir()))
            message = f"a data set with the splits {splits}"
            raise DataError(message, path=file.parent, hint="name the folder of one of them")
    with_arrow = {file.parent for file in inside if file.suffix == ".arrow"}
    files = [
        file
        for file in inside
        if not _plain_name(file).endswith(_SIDE_ENDINGS)
        and not (file.name in _OF_DATASETS and file.parent in with_arrow)
    ]
    if not files:
        raise DataError("the folder holds no files" if not inside else "the folder holds no data files", path=folder)
    names = {str(file.with_name(_plain_name(file))) for file in inside}
    read_with_texts = {name for name in names if name.endswith(".ann") and f"{name[:-4]}.txt" in names}
    skipped = set(inside).difference(files)
    alone = [
        file for file in inside if file in skipped and str(file.with_name(_plain_name(file))) not in read_with_texts
    ]
    if alone:
        endings = Counter(Path(_plain_name(file)).suffix for file in alone)
        console.note(f"{folder}: skipped {', '.join(f'{n} {ending}' for ending, n in sorted(endings.items()))}")
    if without_text := [file for file in alone if _plain_name(file).endswith(".ann")]:
        n = console.count(len(without_text), "annotation file")
        console.warn(f"{folder}: {n} (.ann) without a text (.txt) of this name; the first is {without_text[0].name}")
    return files


def _plain_name(file: Path) -> str:
    return file.name.removesuffix(".gz")


def _artifact_kind(manifest: Path) -> str | None:
    """What kind of artifact this is the manifest of, if it is one of this program."""
    try:
        found = json.loads(manifest.read_bytes())
        return str(found["kind"]) if "fingerprint" in found and "schema_version" in found else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"cannot be read: {error.strerror}", path=error.filename) from error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(root, name) for name in names if not name.startswith("."))
    return sorted(found)
