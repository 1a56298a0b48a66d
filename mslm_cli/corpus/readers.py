"""Reading data in any format, as documents of running text or as gold sentences."""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from mslm_cli import console
from mslm_cli.artifacts import Input, file_input
from mslm_cli.corpus import hub
from mslm_cli.corpus.documents import OWN_HEADER, Change, Document, LabelledCorpus, LabelledSentence
from mslm_cli.corpus.files import labels_of, source_files
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.formats.brat import annotations_beside
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.formats.refused import refused_form
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.lines import OnRead, display_name, ignore_progress
from mslm_cli.corpus.options import AUTO, DataOptions
from mslm_cli.corpus.source import Source, no_text
from mslm_cli.corpus.standoff import AnnotatedDocument, SplitWords, labelled_corpus
from mslm_cli.errors import DataError, UsageError
from mslm_cli.text.tokens import token_spans

_TEXT, _COLUMNS = "text", "conll"
_DEFAULTS = DataOptions()


def read_documents(
    files: Sequence[Path],
    options: DataOptions,
    on_read: OnRead = ignore_progress,
    *,
    labels: Sequence[str] | None = None,
    told: set[str] | None = None,
) -> Iterator[Document]:
    """Documents of all files, read lazily; labels in a file are ignored.

    Documents without an id get the file's name and a number from 1. A document of more than ``MAX_DOCUMENT_CHARS``
    comes in parts: under the same id (see ``Document.first``), or as documents of their own in plain text and where
    tagged words mark no documents.

    Args:
        on_read: called with the size of each block of bytes as it is read.
        labels: for each file, the start of the ids of its documents; default: as much of its path as tells files apart.
        told: the formats that no message names any more; a message adds its own.

    Raises:
        DataError: a file holds no text, cannot be read (see ``read_lines``), or is not in its format.
        UsageError: the encoding is unknown.
        UnavailableError: a plug-in that adds a format is broken.
    """
    told = set() if told is None else told
    for file, label in zip(files, labels or labels_of(files), strict=True):
        with closing(Source(file, options, label=label, on_read=on_read)) as source:
            documents = _format_of(_opened(source), _TEXT, told).documents(source)
            with _saying_what_it_looks_like(source):
                first = next(documents, None)
            if first is None:
                raise no_text(source.name, is_empty=source.head.raw in (b"", BOM_UTF8))
            yield first
            yield from documents


def name_formats(files: Sequence[Path], options: DataOptions, told: set[str]) -> None:
    """Print the messages of ``read_documents`` on the formats of the files, without reading them.

    Raises: as ``read_documents``, if a format is not readable.
    """
    for file in files:
        with closing(Source(file, options)) as source:
            _format_of(_opened(source), _TEXT, told)


def read_labelled(
    path: Path, options: DataOptions = _DEFAULTS, split_words: SplitWords = token_spans
) -> LabelledCorpus:
    """The labelled sentences of one file, or of all files in a folder.

    Args:
        split_words: splits text into words ([start, end) characters) where the format annotates characters.

    Raises:
        DataError: a file holds no sentences, cannot be read (see ``read_lines``), or is not in its format.
        UsageError: the encoding is unknown, or the format has no labels.
        UnavailableError: a plug-in that adds a format is broken.
    """
    told: set[str] = set()
    files = source_files([path])
    corpora: dict[str, LabelledCorpus] = {}
    without_labels: list[Path] = []
    for file, label in zip(files, labels_of(files), strict=True):
        source = _opened(Source(file, options, label=label))
        source.split_words = split_words
        chosen = _format_of(source, _COLUMNS, told)
        if chosen.name == _TEXT and source.options.format == AUTO and len(files) > 1:
            without_labels.append(file)
            continue
        if chosen.labelled is None and source.options.format != AUTO:
            having = ", ".join(each.name for each in FORMATS if each.labelled)
            raise UsageError(f"--format {options.format} has no labels", hint=f"those with labels: {having}")
        # the errors of the reader of columns are the most helpful for a file without labels
        read = chosen.labelled or FORMATS[_COLUMNS].labelled
        assert read is not None
        with _saying_what_it_looks_like(source):
            corpora[label] = read(source)
    if len(without_labels) == 1:
        console.warn(f"{without_labels[0]}: plain text without labels, skipped")
    elif without_labels:
        found = f"{len(without_labels):,} files are plain text without labels, skipped"
        console.warn(f"{path}: {found}; the first is {without_labels[0].name}")
    if not any(corpus.sentences for corpus in corpora.values()):
        raise no_text(display_name(path), is_empty=False)
    return next(iter(corpora.values())) if len(corpora) == 1 else _joined(corpora)


