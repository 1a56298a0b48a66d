"""``mslm match``: find the terms of a lexicon in text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from json.encoder import encode_basestring as encode
from pathlib import Path
from typing import Literal, NamedTuple

from mslm_cli import artifacts, console, fsio, workspace
from mslm_cli.config import MatchConfig
from mslm_cli.corpus.blocks import Block, Work, blocks
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.files import source_files, total_bytes
from mslm_cli.corpus.lines import STDIN, OnRead, ignore_progress
from mslm_cli.corpus.over_blocks import Journal, Kept, OverBlocks, join_pieces, packed, piece, unpacked
from mslm_cli.corpus.readers import read_documents
from mslm_cli.errors import UsageError
from mslm_cli.execution import executor as execution
from mslm_cli.terms.display import Mark, html_page
from mslm_cli.terms.lexicon import Term, terms_of, type_names
from mslm_cli.terms.matcher import Match, Matcher
from mslm_cli.workspace import FileBuild, RunOptions

BLOCK_CHARS = 1_000_000

WORKER_BYTES = 200_000_000
"""Memory of a worker (measured: 0.14 GB)."""

Form = Literal["json", "text", "html"]


class DocumentMatches(NamedTuple):
    """A document with its matches; ``first``: the offset of its text in the input document."""

    doc: str
    first: int
    text: str
    matches: list[Match]


@dataclass
class Totals:
    """Totals over all documents."""

    n_documents: int = 0
    n_matches: int = 0
    terms: set[int] = field(default_factory=set)

    def add(self, n_documents: int, n_matches: int, terms: str) -> None:
        """Add the totals of a block; ``terms``: as ``packed`` gives them."""
        self.n_documents += n_documents
        self.n_matches += n_matches
        self.terms |= unpacked(terms)

    def to_json(self) -> tuple[int, int, str]:
        """The arguments of ``add``."""
        return self.n_documents, self.n_matches, packed(self.terms)


def run(
    texts: Sequence[Path],
    lexicon: Path,
    config: MatchConfig,
    *,
    form: Form,
    output: Path | None = None,
    options: RunOptions = RunOptions(),  # noqa: B008 - immutable
) -> None:
    """Write the matches to standard output or to the file ``output``, document by document.

    ``json``: one line per match; ``text``: documents with marked matches; ``html``: a page.

    Raises:
        UsageError: ``output`` exists, and is not to be overwritten.
        ArtifactError: ``lexicon`` is not a valid lexicon.
        DataError: the text is unreadable.
    """
    if output is not None:
        if output.exists() and not options.overwrite and not workspace.is_unfinished(output):
            raise UsageError(f"{output} exists", hint="choose another -o, or use --overwrite")
        fsio.check_writable(output)
    source = artifacts.load(lexicon, "lexicon")
    terms = terms_of(source)
    files = source_files(texts)
    n_bytes, n_workers = total_bytes(files), config.n_workers(WORKER_BYTES)
    with (
        execution.executor(n_workers, config.ray) as executor,
        console.progress("match", n_bytes or None, shown=form != "text", unit="bytes") as bar,
    ):
        every = blocks(files, config, config.block_size(BLOCK_CHARS), bar.advance)
        over, totals = OverBlocks(executor, config, config.skip_bad), Totals()
        if form == "json" and output is not None and STDIN not in files:
            inputs = [source.as_input("lexicon"), *(artifacts.file_input("text", file) for file in files)]
            with workspace.work_folder(FileBuild("matches", output, config, inputs, {}), options) as (work, _):
                over = replace(over, journal=Journal(work))
                for found in over.map(partial(_piece_writer, terms, work), every, bar):
                    totals.add(*found)
                join_pieces(work, output)
        else:
            if config.is_local(n_workers):
                documents: Iterable[DocumentMatches] = find(files, config, terms, bar.advance)
            else:
                documents = chain.from_iterable(over.map(partial(_finder, terms), every, bar))
            lines = _lines(_counted(documents, totals), terms, form)
            if output is not None:
                with fsio.staged_file(output) as file:
                    file.writelines(lines)
            else:
                console.stream(lines, is_safe=True)
    if output is not None:
        console.made(output)
    console.note(
        f"{totals.n_matches:,} match{'es' * (totals.n_matches != 1)} of {console.count(len(totals.terms), 'term')}"
        f" in {console.count(totals.n_documents, 'document')}"
    )


def find(
    files: Sequence[Path], config: MatchConfig, terms: Sequence[Term], on_read: OnRead = ignore_progress
) -> Iterator[DocumentMatches]:
    """The documents of ``files``, each with the occurrences of ``terms``.

    A long document comes in parts with the same id; offsets continue over its parts.
    """
    return _found(Matcher(terms), read_documents(files, config, on_read))


def _found(matcher: Matcher, documents: Iterable[Document]) -> Iterator[DocumentMatches]:
    for document in documents:
        yield DocumentMatches(document.id, document.first, document.text, matcher.find(document.text))


def _finder(terms: Sequence[Term]) -> Work[list[DocumentMatches]]:
    """The function that finds the matches in a block."""
    matcher = Matcher(terms)
    return lambda _, documents: list(_found(matcher, documents))


def _piece_writer(terms: Sequence[Term], folder: Path) -> Work[Kept]:
    """The function that writes the matches in a block as JSON lines."""
    matcher, tails = Matcher(terms), _tails(terms)

    def write(block: Block, documents: Iterable[Document]) -> Kept:
        totals = Totals()
        text = "".join(_records(_counted(_found(matcher, documents), totals), tails))
        return piece(folder, block, text, totals.to_json())

    return write


def _counted(documents: Iterable[DocumentMatches], totals: Totals) -> Iterator[DocumentMatches]:
    for found in documents:
        totals.n_documents += 1
        totals.n_matches += len(found.matches)
        totals.terms.update(match.term for match in found.matches)
        yield found


def _lines(documents: Iterable[DocumentMatches], terms: Sequence[Term], form: Form) -> Iterator[str]:
    if form == "json":
        return _records(documents, _tails(terms))
    if form == "html":
        types = type_names(terms)
        return html_page("mslm match", ((f.doc, f.text, _marks(f, terms)) for f in documents), types)
    return (console.marked(found.text, _marks(found, terms)) + "\n\n" for found in documents)


def _tails(terms: Sequence[Term]) -> list[str]:
    """The end of the JSON line of a match of each term: encoded once for many lines."""
    to_json = json.JSONEncoder(ensure_ascii=False).encode
    return [to_json({"term": term.term, "type": term.type, "score": term.score})[1:] for term in terms]


def _records(documents: Iterable[DocumentMatches], tails: Sequence[str]) -> Iterator[str]:
    """A JSON line for each match, with the end that its term has."""
    for found in documents:
        head = f'{{"doc": {encode(found.doc)}, "start": '
        first, text = found.first, found.text
        yield "".join(
            f'{head}{first + start}, "end": {first + end}, "text": {encode(text[start:end])}, {tails[term]}\n'
            for start, end, term in found.matches
        )


def _marks(found: DocumentMatches, terms: Sequence[Term]) -> list[Mark]:
    return [Mark(match.start, match.end, terms[match.term].type or "") for match in found.matches]
