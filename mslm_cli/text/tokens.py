"""Tokens, and the normal forms in which text and terms are compared.

A token is a run of word characters with their combining marks, or any other single character; so "IL-2" and "IL - 2"
are the same three tokens. Invisible characters are nothing: they neither make nor split a token. Superscript digits at
the end of a word cite a reference or are an exponent, so they are a token of their own: "IL-2²" is "IL-2" and "²".
Tokens keep their offsets in the original text, and normalising one never shifts an offset.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain, groupby

# All default-ignorable code points (Unicode 16, DerivedCoreProperties.txt).
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079"
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\uff07\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u2033\uff02", '"'),
    }
)
_INVISIBLES = re.compile(f"[{_INVISIBLE}]+")
_VISIBLES = re.compile(f"[^{_INVISIBLE}]+")
_UNUSUAL = re.compile(f"[{_INVISIBLE}{_SUPERSCRIPTS}]")
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")


@cache
def _marks() -> str:
    """The combining marks, as the inside of a character class."""
    # All of them are in these two ranges; scanning every character would take 0.2 s.
    ranges = chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))
    marks = (c for c in ranges if unicodedata.category(chr(c))[0] == "M" and not _INVISIBLES.match(chr(c)))
    runs = [[c for _, c in group] for _, group in groupby(enumerate(marks), lambda pair: pair[1] - pair[0])]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


@cache
def _usual() -> re.Pattern[str]:
    """The tokens of text without invisible characters and superscript digits."""
    return re.compile(rf"\w[\w{_marks()}]*|\S")


@cache
def _unusual() -> re.Pattern[str]:
    """The tokens of any text."""
    first = rf"[^\W{_INVISIBLE}{_SUPERSCRIPTS}]"
    # A superscript of digits and a sign is a charge, which is part of the word: "Ca²⁺".
    charge = rf"[{_SUPERSCRIPTS}]+(?=\u207a|\u207b(?![{_SUPERSCRIPTS}]))"
    # Word characters less what is left out of them; alternatives would be slower than this look-ahead.
    inside = rf"(?:(?![{_INVISIBLE}{_SUPERSCRIPTS}])[\w{_marks()}])+"
    word = rf"[{_SUPERSCRIPTS}]*{first}(?:{inside})?(?:[{_INVISIBLE}{_SUPERSCRIPTS}]+{inside})*(?:{charge})?"
    return re.compile(rf"{word}|[{_SUPERSCRIPTS}]+|[^\s{_INVISIBLE}]")


_ASCII_TOKEN = re.compile(r"\w+|\S")
_ASCII_MARKS = [c for c in map(chr, range(128)) if not (c.isalnum() or c == "_" or c.isspace())]
# As ``is_compound``: numbers with points or commas, then words joined by hyphens, and a possessive "s".
_PART = r"(?:\d+(?:[.,]\d+(?!\w))+|[^\W_]\w*)"
_ASCII_WORD = re.compile(rf"{_PART}(?:-{_PART}|'[sS](?!\w))*|\w+|\S")
_RUN = re.compile(r"\S+")


def _token(text: str) -> re.Pattern[str]:
    """The pattern of the tokens in ``text``: the fastest one that is right."""
    if text.isascii():
        return _ASCII_TOKEN
    return _unusual() if _UNUSUAL.search(text) else _usual()


def visible(text: str) -> str:
    """``text`` without invisible characters."""
    return text if text.isascii() else _INVISIBLES.sub("", text)


def visible_offsets(text: str) -> list[int]:
    """The offset in ``text`` of each character of ``visible(text)``."""
    return [i for part in _VISIBLES.finditer(text) for i in range(*part.span())]


def without_superscripts(text: str) -> str:
    """``text`` without invisible characters and without the superscript digits at the ends of words."""
    text = visible(text)
    if text.isascii() or not _SUPERSCRIPT.search(text):
        return text
    return _unusual().sub(lambda token: "" if is_superscript(token[0]) else token[0], text)


def is_superscript(token: str) -> bool:
    """Whether ``token`` consists of superscript digits: a citation or an exponent, no word."""
    return not token.isascii() and _SUPERSCRIPT.fullmatch(token) is not None


def token_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of the tokens of ``text``."""
    return [match.span() for match in _token(text).finditer(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of the words of ``text``: tokens, or those of a compound (``is_compound``)."""
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)]
    tokens = token_spans(text)
    words: list[tuple[int, int]] = []
    i, n = 0, len(tokens)
    while i < n:
        start, end = tokens[i]
        while i + 2 < n and touch(text, end, tokens[i + 1][0]) and touch(text, tokens[i + 1][1], tokens[i + 2][0]):
            before, mark, after = (exact_form(text[first:last]) for first, last in tokens[i : i + 3])
            if not is_compound(before, mark, after):
                break
            i += 2
            end = tokens[i][1]
        words.append((start, end))
        i += 1
    return words


def touch(text: str, end: int, start: int) -> bool:
    """Whether at most invisible characters are between a token that ends at ``end`` and one from ``start``."""
    return end == start or not visible(text[end:start])


def is_word(token: str) -> bool:
    """Whether ``token``, in its exact form, begins with a letter or a digit, and is not in superscript."""
    return token[:1].isalnum() and not is_superscript(token)


def is_compound(before: str, mark: str, after: str) -> bool:
    """Whether three adjacent tokens, in their exact forms, are one word: "non-small", "Wilson's", "0.87", "1,200"."""
    if mark == "-":
        return is_word(before) and is_word(after)
    if mark == "'":
        return is_word(before) and after in ("s", "S")
    return mark in (".", ",") and before.isdigit() and after.isdigit()


def joined_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) character offsets of tokens split at spaces, with leading and trailing punctuation separated.

    Each separated mark is its own token; punctuation inside ("IL-2R", "mmol/L", "5.5") does not split a token.
    """
    spans: list[tuple[int, int]] = []
    for run in _RUN.finditer(text):
        inside = [(run.start() + start, run.start() + end) for start, end in token_spans(run[0])]
        in_word = [text[start] == "_" or is_word(text[start:end]) for start, end in inside]
        if any(in_word):
            first, last = in_word.index(True), len(in_word) - 1 - in_word[::-1].index(True)
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
    return _token(text).findall(text)


def spaced(text: str) -> str:
    """The tokens of ASCII ``text`` joined by spaces: several times as fast on long text as finding them one by one."""
    for mark in _ASCII_MARKS:
        if mark in text:
            text = text.replace(mark, f" {mark} ")
    return " ".join(text.split())


def exact_form(token: str) -> str:
    """The case-sensitive normal form of ``token``: NFKC, plain hyphens and quotes, no spaces or invisible characters.

    Superscript digits alone stay what they are: "10⁶" is not 106, nor "10 6".
    """
    if token.isascii() or is_superscript(token):
        return token
    spelled = unicodedata.normalize("NFKC", visible(token).translate(_SAME)).translate(_SAME)
    return "".join(visible(spelled).split())


def folded_form(token: str) -> str:
    """The case-insensitive normal form of ``token``."""
    if token.isascii():
        return token.lower()
    if is_superscript(token):
        return token
    # Case folding can undo NFKC ("ᾳ", "İ"), so normalise again.
    return exact_form(unicodedata.normalize("NFKC", exact_form(token).casefold()))


def exact_key(text: str) -> str:
    """The exact forms of the tokens in ``text``, joined by spaces."""
    return " ".join(filter(None, map(exact_form, tokenise(text))))


def folded_key(text: str) -> str:
    """The folded forms of the tokens in ``text``, joined by spaces: the identity of a term."""
    return " ".join(filter(None, map(folded_form, tokenise(text))))