def read_any(path: Path, options: DataOptions, formats: Iterable[str]) -> LabelledCorpus:
    """As ``read_gold``; if none of the ``formats`` has labels, all sentences, without mentions."""
    without_labels = not any(FORMATS[name].labelled for name in formats)
    return labelled_corpus(read_annotated([path], options)) if without_labels else read_gold(path, options)


def count_formats(path: Path, options: DataOptions) -> dict[str, int]:
    """How many files of each format ``read_labelled`` would read at ``path``; prints no messages."""
    found: Counter[str] = Counter()
    with console.warnings_only():
        for file in source_files([path]):
            with closing(Source(file, options)) as source:
                found[_format_of(_opened(source), _COLUMNS, set()).name] += 1
    if options.format == AUTO and len(found) > 1:
        found.pop(_TEXT, None)
    return dict(found)


def read_annotated(paths: Sequence[Path], options: DataOptions) -> Iterator[AnnotatedDocument]:
    """The documents of files, and of all files in folders, with any mentions they have by characters.

    ``hf:NAME:SPLIT`` is a data set of the hub.

    Raises: as ``read_labelled``; UnavailableError if a data set of the hub is unavailable.
    """
    for path in paths:
        if str(path).startswith(hub.PREFIX):
            yield from hub.annotated(str(path), options)
    told = {_COLUMNS}
    for source in opened_files([path for path in paths if not str(path).startswith(hub.PREFIX)], options):
        yield from annotated_in(source, told)


def opened_files(paths: Sequence[Path], options: DataOptions) -> Iterator[Source]:
    """The files, and all files in folders, to be read one after the other."""
    files = source_files(paths)
    for file, label in zip(files, labels_of(files), strict=True):
        yield _opened(Source(file, options, label=label))


def annotated_in(source: Source, told: set[str]) -> Iterator[AnnotatedDocument]:
    """The documents of one file, as ``read_annotated``.

    Args:
        told: formats that no message names; that of the file is added.
    """
    chosen = _format_of(source, _TEXT, told)
    with _saying_what_it_looks_like(source):
        is_empty = True
        for document in _annotated(chosen, source):
            is_empty = False
            yield document
        if is_empty:
            raise no_text(source.name, is_empty=source.head.raw in (b"", BOM_UTF8))


def _annotated(chosen: Format, source: Source) -> Iterator[AnnotatedDocument]:
    if chosen.annotated is not None:
        return chosen.annotated(source)
    return (AnnotatedDocument(d.id, d.text, (), d.has_id) for d in chosen.documents(source))


