"""``mslm match``: find the terms of a lexicon in text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as encode
from pathlib import Path
from typing import Literal, NamedTuple

from mslm_cli import artifacts, console, fsio
from mslm_cli.config import MatchConfig
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.lines import OnRead, ignore_progress
from mslm_cli.corpus.readers import read_documents
from mslm_cli.errors import UsageError
from mslm_cli.terms.display import Mark, html_page
from mslm_cli.terms.lexicon import Term, terms_of, type_names
from mslm_cli.terms.matcher import Match, Matcher

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


def run(
    texts: Sequence[Path],
    lexicon: Path,
    config: MatchConfig,
    *,
    form: Form,
    output: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the matches to standard output or to the file ``output``, document by document.

    ``json``: one line per match; ``text``: documents with marked matches; ``html``: a page.

    Raises:
        UsageError: ``output`` exists, and ``overwrite`` is false.
        ArtifactError: ``lexicon`` is not a valid lexicon.
        DataError: the text is unreadable.
    """
    if output is not None:
        if output.exists() and not overwrite:
            raise UsageError(f"{output} exists", hint="choose another -o, or use --overwrite")
        fsio.check_writable(output)
    source = artifacts.load(lexicon, "lexicon")
    terms = terms_of(source)
    files = source_files(texts)
    totals = Totals()
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    with console.progress("match", n_bytes or None, shown=form != "text") as bar:
        documents = _counted(find(files, config, terms, bar.advance), totals)
        if output is not None:
            with fsio.staged_file(output) as file:
                file.writelines(_lines(documents, terms, form))
            console.made(output)
        else:
            console.stream(_lines(documents, terms, form), is_safe=True)
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
    matcher = Matcher(terms)
    for document in read_documents(files, config, on_read):
        yield DocumentMatches(document.id, document.first, document.text, matcher.find(document.text))


def _counted(documents: Iterable[DocumentMatches], totals: Totals) -> Iterator[DocumentMatches]:
    for found in documents:
        totals.n_documents += 1
        totals.n_matches += len(found.matches)
        totals.terms.update(match.term for match in found.matches)
        yield found


def _lines(documents: Iterable[DocumentMatches], terms: Sequence[Term], form: Form) -> Iterator[str]:
    if form == "json":
        return _records(documents, terms)
    if form == "html":
        types = type_names(terms)
        return html_page("mslm match", ((f.doc, f.text, _marks(f, terms)) for f in documents), types)
    return (console.marked(found.text, _marks(found, terms)) + "\n\n" for found in documents)


def _records(documents: Iterable[DocumentMatches], terms: Sequence[Term]) -> Iterator[str]:
    """A JSON line for each match; what is the same in many lines is encoded once."""
    to_json = json.JSONEncoder(ensure_ascii=False).encode
    tails = [to_json({"term": term.term, "type": term.type, "score": term.score})[1:] for term in terms]
    for found in documents:
        head = f'{{"doc": {encode(found.doc)}, "start": '
        first, text = found.first, found.text
        yield "".join(
            f'{head}{first + start}, "end": {first + end}, "text": {encode(text[start:end])}, {tails[term]}\n'
            for start, end, term in found.matches
        )


def _marks(found: DocumentMatches, terms: Sequence[Term]) -> list[Mark]:
    return [Mark(match.start, match.end, terms[match.term].type or "") for match in found.matches]
