"""Reading what users have: running text and labelled (CoNLL-style) files, as documents or as gold sentences.

A CoNLL-style file holds one word a line, in 2 or more columns separated by a tab or by spaces: the first is the
word, the last its tag; a blank line ends a sentence. Documents are marked by ``-DOCSTART-`` (an id may follow:
``-DOCSTART- (10051005)``; ``-DOCSTART- -X- O O`` names none), by a comment (``# doc 10051005``, ``# doc_id = X``,
``# newdoc id = X``) or by ``###MEDLINE:10051005``. Other comments of the form ``# key = value`` are skipped.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import NoReturn

from mslm_cli.config import TextOptions
from mslm_cli.corpus.documents import Document, LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import count_orphans, detect_scheme, mentions_from_tags, split_tag
from mslm_cli.corpus.lines import STDIN, OnRead, display_name, ignore_progress, read_lines
from mslm_cli.errors import DataError

EMPTY_WORD = "\ufffd"
"""Stands for a word that is empty in a labelled file."""

MAX_DOCUMENT_CHARS = 500_000
"""Longer documents are handed out in parts, cut at the end of a line, else of a sentence: memory stays bounded."""

_SAMPLE_LINES = 200
_DOCSTART = "-DOCSTART-"
_DOCUMENT_COMMENT = re.compile(r"#\s+(?:newdoc|document|doc)(?:[ _-]?id)?(?:\s*[:=]\s*|\s+|$)(.*)|###\w+:(.+)")
_COMMENT = re.compile(r"#\s+[\w.:-]+(?:\s[\w.:-]+)?\s*=\s")
_TAG_HINT = "the last column must hold O and B-TYPE, I-TYPE (or E-, S-, L-, U-), or bare O, B, I"


@dataclass(slots=True)
class ConllSentence:
    """The rows of one sentence; ``doc`` is named by the input or, with ``named`` false, by its number.

    ``tags``: the last column; ``gold``: the one before it, where both are to be tags. ``line``: of the first row.
    """

    doc: str | None
    named: bool
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    gold: list[str] = field(default_factory=list)
    line: int = 0


def source_files(paths: Sequence[Path]) -> list[Path]:
    """The files that ``paths`` stand for, in order, each once; folders are searched to any depth, by name.

    Hidden files and folders inside a folder are skipped. ``-`` is standard input and stays as it is.

    Raises:
        DataError: a path does not exist, or a folder holds no file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path == STDIN:
            found.setdefault(STDIN, STDIN)
        elif path.is_dir():
            inside = _files_below(path)
            if not inside:
                raise DataError("the folder holds no files", path=path)
            for file in inside:
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise DataError("no such file or folder", path=path)
    return list(found.values())


def read_documents(
    files: Sequence[Path], options: TextOptions, on_read: OnRead = ignore_progress
) -> Iterator[Document]:
    """Documents of all files, read as they are asked for; a file's tags, where it has any, are ignored.

    Plain text: a blank line, or with ``options.one_per_line`` each line end, separates documents; line ends inside
    a document are kept. CoNLL-style (``options.format`` conll, or auto and the file looks like it): words joined by
    one space, sentences by a line end, empty words left out; a file that marks no documents is one document.
    Where the input has no ids they are the file's name and a number from 1. A document of more than
    ``MAX_DOCUMENT_CHARS`` comes in parts: under the same id where the input named it, else as documents of their own.
    ``on_read`` hears of every block of bytes as it is read.

    Raises:
        DataError: a file holds no text, or cannot be read (see ``read_lines``), or a CoNLL-style line misses a column.
        UsageError: the encoding is unknown.
    """
    for file, label in zip(files, _labels(files), strict=True):
        lines = read_lines(file, options.encoding, options.errors, on_read)
        head: list[str] = []
        n_filled = 0
        for line in lines:
            head.append(line)
            n_filled += bool(line.strip())
            if n_filled == _SAMPLE_LINES:
                break
        everything = chain(head, lines)
        if options.format == "conll" or (options.format == "auto" and looks_like_conll(head)):
            documents = _conll_documents(everything, display_name(file), label)
        elif options.one_per_line:
            documents = _line_documents(everything, label)
        else:
            documents = _text_documents(everything, label)
        first = next(documents, None)
        if first is None:
            _raise_no_text(file, is_empty=not head)
        yield first
        yield from documents


