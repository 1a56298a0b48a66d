"""Blocks: the documents of a corpus divided into units of work, whose bounds depend on the input alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.files import labels_of
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.lines import OnRead, ignore_progress
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import name_formats, read_documents

Made = TypeVar("Made")
MAX_BLOCKS = 2048
"""Larger corpora have larger blocks, not more of them; a few more come from the ends of files."""

_MAX_SHARE = 64
"""A file of at most this part of the corpus is read where its block is worked on."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive documents of a corpus.

    number: from 0. files: with the start of the ids of documents that have none; they are read where the block is
    worked on. given: the documents, if they are of a file that is divided into several blocks. dropped: the positions
    in the block of documents that do not count. only: the positions, of the others, of those that do; None for all.
    """

    number: int
    files: tuple[tuple[Path, str], ...] = ()
    given: Iterable[Document] = ()
    only: tuple[int, ...] | None = None
    dropped: tuple[int, ...] = ()

    def documents(self, options: DataOptions) -> Iterator[Document]:
        """Its documents.

        Raises: as ``read_documents``.
        """
        if self.files:
            paths, labels = zip(*self.files, strict=True)
            told = {each.name for each in FORMATS}  # the formats were named when the block was made
            found = read_documents(paths, options, labels=labels, told=told)
        else:
            found = iter(self.given)
        if self.dropped:
            found = _chosen(found, frozenset(self.dropped).__contains__, wanted=False)
        return found if self.only is None else _chosen(found, frozenset(self.only).__contains__)

    def restricted(self, positions: Iterable[int]) -> "Block":
        """The block with the documents at these positions alone."""
        return replace(self, only=tuple(positions))

    @property
    def n_bytes(self) -> int:
        """The size of the files that are read where the block is worked on."""
        return sum(path.stat().st_size for path, _ in self.files)


Work = Callable[[Block, Iterable[Document]], Made]
"""From the documents of a block, which may be fewer than it has, to a result."""


def blocks(
    files: Sequence[Path],
    options: DataOptions,
    n_chars: int,
    on_read: OnRead = ignore_progress,
    *,
    are_lazy: bool = False,
) -> Iterator[Block]:
    """The documents of all files in blocks of about ``n_chars`` characters (of bytes, in files that are small).

    Args:
        on_read: as in ``read_documents``; not called for files that are read where a block is worked on.
        are_lazy: whether documents are read only as they are asked for, each block's before the next block.

    Raises: as ``read_documents``.
    """
    labels = labels_of(files)
    sizes = [file.stat().st_size if file.is_file() else None for file in files]
    total = sum(filter(None, sizes))
    n_chars = max(n_chars, total // MAX_BLOCKS)
    number = 0
    told: set[str] = set()
    pairs = zip(files, labels, sizes, strict=True)
    for is_small, group in groupby(pairs, lambda found: found[2] is not None and found[2] * _MAX_SHARE <= total):
        if is_small:
            waiting: list[tuple[Path, str]] = []
            n_bytes = 0
            for file, label, size in group:
                name_formats([file], options, told)
                waiting.append((file, label))
                n_bytes += size or 0
                if n_bytes >= n_chars:
                    yield Block(number, tuple(waiting))
                    number, waiting, n_bytes = number + 1, [], 0
            if waiting:
                yield Block(number, tuple(waiting))
                number += 1
            continue
        large = [(file, label) for file, label, _ in group]
        paths, names = zip(*large, strict=True)
        for documents in runs(read_documents(paths, options, on_read, labels=names, told=told), n_chars):
            yield Block(number, given=documents if are_lazy else list(documents))
            number += 1


def runs(documents: Iterable[Document], n_chars: int) -> Iterator[Iterator[Document]]:
    """The documents in runs of about ``n_chars`` characters; each is read lazily, before the next."""
    n_run = n_read = 0

    def run_of(document: Document) -> int:
        nonlocal n_run, n_read
        if n_read >= n_chars:
            n_run, n_read = n_run + 1, 0
        n_read += len(document.text)
        return n_run

    return (run for _, run in groupby(documents, run_of))


def _chosen(documents: Iterable[Document], is_in: Callable[[int], bool], *, wanted: bool = True) -> Iterator[Document]:
    return (document for position, document in enumerate(documents) if is_in(position) == wanted)
