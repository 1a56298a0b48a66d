"""Plain text: documents separated by blank lines, or one on each line."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from mslm_cli.corpus import documents as units
from mslm_cli.corpus.documents import Document, short_pieces
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.source import Head, Source


def matches(path: Path, head: Head) -> bool:
    """True: a file in no other format is text."""
    return True


def documents(source: Source) -> Iterator[Document]:
    """Documents separated by blank lines, or with ``one_per_line`` by line ends; line ends inside one are kept."""
    split = _one_per_line if source.options.one_per_line else _paragraphs
    return split(source.lines(), source.label)


FORMAT = Format("text", "plain text", matches, documents)


def _paragraphs(lines: Iterable[str], label: str) -> Iterator[Document]:
    paragraph: list[str] = []
    n_chars = n_documents = 0
    for line in chain(chain.from_iterable(map(short_pieces, lines)), [""]):
        is_blank = not line or line.isspace()
        if paragraph and (is_blank or n_chars + len(line) > units.MAX_DOCUMENT_CHARS):
            n_documents += 1
            yield Document(f"{label}:{n_documents}", "\n".join(paragraph).strip(), None, False)
            paragraph.clear()
            n_chars = 0
        if not is_blank:
            paragraph.append(line)
            n_chars += len(line) + 1


def _one_per_line(lines: Iterable[str], label: str) -> Iterator[Document]:
    filled = (text for line in lines for piece in short_pieces(line) if (text := piece.strip()))
    return (Document(f"{label}:{number}", text, None, False) for number, text in enumerate(filled, 1))
