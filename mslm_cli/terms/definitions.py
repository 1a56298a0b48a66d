"""Abbreviations defined in a sentence: "heart failure (HF)" and "HF (heart failure)".

If a bracket contains a possible short form, the words before it are searched for a long form: the letters and digits
of the short form must appear in them in order, the first at the start of the first word, or of a part of it: after a
locant ("2-deoxyglucose"), a Greek letter ("α-smooth") or another prefix ("c-Jun"), which belong to the long form. The
long form with the lowest cost is chosen, on ties the shortest; one that costs more than ``MAX_COST`` per letter is
rejected. Hyphens, quotes, brackets and invisible characters of all kinds are compared as in ``text.tokens``.

Source: Schwartz and Hearst 2003, for the search window and the conditions. Difference: they take the first alignment
from the right, which finds only "aminotransferase" for "alanine aminotransferase (AA)", as its letters are all in the
last word; here letters that begin a word are preferred to letters inside one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import inf
from typing import NamedTuple

from mslm_cli.text.tokens import exact_form, is_superscript, token_spans

MAX_COST = 0.8
_MAX_COST_LOWER = 0.3  # "(rat)" is rarely a short form, "(bw)" is

# The costs of a letter that does not begin a word, and of a word that contributes no letter.
_NEXT_LETTER, _SAME_WORD, _INSIDE = 0.3, 0.5, 1.5
_SKIPPED, _SKIPPED_SMALL, _SKIPPED_COMMA = 1.0, 0.3, 1.5
_PLURAL = 0.2
# The costs of a first letter after a locant, a Greek letter or a single letter, and after a longer part of its word.
_AFTER_LOCANT, _AFTER_PART = 0.1, 0.6

_BRACKET = re.compile(r"[(\[]([^()\[\]]+)[)\]]")
_CUT = re.compile(r"\s*[;,=:]\s|\s*[;=]|,$")
_SHORT = re.compile(r"(?=.*[^\W\d_])\w[\w/.&+'-]*(?: [\w/.&+'-]+)?")
_LEAD_IN = re.compile(
    r"(?:(?:or|i\.e\.|also|termed|called|designated|denoted|known|referred to|abbreviated|abbr\.|abbreviation"
    r"|hereafter|hereinafter|henceforth)(?: (?:as|by|to))?[,:]?\s+)+",
    re.IGNORECASE,
)
_LOCANT = re.compile(r"\W*(?:(?:[\d,']+|[^\W\d_]|alpha|beta|gamma|delta)\W+|\d+)+")
_OTHER_WORD = re.compile(r".*(?:/|--).*|\W*(?:anti|non|pre|post|pseudo|un)\W+")
_WORD = re.compile(r"\S+")
_MAX_SHORT_CHARS = 12
_ORDINALS = frozenset(["I", "II", "III", "VI", "VII", "VIII", "IX"])
_SMALL = frozenset("a an and at by for from in of on or per the to via with".split())  # noqa: SIM905 - reads better
_DETERMINERS = frozenset(["a", "an", "the"])
_MARKS = ".,'\" "
_GREEK = str.maketrans(dict(zip("αβγδεζηθικλμνξοπρστυφχψω", "abgdezetiklmnxoprstupcpo", strict=True)))


class Abbreviation(NamedTuple):
    """A short form and its long form."""

    short: str
    long: str


def find_abbreviations(sentence: str) -> Iterator[Abbreviation]:
    """The abbreviations defined in ``sentence``, in order and as spelled there, with single spaces."""
    text, offsets = _comparable(sentence)

    def spelled(start: int, end: int) -> str:
        return " ".join(sentence[offsets[start] : offsets[end - 1] + 1].split())

    for short, long in _definitions(text):
        yield Abbreviation(spelled(*short), spelled(*long))


def plural(short: str) -> str | None:
    """The plural of a short form that is singular: "iPSCs" of "iPSC"."""
    return f"{short}s" if len(short) > 1 and short[-1].isupper() else None


def other_number(short: str, long: str) -> str | None:
    """The plural of a short form that is singular ("iPSCs" of "iPSC"), or the singular of one that is plural, if any.

    A short form in "s" is plural if its long form is, or if the last word of the long form has no "s".
    """
    if len(short) > 2 and short[-1] == "s" and short[-2].isupper():
        last = long.rsplit(None, 1)[-1].lower()
        return short[:-1] if last.endswith("s") or "s" not in last else None
    return plural(short)


def _comparable(sentence: str) -> tuple[str, Sequence[int]]:
    """``sentence`` with plain hyphens, quotes and brackets, without what is invisible or a citation; and the offset of
    each of its characters in ``sentence``.
    """
    if sentence.isascii():
        return sentence, range(len(sentence))
    cited = {
        i for start, end in token_spans(sentence) if is_superscript(sentence[start:end]) for i in range(start, end)
    }
    kept = [(i, plain) for i, c in enumerate(sentence) if i not in cited and (plain := _plain(c))]
    return "".join(c for _, c in kept), [i for i, _ in kept]


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """The comparable form of a character, of length 1; empty if it is invisible."""
    if character.isspace():
        return " "
    form = exact_form(character)
    return form if len(form) < 2 else character


_Span = tuple[int, int]
"""[start, end) characters of the text."""


def _definitions(text: str) -> Iterator[tuple[_Span, _Span]]:
    """The short and the long form of each definition in ``text``."""
    for bracket in _BRACKET.finditer(text):
        lead_in = _LEAD_IN.match(text, *_stripped(text, *bracket.span(1)))
        first, last = _stripped(text, lead_in.end() if lead_in else bracket.start(1), bracket.end(1))
        cut = _CUT.search(text, first, last)
        inside = first, cut.start() if cut else last
        before = len(text[: bracket.start()].rstrip())
        short = _stripped(text, *inside, _MARKS)
        form = text[slice(*short)]
        if is_short_form(form) and (found := _long_form(form, _words_before(text, before, form), text)):
            yield short, found
            continue
        form = text[:before].rsplit(None, 1)[-1].lstrip("([\"'") if before else ""
        short = before - len(form), before
        if not is_short_form(form) or form.islower():
            continue
        if found := _long_form(form, _words(text, *inside), text, is_whole=True):
            yield short, found


def is_short_form(text: str) -> bool:
    """Whether ``text`` looks like a short form: two to ten letters and digits, at most two words."""
    n = sum(map(str.isalnum, text))
    if not 2 <= n <= 10 or len(text) > _MAX_SHORT_CHARS or text in _ORDINALS or not _SHORT.fullmatch(text):
        return False
    return not text.islower() or (" " not in text and (n <= 5 or any(map(str.isdigit, text))))


class _Word(NamedTuple):
    start: int  # [start, end) characters of the text
    end: int
    folded: str
    skipped: float  # the cost if it contributes no letter


def _stripped(text: str, start: int, end: int, marks: str = " ") -> _Span:
    """[start, end) without the leading and trailing ``marks``."""
    while start < end and text[end - 1] in marks:
        end -= 1
    while start < end and text[start] in marks:
        start += 1
    return start, end


def _words(text: str, start: int, end: int) -> list[_Word]:
    words = []
    for match in _WORD.finditer(text, start, end):
        word = match[0]
        skipped = _SKIPPED_SMALL if word.strip(_MARKS).lower() in _SMALL else _SKIPPED
        words.append(_Word(*match.span(), _fold(word), skipped + (_SKIPPED_COMMA if word.endswith(",") else 0.0)))
    return words


def _words_before(text: str, end: int, short: str) -> list[_Word]:
    """The words that can belong to a long form: the window of Schwartz and Hearst, but none before a break."""
    n = min(len(short) + 5, 2 * len(short))
    before = text[:end].rsplit(None, n)
    words = [match.span() for match in _WORD.finditer(text, len(before[0]) if len(before) > n else 0, end)]
    for first, last in reversed(words):
        word = text[first:last]
        opened = max(word.rfind("("), word.rfind("["))
        if word.count("(") > word.count(")") or word.count("[") > word.count("]"):
            return _words(text, first + opened + 1, end)
        if word.endswith((";", ":")) or opened == 0 or (word.endswith((")", "]")) and opened < 0):
            return _words(text, last, end)
    return _words(text, words[0][0], end) if words else []


def _long_form(short: str, words: Sequence[_Word], text: str, *, is_whole: bool = False) -> _Span | None:
    """The long form of ``short`` at the end of ``words``, or, with ``is_whole``, all of them without articles."""
    while is_whole and words and words[0].folded in _DETERMINERS:
        words = words[1:]
    if not words or words[-1].folded in _SMALL:
        return None
    letters = _fold(c for c in short if c.isalnum())
    cost, first = _alignment(letters, words, is_whole=is_whole)
    if len(letters) > 2 and short[-1] == "s" and short[-2].isupper():
        singular, of_singular = _alignment(letters[:-1], words, is_whole=is_whole)
        cost, first = min((cost, first), (singular + _PLURAL, of_singular))
    if cost > len(letters) * (_MAX_COST_LOWER if short.islower() else MAX_COST):
        return None
    start, end = _stripped(text, words[first].start, words[-1].end, _MARKS)
    long = text[start:end]
    return (start, end) if len(long) > len(short) and short.lower() not in long.lower().split() else None


def _alignment(letters: str, words: Sequence[_Word], *, is_whole: bool) -> tuple[float, int]:
    """The lowest cost of aligning ``letters`` with words up to the last, and the index of the first word."""
    n = len(letters)
    best: tuple[float, int] = (inf, 0)
    rest = [inf] * n + [0.0]  # rest[k]: the lowest cost of finding letters k, k+1... in the words after this one
    for i in range(len(words) - 1, -1, -1):
        word = words[i]
        if (i == 0 or not is_whole) and word.folded not in _SMALL:
            starting = _inside(letters, word.folded, _first_costs(word.folded, letters[0]))
            first = min((cost + rest[t] for t, cost in enumerate(starting, 1)), default=inf)
            best = min(best, (first, i), key=lambda found: found[0])
        skipped = [cost + word.skipped for cost in rest]
        for k in range(n):
            costs = {
                i: 0.0 if _begins(word.folded, i) else _INSIDE for i, c in enumerate(word.folded) if c == letters[k]
            }
            for t, cost in enumerate(_inside(letters[k:], word.folded, costs), 1):
                skipped[k] = min(skipped[k], cost + rest[k + t])
        rest = skipped
    return best


def _first_costs(word: str, letter: str) -> dict[int, float]:
    """The costs of each place in ``word`` where a long form's first letter may stand.

    Inside a word it must begin a run of letters: in "2(R),6(S)" it names no substance. "HIV" is not short for
    "anti-human immunodeficiency virus", nor "KO" for "wild-type/knock-out".
    """
    costs = {}
    for i, c in enumerate(word):
        if c != letter or not _begins(word, i):
            continue
        if not any(map(str.isalnum, word[:i])):
            costs[i] = 0.0
        elif word[i + 1 : i + 2].isalpha() and not _OTHER_WORD.fullmatch(word[:i]):
            costs[i] = _AFTER_LOCANT if _LOCANT.fullmatch(word[:i]) else _AFTER_PART
    return costs


def _inside(letters: str, word: str, costs: dict[int, float]) -> Iterator[float]:
    """The costs of finding the first 1, 2, ... of ``letters`` in ``word``.

    Args:
        costs: of the first letter, at each index where it may stand.
    """
    for letter in [*letters[1:], ""]:
        if not costs:
            return
        yield min(costs.values())
        following: dict[int, float] = {}
        for j in (j for j, c in enumerate(word) if c == letter):
            step = 0.0 if _begins(word, j) else _SAME_WORD
            reached = [cost + (min(step, _NEXT_LETTER) if j == i + 1 else step) for i, cost in costs.items() if i < j]
            if reached:
                following[j] = min(reached)
        costs = following


def _begins(word: str, i: int) -> bool:
    """Whether the letter begins a word or a part of one: "beta" in "17beta-estradiol"."""
    return i == 0 or not word[i - 1].isalnum() or word[i - 1].isdigit() != word[i].isdigit()


def _fold(characters: Iterable[str]) -> str:
    # Lower case can be longer ("İ"): taking its first letter keeps positions unchanged.
    return "".join(c.lower()[0] for c in characters).translate(_GREEK)