def read_gold(path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
    """As ``read_labelled``; prints messages on irregular labels and on mentions that were changed."""
    corpus = read_labelled(path, options, split_words)
    if corpus.n_orphans:
        console.warn(
            f"{path}: {corpus.n_orphans} mentions start with I- without a B- before; each is taken as a mention"
        )
    for kind, n in corpus.n_ignored:
        console.note(f"{path}: {n:,} {kind} are not read")
    for kind, n in count_changes(corpus).items():
        console.note(f"{path}: {console.count(n, 'mention')} {_SAID[kind]}")
    for change in corpus.changes:
        after = f" -> {change.after!r}" if change.after else ""
        place = f"{change.doc}:{change.span.start}-{change.span.end}"
        console.detail(f"{place} {change.span.type}: {change.kind}: {change.before!r}{after}")
    return corpus


_SAID = {
    "widened": "widened to whole words",
    "cut at a sentence end": "in two sentences; the longer part is read",
    "in a word with another": "left out: the word is in another mention already",
    "without a word": "left out: no word in it",
    "overlapping": "left out: overlapping another one (see --overlaps)",
    "discontinuous": "of several parts (see --fragments)",
}


def gold_inputs(role: str, path: Path) -> list[Input]:
    """A labelled file or folder as inputs of an artifact: itself, and the annotation file next to a text file."""
    beside = annotations_beside(path)
    return [file_input(role, path), *([] if beside is None else [file_input(role, beside)])]


def count_changes(corpus: LabelledCorpus) -> dict[str, int]:
    """How many mentions were changed or left out, by kind of change."""
    return dict(sorted(Counter(change.kind for change in corpus.changes).items()))


def _opened(source: Source) -> Source:
    """``source``, with options to read it as columns if this program wrote it as such."""
    if source.head.raw.startswith(OWN_HEADER.encode()):
        source.options = DataOptions(format=_COLUMNS)
    return source


def _format_of(source: Source, usual: str, told: set[str]) -> Format:
    """The format named in the options, or with auto the first that the file matches.

    A message names the format, once for each; none is printed for the ``usual`` one and those in ``told``.
    """
    if source.options.format != AUTO:
        return FORMATS[source.options.format]
    chosen = _recognised(source)
    if chosen.name == _TEXT and (refused := refused_form(source.head)):
        raise DataError(f"this looks like {refused.what}", path=source.name, line=refused.line, hint=refused.hint)
    if chosen.name not in (_TEXT, usual, *told):
        told.add(chosen.name)
        console.note_once(f"{source.name}: read as {chosen.help} (--format {chosen.name})")
    return chosen


def _recognised(source: Source) -> Format:
    return next(each for each in FORMATS if each.matches(source.path, source.head))


@contextmanager
def _saying_what_it_looks_like(source: Source) -> Iterator[None]:
    """Add to an error in reading a file what format the file looks like."""
    try:
        yield
    except DataError as error:
        try:
            looks_like = _recognised(source) if source.head.raw else None
        except DataError:
            looks_like = None
        if looks_like and looks_like.name == _TEXT:
            error.hint = "; ".join(filter(None, [error.hint, "this looks like plain text"]))
        elif looks_like and looks_like.name != source.options.format != AUTO:
            error.hint = f"this looks like {looks_like.help}: --format {looks_like.name}"
        raise


def _joined(by_label: Mapping[str, LabelledCorpus]) -> LabelledCorpus:
    """The sentences of several files; those without a document get ids with the file's name."""
    corpora = list(by_label.values())
    is_mixed = len({corpus.scheme for corpus in corpora}) > 1
    sentences: list[LabelledSentence] = []
    for label, corpus in by_label.items():
        for sentence in corpus.sentences:
            tags = tuple(tags_from_mentions(sentence.mentions, len(sentence.words))) if is_mixed else sentence.tags
            if sentence.doc is None:
                sentence = replace(sentence, id=f"{label}:{sentence.id}", doc=label)
            sentences.append(replace(sentence, tags=tags))
    n_ignored: Counter[str] = Counter()
    changes: list[Change] = []
    for corpus in corpora:
        n_ignored.update(dict(corpus.n_ignored))
        changes += corpus.changes
    return LabelledCorpus(
        tuple(sentences),
        tuple(sorted({kind for corpus in corpora for kind in corpus.types})),
        "IOB2" if is_mixed else corpora[0].scheme,
        sum(corpus.n_orphans for corpus in corpora),
        sum(corpus.n_empty_words for corpus in corpora),
        tuple(changes),
        tuple(sorted(n_ignored.items())),
    )
