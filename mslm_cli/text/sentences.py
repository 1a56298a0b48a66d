"""Sentence splitting of running text."""

import re
from collections.abc import Iterator
from itertools import pairwise

from mslm_cli.text.english import sentence_starts
from mslm_cli.text.tokens import visible, visible_offsets

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
# Longer paragraphs are cut at a space, so that one of any length takes bounded memory.
_MAX_CHARS = 100_000


def split_sentences(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of the sentences in ``text``, without surrounding white space.

    By the rules of spaCy's sentencizer on English tokens (``sentence_starts``). A blank line ends a sentence, and so
    does a line break unless the line looks wrapped: the next line begins in lower case, or its first word would have
    made this line the longest of the paragraph. So titles are separate sentences. Invisible characters are nothing.
    """
    plain = visible(text)
    if len(plain) < len(text):
        at = visible_offsets(text)
        return [(at[start], at[end - 1] + 1) for start, end in split_sentences(plain)]
    spans = []
    for start, end in _blocks(text):
        bounds = [*(start + offset for offset in sentence_starts(text[start:end])), end]
        for first, last in pairwise(bounds):
            raw = text[first:last]
            if stripped := raw.strip():
                first += len(raw) - len(raw.lstrip())
                spans.append((first, first + len(stripped)))
    return spans


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """[start, end) of blocks of text that no sentence crosses."""
    position = 0
    for blank in [*_BLANK_LINE.finditer(text), None]:
        end = len(text) if blank is None else blank.start()
        for start, stop in _unwrapped(text, position, end):
            yield from chunks(text, start, stop)
        position = end if blank is None else blank.end()


def _unwrapped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) of the lines of a paragraph, with wrapped lines joined."""
    lines = text[start:end].split("\n")
    width = max(map(len, lines))
    block = start
    position = start
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        position += len(line) + 1
        next_word = following.split(maxsplit=1)[0] if following.strip() else ""
        if not next_word or (not next_word[0].islower() and len(line) + 1 + len(next_word) <= width):
            yield block, min(position - 1, end)
            block = position


def chunks(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) character offsets of consecutive parts of bounded length, cut at spaces."""
    while end - start > _MAX_CHARS:
        cut = text.rfind(" ", start + 1, start + _MAX_CHARS)
        cut = start + _MAX_CHARS if cut < 0 else cut
        yield start, cut
        start = cut
    yield start, end