def read_labelled(file: Path, *, encoding: str = "utf-8", errors: str = "strict") -> LabelledCorpus:
    """The labelled sentences of one CoNLL-style file; tags may be bare or typed, IOB2, IOB1, IO, IOBES or BILOU.

    Mentions of bare tags have the type ``MENTION``. A continuation tag that continues nothing starts a mention;
    such mentions are counted, except in IO and IOB1, where this is the rule. A file whose only tags besides
    O are I- is IO. An empty word becomes U+FFFD and is counted.

    Raises:
        DataError: the file holds no sentences or cannot be read (see ``read_lines``); a line has another number of
            columns than the first one, or an unknown tag; bare and typed tags are mixed; with path and line.
        UsageError: the encoding is unknown.
    """
    blocks = read_conll(read_lines(file, encoding, errors), file)
    return labelled_corpus(blocks, [block.tags for block in blocks])


def read_conll(lines: Iterable[str], file: Path, n_tags: int = 1) -> list[ConllSentence]:
    """The sentences in the ``lines`` of a CoNLL-style file whose last column, or last two with ``n_tags`` 2, hold tags.

    Raises:
        DataError: as ``read_labelled``.
    """
    lines = iter(lines)
    head = list(islice(lines, 1))
    blocks = list(conll_sentences(chain(head, lines), display_name(file), n_tags=n_tags))
    if not blocks:
        _raise_no_text(file, is_empty=not head)
    return blocks


def labelled_corpus(blocks: Sequence[ConllSentence], tags: Sequence[Sequence[str]]) -> LabelledCorpus:
    """The sentences with the mentions of ``tags``, which are one of the columns of ``blocks``."""
    scheme = detect_scheme(tags)
    n_orphans = 0 if scheme in ("IO", "IOB1") else sum(map(count_orphans, tags))
    n_empty_words = 0
    sentences: list[LabelledSentence] = []
    numbers: Counter[str | None] = Counter()
    types: set[str] = set()
    for block, of_words in zip(blocks, tags, strict=True):
        numbers[block.doc] += 1
        number = str(numbers[block.doc])
        mentions = tuple(mentions_from_tags(of_words))
        types.update(kind for _, _, kind in mentions)
        n_empty_words += block.words.count("")
        sentences.append(
            LabelledSentence(
                id=number if block.doc is None else f"{block.doc}:{number}",
                doc=block.doc,
                words=tuple(word or EMPTY_WORD for word in block.words),
                mentions=mentions,
                tags=tuple(of_words),
            )
        )
    return LabelledCorpus(tuple(sentences), tuple(sorted(types)), scheme, n_orphans, n_empty_words)


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
        if len(cells) > 1 and " " not in cells[0] and _is_tag(cells[-1]):
            tags_by_columns.setdefault(len(cells), []).append(cells[-1])
            has_tabs |= "\t" in row
    tags = max(tags_by_columns.values(), key=len, default=[])
    if 2 * len(tags) <= n_rows:
        return False
    return ("O" in tags and (has_tabs or len(tags) > 1)) or (has_tabs and any("-" in tag for tag in tags))


def conll_sentences(lines: Iterable[str], name: str, *, n_tags: int) -> Iterator[ConllSentence]:
    """The sentences of a CoNLL-style file that hold a word.

    Args:
        n_tags: how many columns, from the last, must hold tags; of 0 nothing is checked.

    Raises:
        DataError: a line has another number of columns than the first one, or an unknown tag; bare and typed tags are
            mixed in a column; with ``name`` and line.
    """
    n_columns = 0
    n_documents = 0
    least = max(2, n_tags + 1)
    wanted = "a word and a tag" if least == 2 else "a word, its gold tag and its predicted tag"
    known: list[dict[str, str]] = [{}, {}]
    block = ConllSentence(None, False)
    for number, line in enumerate(lines, 1):
        row = line.rstrip()
        if not row:
            if block.words:
                yield block
                block = ConllSentence(block.doc, block.named)
            continue
        if row[0] in "-#":
            document = _document_mark(row)
            if document is not None:
                if block.words:
                    yield block
                n_documents += 1
                block = ConllSentence(document or f"doc{n_documents}", bool(document))
                continue
            if _is_comment(row):
                continue
        cells = _cells(row, n_columns)
        n_found = len(cells)
        if n_found != n_columns:
            if n_columns or n_found < least:
                expected = f"{n_columns} columns, as in the lines before" if n_columns else wanted
                message = f"expected {expected}, found {n_found} column{'s' * (n_found != 1)}"
                raise DataError(message, path=name, line=number)
            n_columns = n_found
        if not block.words:
            block.line = number
        block.words.append(cells[0])
        block.tags.append(_known_tag(cells[-1], known[0], name, number) if n_tags else cells[-1])
        if n_tags == 2:
            block.gold.append(_known_tag(cells[-2], known[1], name, number))
    if block.words:
        yield block


