"""Matching a lexicon's terms in text."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, MatchKind

from mslm_cli.terms.definitions import plural
from mslm_cli.terms.lexicon import ABBREVIATION, Term, matches_case, type_names
from mslm_cli.text.tokens import exact_form, exact_key, folded_form, folded_key, token_spans, tokenise

_LONG = 512
"""Characters of text from which on arrays are faster than lists."""
_SPACE = ord(" ")
_TO_INK = bytes(code > 127 or not chr(code).isspace() for code in range(256))
"""A table for ``bytes.translate``: 1 for what is no white space."""


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
        return self._find_ascii(text) if text.isascii() else self._find_any(text)

    def _find_ascii(self, text: str) -> list[Match]:
        exact = f" {' '.join(tokenise(text))} "
        folded = exact.lower()
        chosen = self._choose(folded, lambda start, end: exact[start:end])
        if not chosen:
            return []
        if len(text) >= _LONG:
            return _in_ascii(text, folded, chosen)
        spans = token_spans(text)
        starts = _starts(end - start for start, end in spans)
        return _in_tokens(spans, starts, chosen)

    def _find_any(self, text: str) -> list[Match]:
        spans = token_spans(text)
        tokens = [text[start:end] for start, end in spans]
        forms = [token.lower() if token.isascii() else folded_form(token) for token in tokens]
        if not all(forms):
            spans = [span for span, form in zip(spans, forms, strict=True) if form]
            forms = [form for form in forms if form]
        starts = _starts(map(len, forms))

        def exact(start: int, end: int) -> str:
            within = spans[bisect_left(starts, start) : bisect_left(starts, end)]
            return " ".join(exact_form(text[first:last]) for first, last in within)

        return _in_tokens(spans, starts, self._choose(f" {' '.join(forms)} ", exact))

    def _choose(self, folded: str, exact: Callable[[int, int], str]) -> list[tuple[int, int, int]]:
        """The occurrences in the folded forms of tokens, joined by spaces and with one at both ends; in order.

        Args:
            exact: the exact forms of the tokens at [start, end) of ``folded``.
        """
        hits = []
        any_case, with_case = self._any_case, self._with_case
        for pattern, start, end in self._automaton.find_matches_as_indexes(folded, overlapping=True):
            index = any_case[pattern]
            if cased := with_case[pattern]:
                index = cased.get(exact(start + 1, end - 1), index)
            if index is not None:
                hits.append((start - end, start + 1, index))
        hits.sort()
        taken = bytearray(len(folded))
        chosen = []
        for negative_length, start, index in hits:
            end = start - negative_length - 2
            # A shorter hit cannot contain a chosen one, so checking its two ends is enough.
            if not (taken[start] or taken[end - 1]):
                taken[start:end] = b"\1" * (end - start)
                chosen.append((start, end, index))
        return sorted(chosen)


def _starts(lengths: Iterable[int]) -> list[int]:
    """Where tokens of these lengths start, in a text of tokens between spaces."""
    return list(accumulate((length + 1 for length in lengths), initial=1))


def _in_tokens(
    spans: Sequence[tuple[int, int]], starts: Sequence[int], chosen: Iterable[tuple[int, int, int]]
) -> list[Match]:
    """The occurrences ``chosen`` as characters of a text, from the ``spans`` and ``starts`` of its tokens."""
    return [
        Match(spans[bisect_left(starts, start)][0], spans[bisect_left(starts, end) - 1][1], term)
        for start, end, term in chosen
    ]


def _in_ascii(text: str, folded: str, chosen: Sequence[tuple[int, int, int]]) -> list[Match]:
    """The occurrences ``chosen`` in ``folded``, as characters of ``text``: without the spans of all its tokens.

    Characters other than white space are the same, and in the same order, in the text and in its tokens.
    """
    import numpy as np  # one sentence is searched before it is imported

    in_text = np.flatnonzero(np.frombuffer(text.encode().translate(_TO_INK), np.uint8))
    rank = np.cumsum(np.frombuffer(folded.encode(), np.uint8) != _SPACE) - 1
    starts, ends, terms = zip(*chosen, strict=True)
    firsts, lasts = in_text[rank[np.array([starts, ends]) - [[0], [1]]]]
    return list(map(Match, firsts.tolist(), (lasts + 1).tolist(), terms))
