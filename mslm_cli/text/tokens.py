"""Tokens, and the normal forms in which text and terms are compared.

A token is a run of word characters with their combining marks, or any other single character; so "IL-2" and "IL - 2"
are the same three tokens. Tokens keep their offsets in the original text, and normalising one never shifts an offset.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain, groupby

# Soft hyphen, zero-width joiners and the byte-order mark have no meaning inside words.
_INVISIBLE = "\u00ad\u200c\u200d\u2060\ufeff"
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\uff07\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u2033\uff02", '"'),
        **dict.fromkeys(_INVISIBLE + "\u200b"),
    }
)


@cache
def _pattern() -> re.Pattern[str]:
    # All combining marks are in these two ranges; scanning every character would take 0.2 s.
    ranges = chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))
    marks = (c for c in ranges if unicodedata.category(chr(c))[0] == "M")
    runs = [[c for _, c in group] for _, group in groupby(enumerate(marks), lambda pair: pair[1] - pair[0])]
    inside = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs) + _INVISIBLE
    return re.compile(rf"\w[\w{inside}]*|\S")


_ASCII_TOKEN = re.compile(r"\w+|\S")
_RUN = re.compile(r"\S+")


def token_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of the tokens of ``text``."""
    pattern = _ASCII_TOKEN if text.isascii() else _pattern()
    return [match.span() for match in pattern.finditer(text)]


def joined_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of tokens split at spaces, with leading and trailing punctuation separated.

    Each separated mark is its own token; punctuation inside ("IL-2R", "mmol/L", "5.5") does not split a token.
    """
    spans: list[tuple[int, int]] = []
    for run in _RUN.finditer(text):
        inside = [(run.start() + start, run.start() + end) for start, end in token_spans(run[0])]
        is_word = [text[start].isalnum() or text[start] == "_" for start, _ in inside]
        if any(is_word):
            first, last = is_word.index(True), len(is_word) - 1 - is_word[::-1].index(True)
            inside[first : last + 1] = [(inside[first][0], inside[last][1])]
        spans += inside
    return spans


def splitter(form: str) -> Callable[[str], list[tuple[int, int]]]:
    """What splits text into words: ``joined_spans`` for the form ``joined``, ``token_spans`` for ``punctuation``."""
    return joined_spans if form == "joined" else token_spans


def keeps_punctuation(words: Iterable[str]) -> bool:
    """Whether ``words`` were not split at all punctuation: more than one in a thousand contains some."""
    n_words = n_joined = 0
    for word in words:
        n_words += 1
        n_joined += len(token_spans(word)) > 1
    return n_joined * 1000 > n_words


def tokenise(text: str) -> list[str]:
    """The tokens of ``text`` as they are written."""
    return (_ASCII_TOKEN if text.isascii() else _pattern()).findall(text)


def exact_form(token: str) -> str:
    """The case-sensitive normal form of ``token``: NFKC, plain hyphens and quotes, no spaces.

    Empty for a token of invisible characters only.
    """
    if token.isascii():
        return token
    spelled = unicodedata.normalize("NFKC", token.translate(_SAME)).translate(_SAME)
    return "".join(spelled.split())


def folded_form(token: str) -> str:
    """The case-insensitive normal form of ``token``."""
    if token.isascii():
        return token.lower()
    # Case folding can undo NFKC ("ᾳ", "İ"), so normalise again.
    return exact_form(unicodedata.normalize("NFKC", exact_form(token).casefold()))


def exact_key(text: str) -> str:
    """The exact forms of the tokens in ``text``, joined by spaces."""
    return " ".join(filter(None, map(exact_form, tokenise(text))))


def folded_key(text: str) -> str:
    """The folded forms of the tokens in ``text``, joined by spaces: the identity of a term."""
    return " ".join(filter(None, map(folded_form, tokenise(text))))
