"""A file that is being read: its beginning, to recognise its format, and its content as lines, text or bytes."""

import io
import os
import tempfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO

from mslm_cli.corpus.lines import (
    GZIP_MAGIC,
    STDIN,
    OnRead,
    checked_encoding,
    decoded,
    decoded_lines,
    display_name,
    ignore_progress,
    read_blocks,
)
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import DataError
from mslm_cli.provenance import portable_name
from mslm_cli.text.tokens import token_spans

_SAMPLE_LINES = 200
_SAMPLE_BYTES = 4096
_MAX_COPY_IN_MEMORY = 1 << 24


class Source:
    """A file that is read once, by the reader of a format; it is opened at the first access.

    ``name``: for messages. ``label``: the start of the ids of documents that have none.
    ``split_words``: splits text into words ([start, end) characters) if the format does not mark them.
    """

    def __init__(
        self, path: Path, options: DataOptions, *, label: str | None = None, on_read: OnRead = ignore_progress
    ) -> None:
        self.path = path
        self.options = options
        self.name = display_name(path)
        self.label = portable_name(path.name if label is None else label)
        self.split_words: Callable[[str], list[tuple[int, int]]] = token_spans
        self._on_read = on_read
        self._blocks = read_blocks(path, on_read)
        self._begun: list[bytes] = []

    @cached_property
    def head(self) -> "Head":
        """Its beginning; what is read for it is still part of ``blocks`` and ``lines``."""
        return Head(self)

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, decompressed, block by block.

        Raises:
            DataError: it is missing, unreadable or a damaged gzip.
        """
        return chain(self._begun, self._blocks)

    def lines(self) -> Iterator[str]:
        """Its lines without their ends, decoded as the options say.

        Raises: as ``read_lines``.
        """
        return decoded_lines(self.blocks(), self.name, self.options.encoding, self.options.errors)

    def seekable(self) -> IO[bytes]:
        """Its bytes, decompressed, as a file with random access.

        This is the file itself, or a temporary copy if it is compressed or a pipe.

        Raises: as ``blocks``.
        """
        if self.path != STDIN and self.path.is_file() and not self._is_compressed():
            return _CountedFile(self.path, self._on_read)
        return copied(self.blocks())

    def _is_compressed(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC

    def text_blocks(self) -> Iterator[str]:
        """Its text block by block, decoded as the options say, with its line ends.

        Raises: as ``read_lines``.
        """
        return decoded(self.blocks(), self.name, self.options.encoding, self.options.errors)

    def text(self) -> str:
        """Its whole text, decoded as the options say, with its line ends.

        Raises: as ``read_lines``.
        """
        return "".join(decoded(self.blocks(), self.name, self.options.encoding, self.options.errors))

    def close(self) -> None:
        """Close the file, if it is open, and forget its beginning; it cannot be read on."""
        self._blocks.close()
        self._begun.clear()
        self.__dict__.pop("head", None)  # it refers to this source, and collecting such cycles can take minutes

    def look_ahead(self) -> Iterator[bytes]:
        """As ``blocks``, but the blocks are kept for later reads."""
        yield from tuple(self._begun)
        for block in self._blocks:
            self._begun.append(block)
            yield block


class Head:
    """The beginning of a file, decompressed."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def options(self) -> DataOptions:
        """The options for reading the file."""
        return self._source.options

    @cached_property
    def raw(self) -> bytes:
        """Its first bytes, at least 4096 if it has as many."""
        head = b""
        for block in self._source.look_ahead():
            head += block
            if len(head) >= _SAMPLE_BYTES:
                break
        return head

    @cached_property
    def text(self) -> str:
        """``raw`` as text, with bytes that cannot be decoded replaced; it may end inside a line."""
        is_utf_16 = self.raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        encoding = "utf-16" if is_utf_16 else checked_encoding(self.options.encoding)
        return self.raw.decode(encoding, "replace").removeprefix("\ufeff")

    @cached_property
    def lines(self) -> list[str]:
        """Its first lines, up to 200 that are not blank.

        Raises: as ``Source.lines``.
        """
        source = self._source
        head: list[str] = []
        n_filled = 0
        for line in decoded_lines(source.look_ahead(), source.name, source.options.encoding, source.options.errors):
            head.append(line)
            n_filled += bool(line.strip())
            if n_filled == _SAMPLE_LINES:
                break
        return head


class _CountedFile(io.FileIO):
    """A file that reports how many bytes are read, and never reserves more memory than it has bytes.

    A damaged file can have a library ask for any number of bytes.
    """

    def __init__(self, path: Path, on_read: OnRead) -> None:
        super().__init__(path)
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        found = super().read(left if size is None or size < 0 else min(size, left)) or b""
        self._on_read(len(found))
        return found


def copied(blocks: Iterator[bytes]) -> IO[bytes]:
    """A temporary file with the bytes of ``blocks``, kept in memory if it is small."""
    copy = tempfile.SpooledTemporaryFile(max_size=_MAX_COPY_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    for block in blocks:
        copy.write(block)
    copy.seek(0)
    return copy


def no_text(name: str, *, is_empty: bool) -> DataError:
    """The error for a file without text."""
    message = "the file is empty" if is_empty else "the file holds no text, only blank lines or document marks"
    return DataError(message, path=name)
