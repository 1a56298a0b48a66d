"""CoNLL-style columns.

One word a line, in 2 or more columns separated by a tab or by spaces: the first is the word, the last its tag; a
blank line ends a sentence. Documents are marked by ``-DOCSTART-`` (an id may follow: ``-DOCSTART- (10051005)``;
``-DOCSTART- -X- O O`` names none), by a comment (``# doc 10051005``, ``# doc_id = X``, ``# newdoc id = X``) or by
``###MEDLINE:10051005``. Other comments of the form ``# key = value`` are skipped.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from mslm_cli.corpus.documents import Document, LabelledCorpus
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.source import Head, Source, no_text
from mslm_cli.corpus.standoff import AnnotatedDocument
from mslm_cli.corpus.tagged import (
    OpenSentence,
    TaggedSentence,
    is_tag,
    known_tag,
    tagged_annotated,
    tagged_corpus,
    tagged_documents,
)
from mslm_cli.errors import DataError

_DOCSTART = "-DOCSTART-"
_N_ROWS = 1 << 16
_DOCUMENT_COMMENT = re.compile(r"#\s+(?:newdoc|document|doc)(?:[ _-]?id)?(?:\s*[:=]\s*|\s+|$)(.*)|###\w+:(.+)")
_COMMENT = re.compile(r"#\s+[\w.:-]+(?:\s[\w.:-]+)?\s*=\s")


def matches(path: Path, head: Head) -> bool:
    """As ``looks_like_conll``."""
    return looks_like_conll(head.lines)


def documents(source: Source) -> Iterator[Document]:
    """Words joined by one space, sentences by a line end, empty words left out; tags are ignored.

    A file that marks no documents is one document.
    """
    return tagged_documents(conll_sentences(source.lines(), source.name, n_tags=0), source.label)


def labelled(source: Source) -> LabelledCorpus:
    """The sentences with mentions; tags may be bare or typed, IOB2, IOB1, IO, IOBES or BILOU.

    Mentions of bare tags have the type ``MENTION``. A continuation tag that continues nothing starts a mention;
    such mentions are counted, except in IO and IOB1, where they are regular. A file whose only tags besides
    O are I- is IO. An empty word becomes U+FFFD and is counted.
    """
    return tagged_corpus(read_conll(source.lines(), source.name))


def annotated(source: Source) -> Iterator[AnnotatedDocument]:
    """The text of ``documents`` with the mentions of ``labelled``."""
    return tagged_annotated(read_conll(source.lines(), source.name), source.label)


FORMAT = Format("conll", "words and tags in columns", matches, documents, labelled, annotated)


def read_conll(lines: Iterable[str], name: str, n_tags: int = 1) -> list[TaggedSentence]:
    """The sentences in the ``lines`` of a CoNLL-style file whose last column, or last two with ``n_tags`` 2, hold tags.

    Raises:
        DataError: it contains no sentence; a line has another number of columns than the first one, or an unknown tag;
            bare and typed tags are mixed; with ``name`` and line.
    """
    lines = iter(lines)
    head = list(islice(lines, 1))
    blocks = list(conll_sentences(chain(head, lines), name, n_tags=n_tags))
    if not blocks:
        raise no_text(name, is_empty=not head)
    return blocks


def looks_like_conll(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of a CoNLL-style one rather than of running text.

    They are when the first filled line is a ``-DOCSTART-``, or when more than half of the filled lines have the same
    number of columns, at least 2, a first column without spaces, and a tag in the last, and O is among these tags
    (with tabs, typed tags will do as well).
    """
    n_rows = 0
    tags_by_columns: dict[int, list[str]] = {}
    has_tabs = False
    for line in lines:
        row = line.rstrip()
        if not row:
            continue
        if n_rows == 0 and row.startswith(_DOCSTART):
            return True
        if _document_mark(row) is not None or _is_comment(row):
            continue
        n_rows += 1
        cells = _cells(row, 0)
        if len(cells) > 1 and " " not in cells[0] and is_tag(cells[-1]):
            tags_by_columns.setdefault(len(cells), []).append(cells[-1])
            has_tabs |= "\t" in row
    tags = max(tags_by_columns.values(), key=len, default=[])
    if 2 * len(tags) <= n_rows:
        return False
    return ("O" in tags and (has_tabs or len(tags) > 1)) or (has_tabs and any("-" in tag for tag in tags))


