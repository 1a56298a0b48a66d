"""A file that is being read: its beginning, to tell its format by, and its content as lines or bytes."""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path

from mslm_cli.corpus.lines import OnRead, decoded_lines, display_name, ignore_progress, read_blocks
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import DataError

_SAMPLE_LINES = 200
_SAMPLE_BYTES = 4096


class Source:
    """A file from which a format reads, once; it is opened when something is first asked of it.

    ``name``: what messages call it. ``label``: what its documents are numbered under where they have no id.
    """

    def __init__(
        self, path: Path, options: DataOptions, *, label: str | None = None, on_read: OnRead = ignore_progress
    ) -> None:
        self.path = path
        self.options = options
        self.name = display_name(path)
        self.label = path.name if label is None else label
        self._blocks = read_blocks(path, on_read)
        self._begun: list[bytes] = []

    @cached_property
    def head(self) -> "Head":
        """How it begins; looking at it takes nothing from ``blocks`` and ``lines``."""
        return Head(self)

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, block by block, gzip undone.

        Raises:
            DataError: it is missing, unreadable or a damaged gzip.
        """
        return chain(self._begun, self._blocks)

    def lines(self) -> Iterator[str]:
        """Its lines without their ends, decoded as the options say.

        Raises: as ``read_lines``.
        """
        return decoded_lines(self.blocks(), self.name, self.options.encoding, self.options.errors)

    def look_ahead(self) -> Iterator[bytes]:
        """As ``blocks``, but what is taken here is there again."""
        yield from tuple(self._begun)
        for block in self._blocks:
            self._begun.append(block)
            yield block


class Head:
    """How a file begins, gzip undone."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @cached_property
    def raw(self) -> bytes:
        """Its first bytes, 4096 or more where there are so many."""
        head = b""
        for block in self._source.look_ahead():
            head += block
            if len(head) >= _SAMPLE_BYTES:
                break
        return head

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


def no_text(name: str, *, is_empty: bool) -> DataError:
    """The error for a file without text."""
    message = "the file is empty" if is_empty else "the file holds no text, only blank lines or document marks"
    return DataError(message, path=name)