def _known_tag(tag: str, known: dict[str, str], name: str, line: int) -> str:
    """``tag``, one and the same object wherever it stands in the column."""
    if tag in known:
        return known[tag]
    if not _is_tag(tag):
        raise DataError(f"unknown tag {tag[:40]!r}", path=name, line=line, hint=_TAG_HINT)
    if tag != "O" and any(other != "O" and ("-" in other) != ("-" in tag) for other in known):
        kinds = ("typed", "bare") if "-" in tag else ("bare", "typed")
        raise DataError(f"{kinds[0]} tag {tag[:40]!r} in a file with {kinds[1]} tags", path=name, line=line)
    return known.setdefault(tag, tag)


def _is_tag(cell: str) -> bool:
    try:
        split_tag(cell)
    except ValueError:
        return False
    return True


def _cells(row: str, n_columns: int) -> list[str]:
    """The columns of a row without trailing space; ``n_columns`` (0: unknown) tells an empty word from an indent."""
    if "\t" in row:
        return [cell.strip() for cell in row.split("\t")]
    cells = row.split(" ")
    if "" in cells:
        cells = [cell for cell in cells if cell]
        if row[0] == " " and len(cells) == n_columns - 1:
            cells.insert(0, "")
    return cells


def _document_mark(row: str) -> str | None:
    """The document id of a row that starts a document, empty where it names none; None for any other row."""
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


def _conll_documents(lines: Iterable[str], name: str, label: str) -> Iterator[Document]:
    sentences: list[Sequence[str]] = []
    n_chars = n_documents = 0
    doc: str | None = None
    named = False
    for block in conll_sentences(lines, name, n_tags=0):
        if not any(block.words):
            continue
        if sentences and (block.doc != doc or n_chars > MAX_DOCUMENT_CHARS):
            n_documents += 1
            yield _assembled(sentences, doc if named and doc else f"{label}:{n_documents}", named)
            sentences.clear()
            n_chars = 0
        doc, named = block.doc, block.named
        sentences.append(block.words)
        n_chars += sum(len(word) + 1 for word in block.words)
    if sentences:
        n_documents += 1
        yield _assembled(sentences, doc if named and doc else f"{label}:{n_documents}", named)


def _assembled(sentences: Sequence[Sequence[str]], doc_id: str, has_id: bool) -> Document:
    texts = [" ".join(filter(None, words)) for words in sentences]
    ends = list(accumulate(len(text) + 1 for text in texts))
    spans = tuple((end - 1 - len(text), end - 1) for text, end in zip(texts, ends, strict=True))
    return Document(doc_id, "\n".join(texts), spans, has_id, tuple(map(tuple, sentences)))


def _text_documents(lines: Iterable[str], label: str) -> Iterator[Document]:
    paragraph: list[str] = []
    n_chars = n_documents = 0
    for line in chain(_cut(lines), [""]):
        is_blank = not line or line.isspace()
        if paragraph and (is_blank or n_chars + len(line) > MAX_DOCUMENT_CHARS):
            n_documents += 1
            yield Document(f"{label}:{n_documents}", "\n".join(paragraph).strip(), None, False)
            paragraph.clear()
            n_chars = 0
        if not is_blank:
            paragraph.append(line)
            n_chars += len(line) + 1


def _line_documents(lines: Iterable[str], label: str) -> Iterator[Document]:
    filled = (text for line in _cut(lines) if (text := line.strip()))
    return (Document(f"{label}:{number}", text, None, False) for number, text in enumerate(filled, 1))


def _cut(lines: Iterable[str]) -> Iterator[str]:
    """The lines, those that are longer than a document may be in parts."""
    for line in lines:
        start = 0
        while len(line) - start > MAX_DOCUMENT_CHARS:
            limit = start + MAX_DOCUMENT_CHARS
            ends = (line.rfind(mark, start, limit) + len(mark.rstrip()) for mark in (". ", " "))
            cut = next((end for end in ends if end > start), limit)
            yield line[start:cut]
            start = cut
        yield line[start:]


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"cannot be read: {error.strerror}", path=error.filename) from error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(root, name) for name in names if not name.startswith("."))
    return sorted(found)


def _labels(files: Sequence[Path]) -> list[str]:
    """A name for each file to number its documents under: as much of its path's end as tells the files apart."""
    deepest = max((len(file.parts) for file in files), default=1)
    labels: list[str] = []
    for depth in range(1, deepest + 1):
        labels = ["stdin" if file == STDIN else "/".join(file.parts[-depth:]) for file in files]
        if len(set(labels)) == len(labels):
            break
    return labels


def _raise_no_text(file: Path, *, is_empty: bool) -> NoReturn:
    message = "the file is empty" if is_empty else "the file holds no text, only blank lines or document marks"
    raise DataError(message, path=display_name(file))
