"""Labelled data sets of the Hugging Face hub, through the package ``datasets``, which is an extra."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.records import Record, Records
from mslm_cli.corpus.source import Source
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.errors import DataError, UnavailableError

PREFIX = "hf:"


def annotated(reference: str, options: DataOptions) -> Iterator[AnnotatedDocument]:
    """The documents of ``hf:NAME:SPLIT``; without a split, those of ``train``.

    Raises:
        UnavailableError: ``datasets`` is not installed, or the data set is unavailable.
        DataError: its records are in no known format.
    """
    name, _, split = reference.removeprefix(PREFIX).partition(":")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        message = f"{reference}: data sets of the hub need the package `datasets`"
        raise UnavailableError(message, hint="pip install 'mslm[datasets]'") from error
    try:
        loaded = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # from the network, the hub or code of the data set
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(f"{reference}: cannot be had: {type(error).__name__}: {reason}") from error
    names = {column: _names(feature) for column, feature in loaded.features.items()}
    records = (Record(number, row, number) for number, row in enumerate(loaded, 1))
    found = Records(Source(Path(reference), options), records, names)
    try:
        yield from found.annotated()
    except DataError as error:
        error.hint = error.hint or f"the columns are {', '.join(names)}"
        raise


def _names(feature: Any) -> list[str]:
    """The names of labels in a feature, or in the feature that it is a list of."""
    inner = getattr(feature, "feature", feature)
    return list(getattr(inner, "names", None) or [])
