"""Matching a lexicon's terms in text."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, groupby
from operator import attrgetter
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, MatchKind

from mslm_cli.terms.definitions import plural
from mslm_cli.terms.lexicon import ABBREVIATION, Term, matches_case, type_names
from mslm_cli.text.tokens import exact_form, exact_key, folded_form, folded_key, spaced, token_spans

_WIDE = re.compile(r"\s\s+")
_START = attrgetter("start")


class Match(NamedTuple):
    """An occurrence: [start, end) characters of the text, and the index of the term in the list."""

    start: int
    end: int
    term: int


class Matcher:
    """Finds terms on token boundaries, without overlaps, the longest first.

    Terms and text are compared by the forms of ``text.tokens``: "IL-2" matches "IL - 2", but not inside "IL-2R". A
    case-sensitive term (``lexicon.matches_case``) takes precedence over a case-insensitive one with the same letters.
    A short form that the text of the lexicon defined also matches in the plural ("CKDs"), unless that is another term.

    Attributes:
        types: the type of each term, an index into ``type_names(terms)``.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        number_of = {name: number for number, name in enumerate(type_names(terms))}
        self.types = [number_of[term.type or ""] for term in terms]
        exact: dict[str, dict[str, int]] = {}  # folded key -> exact key -> index of a case-sensitive term
        any_case: dict[str, int] = {}
        for index, term in enumerate(terms):
            if not (key := folded_key(term.term)):
                continue
            if matches_case(term):
                exact.setdefault(key, {}).setdefault(exact_key(term.term), index)
            else:
                any_case.setdefault(key, index)
        for index, term in enumerate(terms):
            form = plural(term.term) if ABBREVIATION in term.sources and matches_case(term) else None
            if form and (key := folded_key(form)) not in any_case:
                exact.setdefault(key, {}).setdefault(exact_key(form), index)
        keys = list(exact.keys() | any_case.keys())
        # by number of the pattern: the term in any case, and the case-sensitive ones by their exact keys
        self._any_case = [any_case.get(key) for key in keys]
        self._with_case = [exact.get(key) for key in keys]
        # A space at both ends keeps the automaton's matches on token boundaries.
        self._automaton = AhoCorasick([f" {key} " for key in keys], matchkind=MatchKind.Standard)

    def find(self, text: str) -> list[Match]:
        """The occurrences in ``text``, in text order.

        Of overlapping ones the longest wins, on ties the leftmost; length is in characters of the compared form, which
        is the same for raw and tokenised text.
        """
        forms = _ascii_forms(text) if text.isascii() else _forms(text)
        chosen = self._choose(forms)
        return _in_text(text, forms, chosen) if chosen else []

    def _choose(self, forms: "_Forms") -> list[tuple[int, int, int]]:
        """The occurrences: [start, end) characters of ``forms.folded`` and the index of the term; in order."""
        hits = []
        any_case, with_case = self._any_case, self._with_case
        for pattern, start, end in self._automaton.find_matches_as_indexes(forms.folded, overlapping=True):
            index = any_case[pattern]
            if cased := with_case[pattern]:
                index = cased.get(forms.exact_between(start + 1, end - 1), index)
            if index is not None:
                hits.append((start - end, start + 1, index))
        hits.sort()
        taken = bytearray(len(forms.folded))
        chosen = []
        for negative_length, start, index in hits:
            end = start - negative_length - 2
            # A shorter hit cannot contain a chosen one, so checking its two ends is enough.
            if not (taken[start] or taken[end - 1]):
                taken[start:end] = b"\1" * (end - start)
                chosen.append((start, end, index))
        return sorted(chosen)


class _Part(NamedTuple):
    """A part of a text: words in ASCII alone, or a run without white space that has other characters.

    start: where it starts in the folded forms. token: the number of its first token. rank: how many characters other
    than white space the text has before it. spans: [start, end) characters of each token in the run; None in ASCII,
    whose forms have the characters of the text.
    """

    start: int
    token: int
    rank: int
    spans: tuple[tuple[int, int], ...] | None


