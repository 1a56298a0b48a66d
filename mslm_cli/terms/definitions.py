"""Abbreviations defined in a sentence: "heart failure (HF)" and "HF (heart failure)".

If a bracket contains a possible short form, the words before it are searched for a long form: the letters and digits
of the short form must appear in them in order, the first at the start of the first word. The long form with the lowest
cost is chosen, on ties the shortest; one that costs more than ``MAX_COST`` per letter is rejected.

Source: Schwartz and Hearst 2003, for the search window and the conditions. Difference: they take the first alignment
from the right, which finds only "aminotransferase" for "alanine aminotransferase (AA)", as its letters are all in the
last word; here letters that begin a word are preferred to letters inside one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

MAX_COST = 0.8
_MAX_COST_LOWER = 0.3  # "(rat)" is rarely a short form, "(bw)" is

# The costs of a letter that does not begin a word, and of a word that contributes no letter.
_NEXT_LETTER, _SAME_WORD, _INSIDE = 0.3, 0.5, 1.5
_SKIPPED, _SKIPPED_SMALL, _SKIPPED_COMMA = 1.0, 0.3, 1.5
_PLURAL = 0.2

_BRACKET = re.compile(r"[(\[]([^()\[\]]+)[)\]]")
_CUT = re.compile(r"\s*[;,=:]\s|\s*[;=]|,$")
_SHORT = re.compile(r"(?=.*[^\W\d_])\w[\w/.&+'-]*(?: [\w/.&+'-]+)?")
_LEAD_IN = re.compile(r"(?:(?:or|i\.e\.,?|abbreviated(?: as)?|termed|called|hereafter|designated)\s+)+", re.IGNORECASE)
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
    """The abbreviations defined in ``sentence``, in order and as spelled there."""
    for bracket in _BRACKET.finditer(sentence):
        inside = _CUT.split(bracket[1].strip(), maxsplit=1)[0]
        before = sentence[: bracket.start()].rstrip()
        short = _LEAD_IN.sub("", inside).strip(_MARKS)
        if is_short_form(short) and (found := _long_form(short, _words_before(before, short))):
            yield Abbreviation(short, found)
            continue
        short = before.rsplit(None, 1)[-1].lstrip("([\"'") if before else ""
        if is_short_form(short) and not short.islower() and (found := _long_form(short, _words(inside), is_whole=True)):
            yield Abbreviation(short, found)


def is_short_form(text: str) -> bool:
    """Whether ``text`` looks like a short form: two to ten letters and digits, at most two words."""
    n = sum(map(str.isalnum, text))
    if not 2 <= n <= 10 or len(text) > _MAX_SHORT_CHARS or text in _ORDINALS or not _SHORT.fullmatch(text):
        return False
    return not text.islower() or (" " not in text and (n <= 5 or any(map(str.isdigit, text))))


class _Word(NamedTuple):
    text: str
    folded: str
    skipped: float  # the cost if it contributes no letter


def _words(text: str) -> list[_Word]:
    words = []
    for word in text.split():
        bare = word.strip(_MARKS).lower()
        skipped = _SKIPPED_SMALL if bare in _SMALL else _SKIPPED
        words.append(_Word(word, _fold(word), skipped + (_SKIPPED_COMMA if word.endswith(",") else 0.0)))
    return words


def _words_before(text: str, short: str) -> list[_Word]:
    """The words that can belong to a long form: the window of Schwartz and Hearst, but none before a break."""
    n = min(len(short) + 5, 2 * len(short))
    words = text.rsplit(None, n)[-n:]
    for i in range(len(words) - 1, -1, -1):
        opened = max(words[i].rfind("("), words[i].rfind("["))
        if words[i].count("(") > words[i].count(")") or words[i].count("[") > words[i].count("]"):
            return _words(" ".join([words[i][opened + 1 :], *words[i + 1 :]]))
        if words[i].endswith((";", ":")) or opened == 0 or (words[i].endswith((")", "]")) and opened < 0):
            return _words(" ".join(words[i + 1 :]))
    return _words(" ".join(words))


def _long_form(short: str, words: Sequence[_Word], *, is_whole: bool = False) -> str | None:
    """The long form of ``short`` at the end of ``words``, or, with ``is_whole``, all of them without articles."""
    while is_whole and words and words[0].folded in _DETERMINERS:
        words = words[1:]
    if not words or words[-1].folded in _SMALL:
        return None
    letters = _fold(c for c in short if c.isalnum())
    cost, start = _alignment(letters, words, is_whole=is_whole)
    if len(letters) > 2 and short[-1] == "s" and short[-2].isupper():
        singular, first = _alignment(letters[:-1], words, is_whole=is_whole)
        cost, start = min((cost, start), (singular + _PLURAL, first))
    if cost > len(letters) * (_MAX_COST_LOWER if short.islower() else MAX_COST):
        return None
    long = " ".join(word.text for word in words[start:]).strip(_MARKS)
    return long if len(long) > len(short) and short.lower() not in long.lower().split() else None


def _alignment(letters: str, words: Sequence[_Word], *, is_whole: bool) -> tuple[float, int]:
    """The lowest cost of aligning ``letters`` with words up to the last, and the index of the first word."""
    n = len(letters)
    best: tuple[float, int] = (inf, 0)
    rest = [inf] * n + [0.0]  # rest[k]: the lowest cost of finding letters k, k+1... in the words after this one
    for i in range(len(words) - 1, -1, -1):
        word = words[i]
        if (i == 0 or not is_whole) and word.folded not in _SMALL:
            first = min(
                (c + rest[t] for t, c in enumerate(_inside(letters, word.folded, is_first=True), 1)), default=inf
            )
            best = min(best, (first, i), key=lambda found: found[0])
        skipped = [cost + word.skipped for cost in rest]
        for k in range(n):
            for t, cost in enumerate(_inside(letters[k:], word.folded), 1):
                skipped[k] = min(skipped[k], cost + rest[k + t])
        rest = skipped
    return best


def _inside(letters: str, word: str, *, is_first: bool = False) -> Iterator[float]:
    """The costs of finding the first 1, 2, ... of ``letters`` in ``word``; ``is_first``: from its start."""
    costs = {
        i: 0.0 if _begins(word, i) else _INSIDE
        for i, c in enumerate(word)
        if c == letters[0] and (not is_first or not any(map(str.isalnum, word[:i])))
    }
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
