"""The words of a sentence as term extraction sees them: hyphenated compounds whole, each of a kind."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mslm_cli import fsio
from mslm_cli.text.tokens import exact_form, folded_form, token_spans

DETERMINERS = frozenset(
    ["the", "a", "an", "this", "these", "those", "its", "their", "his", "her", "our", "any", "each", "both"]
)

CLASSIFIERS = frozenset(["type", "class", "grade", "stage", "group"])
"""General words that begin a term if a weak word follows: "type 2 diabetes"."""

_ROMAN = frozenset("IVX")
_QUANTITY = re.compile(r"\d[\d.,]*(?:mg|ml|kg|mm|cm|[nuμ]m|[nμ]g|[hgsmldyx]|kb|bp|mb|min|st|nd|rd|th|yr|wk|fold)?")
"""A number, with a unit or not: "12", "5mg", "0.87", "10th"."""
_ADVERB_LIKE_NOUNS = ("family", "assembly", "anomaly", "fly", "jelly", "belly", "poly", "reply", "supply")


class Kind(IntEnum):
    """What a word can be in a term."""

    BREAK = 0
    """Punctuation and stop words: no term contains one."""
    GENERAL = 1
    """General words of scientific prose: no term begins or ends with one."""
    WEAK = 2
    """Numbers, Roman numerals and single letters: inside a term, or its end ("factor VIII")."""
    PARTNER = 3
    """Words that are part of many terms and none on their own: "heart failure", "cell line"."""
    CONTENT = 4
    """All other words."""


class Word(NamedTuple):
    """A word or punctuation mark: ``form`` is compared, ``surface`` is shown."""

    form: str
    surface: str
    kind: Kind


END = Word("", "", Kind.BREAK)


@dataclass(frozen=True)
class WordLists:
    """Stop words, general words, and words that are no term on their own; folded."""

    stop: frozenset[str]
    general: frozenset[str]
    never_alone: frozenset[str] = frozenset()


def english() -> WordLists:
    """The word lists for English that ship with the package."""
    return WordLists(*map(_read_list, ["stopwords-en.txt", "general-words-en.txt", "never-alone-en.txt"]))


def _read_list(name: str) -> frozenset[str]:
    lines = fsio.resource(name).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


class WordReader:
    """Splits sentences into words; remembers the kind of every spelling it has met."""

    def __init__(self, lists: WordLists) -> None:
        self._lists = lists
        self._listed = lists.stop | lists.general
        self._known: dict[str, Word] = {}

    def read(self, sentence: str, *, is_tokenised: bool = False) -> list[Word]:
        """The words of ``sentence``, in order.

        Tokens joined by hyphens are one word, and so is a possessive ("Wilson's"). In
        tokenised text hyphens may have spaces around them ("IL - 2" is shown as "IL-2").
        """
        spans = token_spans(sentence)
        tokens = [exact_form(sentence[start:end]) for start, end in spans]
        words: list[Word] = []
        i, n = 0, len(tokens)
        while i < n:
            first = i
            if _is_word(tokens[i]):
                while i + 2 < n and _is_joined(tokens[i], tokens[i + 1], tokens[i + 2]):
                    touches = spans[i][1] == spans[i + 1][0] and spans[i + 1][1] == spans[i + 2][0]
                    if not touches and (not is_tokenised or tokens[i + 1] not in ("-", "'")):
                        break
                    i += 2
            i += 1
            word = self._word("".join(tokens[first:i]))
            if not words and word.kind is Kind.WEAK and word.surface.isalpha():
                word = word._replace(kind=Kind.BREAK)  # "A" or "I" at the start of a sentence
            words.append(word)
        return words

    def _word(self, surface: str) -> Word:
        known = self._known.get(surface)
        if known is None:
            form = folded_form(surface)
            known = self._known[surface] = Word(form, surface, self._kind(surface, form))
        return known

    def _kind(self, surface: str, form: str) -> Kind:
        parts = [part for part in form.removesuffix("'s").split("-") if part]
        if not parts or not _is_word(parts[0]):
            return Kind.BREAK
        if len(surface) == 1 and surface.isalpha():
            return Kind.BREAK if surface.isascii() and surface.islower() else Kind.WEAK
        if set(surface) <= _ROMAN:
            return Kind.WEAK
        if all(map(_QUANTITY.fullmatch, parts)):
            return Kind.WEAK if surface.isdigit() and len(surface) <= 3 else Kind.BREAK
        if form in self._lists.stop or all(part in self._lists.stop for part in parts):
            return Kind.BREAK
        if all(len(part) == 1 for part in parts):
            return Kind.WEAK
        if len(form) > 4 and form.endswith("ly") and not form.endswith(_ADVERB_LIKE_NOUNS):
            return Kind.BREAK
        if form in self._lists.general or all(part in self._listed or _QUANTITY.fullmatch(part) for part in parts):
            return Kind.GENERAL
        return Kind.PARTNER if form in self._lists.never_alone else Kind.CONTENT


def shown(words: Iterable[Word]) -> str:
    """The text of ``words`` as a reader would write it."""
    return " ".join(word.surface for word in words)


def _is_word(token: str) -> bool:
    return token[:1].isalnum()


def _is_joined(before: str, mark: str, after: str) -> bool:
    if mark == "-":
        return _is_word(after)
    if mark == "'":
        return after in ("s", "S")
    return mark in (".", ",") and before.isdigit() and after.isdigit()