@dataclass
class _Forms:
    """The forms of a text's tokens, joined by spaces and with one at both ends; the parts of text that is not ASCII."""

    folded: str
    exact: str
    parts: list[_Part]

    @cached_property
    def _exact_tokens(self) -> list[str]:
        return self.exact.split(" ")

    @cached_property
    def _starts(self) -> list[int]:
        """Where the tokens start in ``folded``; the first is the empty one before the space that it begins with."""
        return list(accumulate((len(token) + 1 for token in self.folded.split(" ")), initial=0))

    def exact_between(self, start: int, end: int) -> str:
        """The exact forms of the tokens at [start, end) of ``folded``."""
        if not self.parts:
            return self.exact[start:end]
        first = bisect_left(self._starts, start)
        return " ".join(self._exact_tokens[first : first + 1 + self.folded.count(" ", start, end)])


def _ascii_forms(text: str) -> _Forms:
    exact = f" {spaced(text)} "
    return _Forms(exact.lower(), exact, [])


def _forms(text: str) -> _Forms:
    """The forms of any text: those of ASCII words together, others by runs."""
    folded, exact, parts = [""], [""], []
    start, token, rank = 1, 0, 0
    for is_ascii, runs in groupby(text.split(), str.isascii):
        pieces: Iterable[tuple[str, str, tuple[tuple[int, int], ...] | None, int]]
        if is_ascii:
            words = " ".join(runs)
            form = spaced(words)
            pieces = [(form.lower(), form, None, len(form) - form.count(" "))]
        else:
            pieces = ((*_run_forms(run), len(run)) for run in runs)
        for folded_forms, exact_forms, spans, n_characters in pieces:
            if folded_forms:
                parts.append(_Part(start, token, rank, spans))
                folded.append(folded_forms)
                exact.append(exact_forms)
                start += len(folded_forms) + 1
                token += folded_forms.count(" ") + 1
            rank += n_characters
    return _Forms(" ".join([*folded, ""]), " ".join([*exact, ""]), parts)


@lru_cache(maxsize=1 << 14)
def _run_forms(run: str) -> tuple[str, str, tuple[tuple[int, int], ...]]:
    """The folded and the exact forms of the tokens of ``run``, joined by spaces, and their spans in it."""
    tokens = [(folded_form(run[start:end]), (start, end)) for start, end in token_spans(run)]
    kept = [(form, span) for form, span in tokens if form]
    exact = " ".join(exact_form(run[start:end]) for _, (start, end) in kept)
    return " ".join(form for form, _ in kept), exact, tuple(span for _, span in kept)


def _in_text(text: str, forms: _Forms, chosen: Iterable[tuple[int, int, int]]) -> list[Match]:
    """The occurrences ``chosen`` in the folded forms, as characters of ``text``."""
    folded, parts = forms.folded, forms.parts
    filled = list(accumulate(map(len, text.split())))
    indent = len(text) - len(text.lstrip())
    # the places of wide gaps, were there single spaces everywhere, and what to add to places from there on
    gaps, shifts = [], [indent]
    for gap in _WIDE.finditer(text, indent):
        gaps.append(gap.start() - shifts[-1])
        shifts.append(shifts[-1] + len(gap[0]) - 1)
    count, found = folded.count, []
    at, token = 0, -1
    for start, end, term in chosen:
        token += count(" ", at, start)
        n_more = count(" ", start, end)
        # how many characters other than white space are before the first and the last one
        if parts:
            first, last = _ranks(parts, start, end, token, n_more)
        else:
            first, last = start - 1 - token, end - 2 - token - n_more
        token += n_more
        at = end
        place = first + bisect_right(filled, first)
        start_in_text = place + (shifts[bisect_right(gaps, place)] if gaps else indent)
        if n_more or parts:
            place = last + bisect_right(filled, last)
            end_in_text = place + (shifts[bisect_right(gaps, place)] if gaps else indent) + 1
        else:
            end_in_text = start_in_text + end - start
        found.append(Match(start_in_text, end_in_text, term))
    return found


def _ranks(parts: Sequence[_Part], start: int, end: int, token: int, n_more: int) -> tuple[int, int]:
    """How many characters other than white space a text has before the first and the last one of an occurrence.

    Args:
        start, end: characters [start, end) of the folded forms.
        token: the number of the first token. n_more: how many follow.
    """
    part = parts[bisect_right(parts, start, key=_START) - 1]
    inside = token - part.token
    first = part.rank + (start - part.start - inside if part.spans is None else part.spans[inside][0])
    part = parts[bisect_right(parts, end - 1, key=_START) - 1]
    inside = token + n_more - part.token
    last = part.rank + (end - part.start - inside if part.spans is None else part.spans[inside][1]) - 1
    return first, last
