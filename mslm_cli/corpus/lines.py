"""Lines of text from files: plain or gzip'd, with CRLF or LF, with or without a byte order mark."""

import codecs
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import cast

from mslm_cli.errors import DataError, UsageError

STDIN = Path("-")

MAX_LINE_CHARS = 1 << 27
"""A longer line is refused: lines are held in memory."""

_BLOCK = 1 << 18
GZIP_MAGIC = b"\x1f\x8b"


def display_name(file: Path) -> str:
    """The name of an input in messages and ids: its path, or ``<stdin>``."""
    return "<stdin>" if file == STDIN else str(file)


OnRead = Callable[[int], None]
"""Called with the number of bytes read, before they are decompressed."""


def ignore_progress(n_bytes: int) -> None:
    """Do nothing."""


def read_lines(
    file: Path, encoding: str = "utf-8", errors: str = "strict", on_read: OnRead = ignore_progress
) -> Iterator[str]:
    """Lines of a file or of standard input (``-``), without their line ends, read lazily.

    Gzip is recognised by its first bytes, not by its name; a byte order mark is dropped; only LF and CRLF end a
    line (not form feeds or U+2028). ``errors`` is strict, replace or ignore.

    Raises:
        DataError: the file is missing, unreadable, binary, a damaged gzip or not in ``encoding``, or has a line of
            more than ``MAX_LINE_CHARS``; with path and line.
        UsageError: the encoding is unknown.
    """
    return decoded_lines(read_blocks(file, on_read), display_name(file), encoding, errors)


def read_blocks(file: Path, on_read: OnRead = ignore_progress) -> Generator[bytes, None, None]:
    """The bytes of a file or of standard input (``-``), block by block, gzip undone.

    Raises:
        DataError: the file is missing, unreadable or a damaged gzip.
    """
    name = display_name(file)
    try:
        with _open(file) as stream:
            yield from _gunzipped(_blocks(stream, on_read), name)
    except FileNotFoundError as error:
        raise DataError("no such file or folder", path=name) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=name) from error


def checked_encoding(encoding: str) -> str:
    """``encoding``, if it is the name of a text encoding.

    Raises:
        UsageError: it is not.
    """
    try:
        b"ab".decode(encoding, "ignore")
    except LookupError as error:
        raise UsageError(f"--encoding: {error}") from error
    return encoding


def decoded_lines(blocks: Iterable[bytes], name: str, encoding: str, errors: str) -> Iterator[str]:
    """The lines in ``blocks`` of bytes of the file that messages call ``name``.

    Raises: as ``read_lines``.
    """
    n_lines = 0
    pending: list[str] = []
    n_pending = 0
    for text in decoded(blocks, name, encoding, errors):
        head, newline, tail = text.rpartition("\n")
        if newline:
            pending.append(head)
            lines = "".join(pending).split("\n")
            pending.clear()
            for line in lines:
                yield line.removesuffix("\r")
            n_lines += len(lines)
            n_pending = 0
        pending.append(tail)
        n_pending += len(tail)
        if n_pending > MAX_LINE_CHARS:
            message = f"a line of more than {MAX_LINE_CHARS:,} characters"
            raise DataError(message, path=name, line=n_lines + 1, hint="is it text? break it into lines")
    if last := "".join(pending):
        yield last.removesuffix("\r")


def decoded(blocks: Iterable[bytes], name: str, encoding: str, errors: str) -> Iterator[str]:
    """The text in ``blocks`` of bytes, block by block, without a byte order mark.

    Raises: as ``read_lines``.
    """
    decoder = codecs.getincrementaldecoder(checked_encoding(encoding))(errors)
    at_start = True
    n_lines = 0
    raw = b""
    try:
        for raw in chain(blocks, [b""]):
            text = decoder.decode(raw, final=not raw)
            if at_start and text:
                text = text.removeprefix("\ufeff")
                at_start = False
            if "\0" in text:
                raise _binary(name, n_lines + text.count("\n", 0, text.index("\0")) + 1)
            yield text
            n_lines += text.count("\n")
    except UnicodeDecodeError as error:
        if b"\0" in raw and not _has_wide_units(encoding):
            raise _binary(name, n_lines + 1) from error
        before = bytes(error.object)[: error.start].decode(encoding, "ignore")
        bad = bytes(error.object)[error.start]
        message = f"not valid {encoding.upper()}: byte 0x{bad:02x} ({error.reason})"
        hint = "name another --encoding, or pass --errors replace"
        raise DataError(message, path=name, line=n_lines + before.count("\n") + 1, hint=hint) from error


def _open(file: Path) -> AbstractContextManager[BufferedReader]:
    return nullcontext(cast(BufferedReader, sys.stdin.buffer)) if file == STDIN else file.open("rb")


def _blocks(stream: BufferedReader, on_read: OnRead) -> Iterator[bytes]:
    # read1 and not read: bytes that arrive slowly through a pipe are passed on at once
    while block := stream.read1(_BLOCK):
        on_read(len(block))
        yield block


def _gunzipped(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The blocks, decompressed if they are gzip; several members form one stream."""
    first = next(blocks, b"")
    if not first.startswith(GZIP_MAGIC):
        yield first
        yield from blocks
        return
    inflater = None
    n_lines = 0

    def refuse(problem: str) -> DataError:
        return DataError(problem, path=name, line=n_lines + 1, hint="fetch or compress the file again")

    for block in chain([first], blocks):
        rest = block
        while rest:
            if inflater is None:
                rest = rest.lstrip(b"\0")  # padding between members is allowed
                if not rest:
                    break
                inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                inflated = inflater.decompress(rest, _BLOCK)  # a block may inflate a thousandfold
            except zlib.error as error:
                raise refuse(f"corrupt gzip ({error})") from error
            yield inflated
            n_lines += inflated.count(b"\n")
            rest = inflater.unconsumed_tail
            if inflater.eof:
                rest, inflater = inflater.unused_data, None
    if inflater is not None:
        raise refuse("truncated gzip: it ends before its data does")


def _has_wide_units(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _binary(name: str, line: int) -> DataError:
    return DataError("a binary file (NUL byte), where text was expected", path=name, line=line)
