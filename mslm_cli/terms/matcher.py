"""Matching a lexicon's terms in text."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, MatchKind

from mslm_cli.terms.definitions import plural
from mslm_cli.terms.lexicon import ABBREVIATION, Term, matches_case, type_names
from mslm_cli.text.tokens import exact_form, exact_key, folded_form, folded_key, token_spans


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """An occurrence: [start, end) characters of the text, and the index of the term in the list."""

    start: int
    end: int
    index: int


class _Hit(NamedTuple):
    first: int  # tokens [first, end)
    end: int
    length: int  # characters of the folded form
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
        self._exact: dict[str, dict[str, int]] = {}  # folded key -> exact key -> index of a case-sensitive term
        self._any_case: dict[str, int] = {}
        for index, term in enumerate(terms):
            if not (key := folded_key(term.term)):
                continue
            if matches_case(term):
                self._exact.setdefault(key, {}).setdefault(exact_key(term.term), index)
            else:
                self._any_case.setdefault(key, index)
        for index, term in enumerate(terms):
            form = plural(term.term) if ABBREVIATION in term.sources and matches_case(term) else None
            if form and (key := folded_key(form)) not in self._any_case:
                self._exact.setdefault(key, {}).setdefault(exact_key(form), index)
        self._keys = list(self._exact.keys() | self._any_case.keys())
        # A space at both ends keeps the automaton's matches on token boundaries.
        self._automaton = AhoCorasick([f" {key} " for key in self._keys], matchkind=MatchKind.Standard)

    def find(self, text: str) -> list[Match]:
        """The occurrences in ``text``, in text order.

        Of overlapping ones the longest wins, on ties the leftmost; length is in characters of the compared form, which
        is the same for raw and tokenised text.
        """
        spans = token_spans(text)
        folded = [folded_form(text[start:end]) for start, end in spans]
        if not all(folded):
            spans = [span for span, form in zip(spans, folded, strict=True) if form]
            folded = [form for form in folded if form]
        hits = sorted(self._hits(text, spans, folded), key=lambda hit: (-hit.length, hit.first))
        taken = bytearray(len(spans))
        chosen = []
        for hit in hits:
            # A shorter hit cannot contain a chosen one, so checking its two ends is enough.
            if not (taken[hit.first] or taken[hit.end - 1]):
                taken[hit.first : hit.end] = b"\1" * (hit.end - hit.first)
                chosen.append(Match(spans[hit.first][0], spans[hit.end - 1][1], hit.term))
        return sorted(chosen)

    def _hits(self, text: str, spans: list[tuple[int, int]], folded: list[str]) -> Iterator[_Hit]:
        starts = [0, *accumulate(len(form) + 1 for form in folded)]
        haystack = f" {' '.join(folded)} "
        for pattern, start, end in self._automaton.find_matches_as_indexes(haystack, overlapping=True):
            first, stop = bisect_left(starts, start), bisect_left(starts, end - 1)
            key = self._keys[pattern]
            index = self._any_case.get(key)
            if cased := self._exact.get(key):
                exact = " ".join(exact_form(text[a:b]) for a, b in spans[first:stop])
                index = cased.get(exact, index)
            if index is not None:
                yield _Hit(first, stop, len(key), index)
