"""The words of a sentence for term extraction: hyphenated compounds are one word, and each word has a class."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mslm_cli import fsio
from mslm_cli.text.tokens import exact_form, folded_form, is_compound, is_word, token_spans, touch

DETERMINERS = frozenset(
    ["the", "a", "an", "this", "these", "those", "its", "their", "his", "her", "our", "any", "each", "both"]
)

CLASSIFIERS = frozenset(["type", "class", "grade", "stage", "group"])
"""General words that can begin a term before a weak word: "type 2 diabetes"."""

_ROMAN = frozenset("IVX")
_UNITS = "mg|ml|kg|mm|cm|[nuμ]m|[nμ]g|[nmμ]l|[nmμ]?mol|k?da|k?hz|[hgsmldyx]|kb|bp|mb|min|st|nd|rd|th|yr|wk|fold"
_QUANTITY = re.compile(rf"\d[\d.,]*(?:{_UNITS})?|\d*0c")
"""A number with or without a unit: "12", "5mg", "0.87", "10th"; "370C" has a degree sign that was read as a digit."""
_UNITS_AFTER_NUMBERS = frozenset(["ng", "pg", "fg", "IU", "mV", "Gy", "mCi", "nCi", "kD", "M", "mM", "nM"])
"""Units that without a number before them would be names."""
_SIGNS = frozenset("+/=%°<>~±×*^&@#")
"""What joins a letter or a number to more of a name or a measurement: "G+C", "mmol/L", "5%"."""
_ADVERB_LIKE_NOUNS = ("family", "assembly", "anomaly", "fly", "jelly", "belly", "poly", "reply", "supply")


class WordClass(IntEnum):
    """The role a word can have in a term."""

    BREAK = 0
    """Punctuation and stop words: never in a term."""
    GENERAL = 1
    """General words of scientific prose: never first or last in a term."""
    WEAK = 2
    """Numbers, Roman numerals and single letters: inside or at the end of a term ("factor VIII")."""
    PARTNER = 3
    """Words that are part of many terms but not terms on their own: "failure" in "heart failure"."""
    CONTENT = 4
    """All other words."""


class Word(NamedTuple):
    """A word or punctuation mark: ``form`` for comparison, ``surface`` for display."""

    form: str
    surface: str
    word_class: WordClass


END = Word("", "", WordClass.BREAK)


@dataclass(frozen=True)
class WordLists:
    """Stop words, general words, and words that are not terms on their own; folded."""

    stop: frozenset[str]
    general: frozenset[str]
    never_alone: frozenset[str] = frozenset()


def english() -> WordLists:
    """The packaged word lists for English."""
    return WordLists(*map(_read_list, ["stopwords-en.txt", "general-words-en.txt", "never-alone-en.txt"]))


def _read_list(name: str) -> frozenset[str]:
    lines = fsio.resource(name).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


class WordReader:
    """Splits sentences into words; caches the word of every spelling."""

    def __init__(self, lists: WordLists) -> None:
        self._lists = lists
        self._listed = lists.stop | lists.general
        self._known: dict[str, Word] = {}

    def read(self, sentence: str, *, is_tokenised: bool = False) -> list[Word]:
        """The words of ``sentence``, in order.

        Tokens joined by hyphens are one word, as is a possessive ("Wilson's"), and a name with a plus ("Ca2+"). In
        tokenised text, hyphens may have spaces around them ("IL - 2" becomes "IL-2"). A letter or number next to a sign
        is a part of something else: "DNA G+C content" has no "DNA G".
        """
        spans = token_spans(sentence)
        tokens = [exact_form(sentence[start:end]) for start, end in spans]
        words: list[Word] = []
        i, n = 0, len(tokens)
        while i < n:
            first = i
            while i + 2 < n and is_compound(tokens[i], tokens[i + 1], tokens[i + 2]):
                (_, end), (start, stop), (following, _) = spans[i : i + 3]
                is_apart = not touch(sentence, end, start) or not touch(sentence, stop, following)
                if is_apart and (not is_tokenised or tokens[i + 1] not in ("-", "'")):
                    break
                i += 2
            i += 1
            if i < n and tokens[i] == "+" and is_word(tokens[i - 1]) and _ends_a_name(sentence, spans, i):
                i += 1
            word = self._word("".join(tokens[first:i]))
            if word.surface in _UNITS_AFTER_NUMBERS and first > 0 and tokens[first - 1][-1:].isdigit():
                word = word._replace(word_class=WordClass.BREAK)
            if word.word_class is WordClass.WEAK and (
                # "A" or "I" at the start of a sentence
                (not words and word.surface.isalpha())
                or (first > 0 and tokens[first - 1] in _SIGNS and spans[first - 1][1] == spans[first][0])
                or (i < n and tokens[i] in _SIGNS and spans[i - 1][1] == spans[i][0])
            ):
                word = word._replace(word_class=WordClass.BREAK)
            words.append(word)
        return words

    def _word(self, surface: str) -> Word:
        known = self._known.get(surface)
        if known is None:
            form = folded_form(surface)
            known = self._known[surface] = Word(form, surface, self._classify(surface, form))
        return known

    def _classify(self, surface: str, form: str) -> WordClass:
        parts = [part for part in form.removesuffix("'s").split("-") if part]
        if not parts or not is_word(parts[0]):
            return WordClass.BREAK
        if len(surface) == 1 and surface.isalpha():
            return WordClass.BREAK if surface.isascii() and surface.islower() else WordClass.WEAK
        if set(surface) <= _ROMAN:
            return WordClass.WEAK
        if all(map(_QUANTITY.fullmatch, parts)):
            return WordClass.WEAK if surface.isdigit() and len(surface) <= 3 else WordClass.BREAK
        if form in self._lists.stop or all(part in self._lists.stop for part in parts):
            return WordClass.BREAK
        if all(len(part) == 1 for part in parts):
            return WordClass.WEAK
        if len(form) > 4 and form.endswith("ly") and not form.endswith(_ADVERB_LIKE_NOUNS):
            return WordClass.BREAK
        if form in self._lists.general or all(part in self._listed or _QUANTITY.fullmatch(part) for part in parts):
            return WordClass.GENERAL
        return WordClass.PARTNER if form in self._lists.never_alone else WordClass.CONTENT


def _ends_a_name(sentence: str, spans: list[tuple[int, int]], plus: int) -> bool:
    """Whether the token ``plus`` touches the one before, which is no number, and nothing but punctuation after it."""
    before, after = sentence[slice(*spans[plus - 1])], spans[plus + 1 : plus + 2]
    is_free = not after or after[0][0] > spans[plus][1] or sentence[after[0][0]] in ",.;:)]"
    return spans[plus - 1][1] == spans[plus][0] and is_free and not before.isdigit()


def shown(words: Iterable[Word]) -> str:
    """The text of ``words``, in their surface forms."""
    return " ".join(word.surface for word in words)
