"""Lines of text from files as they come: plain or gzip'd, CRLF or LF, with or without a byte order mark."""

import codecs
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import cast

from mslm_cli.errors import DataError, UsageError

STDIN = Path("-")

MAX_LINE_CHARS = 1 << 27
"""Lines are held in memory; a longer one is no text."""

_BLOCK = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"


class _GzipError(Exception):
    """A gzip stream that cannot be read to its end."""


def display_name(file: Path) -> str:
    """The name of an input in messages and ids: its path, or ``<stdin>``."""
    return "<stdin>" if file == STDIN else str(file)


OnRead = Callable[[int], None]
"""Is told the number of bytes that were read of a file as it stands on the disk."""


def ignore_progress(n_bytes: int) -> None:
    """Tell nobody."""


def read_lines(
    file: Path, encoding: str = "utf-8", errors: str = "strict", on_read: OnRead = ignore_progress
) -> Iterator[str]:
    """Lines of a file or of standard input (``-``), without their line ends, read as they are asked for.

    Gzip is recognised by its first bytes, not by its name; a byte order mark is dropped; only LF and CRLF end a
    line (not form feeds or U+2028). ``errors`` is strict, replace or ignore.

    Raises:
        DataError: the file is missing, unreadable, binary, a damaged gzip or not in ``encoding``, or has a line of
            more than ``MAX_LINE_CHARS``; with path and line.
        UsageError: the encoding is unknown.
    """
    try:
        b"ab".decode(encoding, "ignore")
    except LookupError as error:
        raise UsageError(f"--encoding: {error}") from error
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    name = display_name(file)
    n_lines = 0
    at_start = True
    pending: list[str] = []
    n_pending = 0
    raw = b""
    try:
        with _open(file) as stream:
            for raw in _gunzipped(_blocks(stream, on_read)):
                text = decoder.decode(raw)
                if at_start and text:
                    text = text.removeprefix("\ufeff")
                    at_start = False
                if "\0" in text:
                    n_before = text.count("\n", 0, text.index("\0"))
                    raise _binary(name, n_lines + n_before + 1)
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
        last = "".join(pending) + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        if b"\0" in raw and not _has_wide_units(encoding):
            raise _binary(name, n_lines + 1) from error
        before = bytes(error.object)[: error.start].decode(encoding, "ignore")
        bad = bytes(error.object)[error.start]
        message = f"not valid {encoding.upper()}: byte 0x{bad:02x} ({error.reason})"
        hint = "name another --encoding, or pass --errors replace"
        raise DataError(message, path=name, line=n_lines + before.count("\n") + 1, hint=hint) from error
    except _GzipError as error:
        hint = "fetch or compress the file again"
        raise DataError(str(error), path=name, line=n_lines + 1, hint=hint) from error
    except FileNotFoundError as error:
        raise DataError("no such file or folder", path=name) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=name) from error
    if last:
        yield last.removesuffix("\r")


def _open(file: Path) -> AbstractContextManager[BufferedReader]:
    return nullcontext(cast(BufferedReader, sys.stdin.buffer)) if file == STDIN else file.open("rb")


def _blocks(stream: BufferedReader, on_read: OnRead) -> Iterator[bytes]:
    # read1 and not read: what comes slowly through a pipe is handed on as it comes
    while block := stream.read1(_BLOCK):
        on_read(len(block))
        yield block


def _gunzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks themselves, or what they decompress to where they start as gzip; several members are one stream."""
    first = next(blocks, b"")
    if not first.startswith(_GZIP_MAGIC):
        yield first
        yield from blocks
        return
    inflater = None
    for block in chain([first], blocks):
        rest = block
        while rest:
            if inflater is None:
                rest = rest.lstrip(b"\0")  # padding between members is allowed
                if not rest:
                    break
                inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                yield inflater.decompress(rest, _BLOCK)  # a block may inflate a thousandfold
            except zlib.error as error:
                raise _GzipError(f"corrupt gzip ({error})") from error
            rest = inflater.unconsumed_tail
            if inflater.eof:
                rest, inflater = inflater.unused_data, None
    if inflater is not None:
        raise _GzipError("truncated gzip: it ends before its data does")


def _has_wide_units(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _binary(name: str, line: int) -> DataError:
    return DataError("a binary file (NUL byte), where text was expected", path=name, line=line)
