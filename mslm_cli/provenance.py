"""The provenance of an artifact: code version, library versions, platform; no host, user or path."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

import mslm_cli

_LIBRARIES = ("torch", "transformers", "tokenizers", "spacy", "scispacy", "numpy", "pyarrow", "wordfreq")


def code_version() -> dict[str, str]:
    """The version of this package; part of every fingerprint."""
    return {"mslm": mslm_cli.__version__}


def environment() -> dict[str, str]:
    """Python, platform and library versions; observed, never part of a fingerprint."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def portable_path(path: Path) -> str:
    """``path`` without private parts: as given if relative and inside the working folder, else only its name."""
    pure = PurePath(path)
    return portable_name(pure.name if pure.is_absolute() or ".." in pure.parts else pure.as_posix())


def portable_name(name: str) -> str:
    """A file name as valid Unicode: bytes that are not UTF-8 become ``\\xff``, and then backslashes are doubled."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")
    return name
