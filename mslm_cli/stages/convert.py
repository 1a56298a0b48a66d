"""``mslm convert``: labelled data in another format."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mslm_cli import console
from mslm_cli.config import ConvertConfig
from mslm_cli.corpus import hub
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.formats.format import Part, Writer
from mslm_cli.corpus.labels import TagScheme, tags_from_mentions
from mslm_cli.corpus.output import check_output, refuse_standard_output, write_parts
from mslm_cli.corpus.readers import read_annotated, read_gold
from mslm_cli.corpus.standoff import AnnotatedDocument, labelled_corpus
from mslm_cli.corpus.writers import conll_block, document_mark
from mslm_cli.errors import UsageError

CONLL = "conll"


def writable() -> tuple[str, ...]:
    """The formats that can be written."""
    return (CONLL, *(each.name for each in FORMATS if each.writer))


def writer_of(form: str) -> Writer:
    """What writes a format other than columns.

    Raises:
        UsageError: nothing is written in it.
    """
    writer = FORMATS[form].writer if form in FORMATS.names() else None
    if writer is None:
        raise UsageError(f"--to: expected {', '.join(writable())}, found {form!r}")
    return writer


def run(
    paths: Sequence[Path],
    config: ConvertConfig,
    *,
    to: str,
    scheme: TagScheme = "IOB2",
    output: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the data of ``paths`` in the format ``to``, to ``output`` or standard output.

    Columns hold the words and the mentions that training would read, with ``scheme`` tags; all other formats hold the
    text and the mentions as they were annotated.

    Raises:
        UsageError: the format cannot be written, or the output exists.
        DataError: the data cannot be read.
    """
    writer = Writer(lambda _, target: iter(())) if to == CONLL else writer_of(to)
    if output is None:
        refuse_standard_output(to, writer)
    else:
        check_output(output, is_folder=writer.is_folder, overwrite=overwrite)
    if to == CONLL:
        parts = _columns(paths, config, scheme)
    else:
        documents = _counted(read_annotated(paths, config))
        parts = writer.parts(documents, "" if output is None else output.name)
    write_parts(parts, output, is_folder=writer.is_folder)
    if output is not None:
        console.made(output)


def _columns(paths: Sequence[Path], config: ConvertConfig, scheme: TagScheme) -> Iterator[Part]:
    n_sentences = n_mentions = 0
    for path in paths:
        doc = None
        for sentence in _gold(path, config).sentences:
            n_sentences += 1
            n_mentions += len(sentence.mentions)
            mark = document_mark(sentence.doc) if sentence.doc is not None and sentence.doc != doc else ""
            doc = sentence.doc
            tags = tags_from_mentions(sentence.mentions, len(sentence.words), scheme)
            yield Part(mark + conll_block(sentence.words, ("_".join(tag.split()) for tag in tags)))
    console.note(f"{console.count(n_mentions, 'mention')} in {console.count(n_sentences, 'sentence')}")


def _gold(path: Path, config: ConvertConfig) -> LabelledCorpus:
    if str(path).startswith(hub.PREFIX):
        documents = read_annotated([path], config)
        return labelled_corpus(documents, overlaps=config.overlaps, fragments=config.fragments)
    return read_gold(path, config)


def _counted(documents: Iterable[AnnotatedDocument]) -> Iterator[AnnotatedDocument]:
    n_documents = n_mentions = n_relations = 0
    for document in documents:
        n_documents += 1
        n_mentions += len(document.annotations)
        n_relations += len(document.relations)
        yield document
    found = console.count(n_mentions, "mention")
    if n_relations:
        found += f" and {console.count(n_relations, 'relation')}"
    console.note(f"{found} in {console.count(n_documents, 'document')}")
