"""What a format of data is to the rest of the program."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.source import Head, Source


@dataclass(frozen=True)
class Format:
    """One form in which people have data.

    name: what ``--format`` calls it.
    help: what it is, in a few words.
    matches: whether a file of this path that begins like this is in the form.
    documents: the running text of a file, as it is asked for; labels do not show in it.
    labelled: the gold sentences of a file, or None where the form has no labels.

    Both readers raise DataError, with the line where there is one, for a file that is not in the form.
    """

    name: str
    help: str
    matches: Callable[[Path, Head], bool]
    documents: Callable[[Source], Iterator[Document]]
    labelled: Callable[[Source], LabelledCorpus] | None = None
