"""Reading what users have, in whatever format: as documents of running text, or as gold sentences."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path

from mslm_cli import console
from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.files import labels_of
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.lines import OnRead, ignore_progress
from mslm_cli.corpus.options import AUTO, DataOptions
from mslm_cli.corpus.source import Source, no_text
from mslm_cli.errors import UsageError

_LABELLED_DEFAULT = "conll"
_DEFAULTS = DataOptions()

OWN_HEADER = "# written_by = mslm\n"
"""How columns in UTF-8 begin that this program wrote between two commands."""


def read_documents(
    files: Sequence[Path], options: DataOptions, on_read: OnRead = ignore_progress
) -> Iterator[Document]:
    """Documents of all files, read as they are asked for; labels that a file has are ignored.

    Where the input has no ids they are the file's name and a number from 1. A document of more than
    ``MAX_DOCUMENT_CHARS`` comes in parts: under the same id where the input named it, else as documents of their own.
    ``on_read`` hears of every block of bytes as it is read.

    Raises:
        DataError: a file holds no text, cannot be read (see ``read_lines``), or is not in its format.
        UsageError: the encoding is unknown.
        UnavailableError: a plug-in that adds a format is broken.
    """
    for file, label in zip(files, labels_of(files), strict=True):
        source = _opened(Source(file, options, label=label, on_read=on_read))
        documents = format_of(source).documents(source)
        first = next(documents, None)
        if first is None:
            raise no_text(source.name, is_empty=source.head.raw in (b"", BOM_UTF8))
        yield first
        yield from documents


def read_gold(file: Path, options: DataOptions) -> LabelledCorpus:
    """As ``read_labelled``; says what is odd about the labels."""
    corpus = read_labelled(file, options)
    if corpus.n_orphans:
        console.warn(
            f"{file}: {corpus.n_orphans} mentions start with I- without a B- before; each is taken as a mention"
        )
    return corpus


def read_labelled(file: Path, options: DataOptions = _DEFAULTS) -> LabelledCorpus:
    """The labelled sentences of one file.

    Raises:
        DataError: the file holds no sentences, cannot be read (see ``read_lines``), or is not in its format.
        UsageError: the encoding is unknown, or the format has no labels.
        UnavailableError: a plug-in that adds a format is broken.
    """
    source = _opened(Source(file, options))
    chosen = format_of(source)
    if chosen.labelled is None and source.options.format != AUTO:
        raise UsageError(f"--format {options.format} has no labels", hint=f"those with labels: {_with_labels()}")
    # of what is no format with labels, the reader of columns says best what is wrong with it
    read = chosen.labelled or FORMATS[_LABELLED_DEFAULT].labelled
    assert read is not None
    return read(source)


def format_of(source: Source) -> Format:
    """The format that the options name, or with auto the first that the file matches."""
    if source.options.format != AUTO:
        return FORMATS[source.options.format]
    return next(each for each in FORMATS if each.matches(source.path, source.head))


def _opened(source: Source) -> Source:
    """``source``, read as columns whatever its options say if they are columns that this program wrote."""
    if source.head.raw.startswith(OWN_HEADER.encode()):
        source.options = DataOptions(format=_LABELLED_DEFAULT)
    return source


def _with_labels() -> str:
    return ", ".join(each.name for each in FORMATS if each.labelled)
