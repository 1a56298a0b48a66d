"""Parsing JSON, also value by value from files of any size; errors have the line."""

import json
import re
from collections.abc import Iterable, Iterator

from mslm_cli.corpus.lines import MAX_LINE_CHARS
from mslm_cli.errors import DataError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_LONGEST_TOKEN = len("-Infinity")
_LONGEST_TAIL = len("e-")
_DECODER = json.JSONDecoder()


def parse_json(text: str, name: str, line: int = 1) -> object:
    """The JSON value ``text``, which begins in ``line`` of the file that messages call ``name``.

    Raises:
        DataError: it is not JSON, or contains half of a surrogate pair, which is not a character.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _not_json(error, name, line + _lines_before(error, text), column) from error
    _refuse_half_pairs(value, text, name, line)
    return value


class JsonStream:
    """JSON text that is read lazily from ``blocks``; one value and one block at a time are in memory.

    ``peek`` looks at what comes next, ``value`` takes a whole value, and ``elements`` and ``members`` step into an
    array or an object: the caller takes the value of each before asking for the next.

    All methods raise DataError, with the line, if the text is not JSON, or if a value has more than
    ``MAX_LINE_CHARS`` characters.
    """

    def __init__(self, blocks: Iterable[str], name: str) -> None:
        self._blocks = iter(blocks)
        self._name = name
        self._text = ""
        self._at = 0
        self._line = 1
        self._counted = 0
        self._is_whole = False

    @property
    def line(self) -> int:
        """The line of what comes next."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end of the text."""
        while True:
            found = _NOT_SPACE.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._read(1):
                return ""

    def value(self) -> object:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._may_be_cut(error) or not self._read(len(self._text) - self._at):
                    raise _not_json(
                        error, self._name, self.line + _lines_before(error, self._text, self._at)
                    ) from error
                continue
            # a number may go on in the next block, such as 1e- of 1e-5
            may_go_on = isinstance(value, int | float) and len(self._text) - end <= _LONGEST_TAIL
            if not may_go_on or not self._read(1):
                break
        _refuse_half_pairs(value, self._text[self._at : end], self._name, self.line)
        self._at = end
        return value

    def elements(self) -> Iterator[int]:
        """Step into an array: the line of each element, which the caller must take with ``value`` or by stepping in."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        while True:
            self.peek()
            yield self.line
            if self._take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """Step into an object: each key, whose value the caller must take with ``value`` or by stepping in."""
        self._take("{")
        if self.peek() == "}":
            self._take("}")
            return
        while True:
            if self.peek() != '"':
                raise self._expected("a key in double quotes")
            key = self.value()
            assert isinstance(key, str)
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self._expected("the end of the file")

    def _take(self, characters: str) -> str:
        """Take the next character, which must be one of ``characters``."""
        found = self.peek()
        if not found or found not in characters:
            raise self._expected(" or ".join(characters))
        self._at += 1
        return found

    def _expected(self, what: str) -> DataError:
        found = repr(self._text[self._at : self._at + 20]) if self.peek() else "the end of the file"
        return DataError(f"not JSON: expected {what}, found {found}", path=self._name, line=self.line)

    def _read(self, n_chars: int) -> bool:
        """Read at least ``n_chars`` more characters, if there are any, and drop those already taken."""
        if len(self._text) - self._at > MAX_LINE_CHARS:
            message = f"a JSON value of more than {MAX_LINE_CHARS:,} characters"
            raise DataError(message, path=self._name, line=self.line, hint="split it into several documents")
        more: list[str] = []
        while n_chars > 0 and (block := next(self._blocks, None)) is not None:
            more.append(block)
            n_chars -= len(block)
        if not any(more):
            return False
        self._line = self.line
        self._text = self._text[self._at :] + "".join(more)
        self._at = self._counted = 0
        return True

    def _may_be_cut(self, error: Exception) -> bool:
        """Whether more text may resolve the error, because a value is cut off at the end of the block."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos + _LONGEST_TOKEN >= len(self._text) or error.msg.startswith("Unterminated string")


def _not_json(error: Exception, name: str, line: int, column: str = "") -> DataError:
    message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(f"not JSON: {message}{column}", path=name, line=line)


def _lines_before(error: Exception, text: str, start: int = 0) -> int:
    """The number of line ends in ``text`` between ``start`` and the error."""
    return text.count("\n", start, error.pos) if isinstance(error, json.JSONDecodeError) else 0


def _refuse_half_pairs(value: object, text: str, name: str, line: int) -> None:
    """Check that ``value``, parsed from ``text``, contains no half of a surrogate pair."""
    if not _SURROGATE.search(text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        code = ord(str(error.object)[error.start])
        message = f"\\u{code:04x} is half of a surrogate pair, and no character"
        raise DataError(message, path=name, line=line, hint="export the data again, as UTF-8") from error