def conll_sentences(lines: Iterable[str], name: str, *, n_tags: int) -> Iterator[TaggedSentence]:
    """The sentences of a CoNLL-style file that have a word.

    Args:
        n_tags: how many columns, from the last, must contain tags; with 0 nothing is checked.

    Raises:
        DataError: a line has another number of columns than the first one, an unknown tag, or a carriage return inside
            it; bare and typed tags are mixed in a column; with ``name`` and line.
    """
    n_columns = 0
    n_documents = 0
    least = max(2, n_tags + 1)
    wanted = "a word and a tag" if least == 2 else "a word, its gold tag and its predicted tag"
    known: list[dict[str, str]] = [{}, {}]
    # Most rows of a file occur in it before; what was right then is right again.
    rows: dict[str, tuple[str, str, str]] = {}
    block = OpenSentence(None, False)
    for number, line in enumerate(lines, 1):
        if known_row := rows.get(line):
            _append(block, number, known_row, has_gold=n_tags == 2)
            continue
        row = line.rstrip()
        if not row:
            if block.words:
                yield block.closed()
                block = OpenSentence(block.doc, block.named)
            continue
        if row[0] in "-#":
            document = _document_mark(row)
            if document is not None:
                if block.words:
                    yield block.closed()
                n_documents += 1
                block = OpenSentence(document or f"doc{n_documents}", bool(document))
                continue
            if _is_comment(row):
                continue
        if "\r" in row:
            message = "a carriage return inside the line"
            raise DataError(message, path=name, line=number, hint="end lines with a line feed, or both characters")
        cells = _cells(row, n_columns)
        n_found = len(cells)
        if n_found != n_columns:
            if n_columns or n_found < least:
                expected = f"{n_columns} columns, as in the lines before" if n_columns else wanted
                message = f"expected {expected}, found {n_found} column{'s' * (n_found != 1)}"
                raise DataError(message, path=name, line=number)
            n_columns = n_found
        tag = known_tag(cells[-1], known[0], name, number) if n_tags else cells[-1]
        gold = known_tag(cells[-2], known[1], name, number) if n_tags == 2 else ""
        parsed = cells[0], tag, gold
        _append(block, number, parsed, has_gold=n_tags == 2)
        if len(rows) < _N_ROWS:
            rows[line] = parsed
    if block.words:
        yield block.closed()


def _append(block: OpenSentence, number: int, row: tuple[str, str, str], *, has_gold: bool) -> None:
    """Add the word, tag and gold tag of line ``number`` to ``block``."""
    if not block.words:
        block.line = number
    block.words.append(row[0])
    block.tags.append(row[1])
    if has_gold:
        block.gold.append(row[2])


def _cells(row: str, n_columns: int) -> list[str]:
    """The columns of a row without trailing space; ``n_columns`` (0: unknown) tells empty words from indents."""
    if "\t" in row:
        cells = row.split("\t")
        # white space other than a space is not printable
        is_clean = " " not in row and "".join(cells).isprintable()
        return cells if is_clean else [cell.strip() for cell in cells]
    cells = row.split(" ")
    if "" in cells:
        cells = [cell for cell in cells if cell]
        if row[0] == " " and len(cells) == n_columns - 1:
            cells.insert(0, "")
    return cells


def _document_mark(row: str) -> str | None:
    """The document id in a row that starts a document, empty if it has none; None for any other row."""
    if row.startswith(_DOCSTART):
        cells = row[len(_DOCSTART) :].split()
        for cell in cells:
            if any(character.isdigit() for character in cell):
                return cell.strip("()").removeprefix("id=")
        return cells[0].strip("()") if len(cells) == 1 and cells[0] not in ("O", "-X-", "-", "_") else ""
    if row[0] == "#" and "\t" not in row and (found := _DOCUMENT_COMMENT.fullmatch(row)):
        return (found[1] or found[2] or "").strip()
    return None


def _is_comment(row: str) -> bool:
    return row[0] == "#" and "\t" not in row and _COMMENT.match(row) is not None
