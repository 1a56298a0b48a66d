"""The short and long forms that a text defines, counted and freed of what is no term."""

from collections import Counter
from collections.abc import Callable, Iterable

from ahocorasick_rs import AhoCorasick

from mslm_cli.terms.lexicon import ABBREVIATION, Term, is_too_short
from mslm_cli.terms.pipeline import Abbreviation
from mslm_cli.terms.tokens import exact_key, folded_key
from mslm_cli.terms.words import Kind, WordReader, shown

# Long forms may hold these, unlike candidates: "deficiency of adenosine deaminase".
_INNER = frozenset(["of", "and", "for", "in", "the", "to", "with", "by", "on", "or"])


class AbbreviationCounts:
    """The abbreviations met so far, with their occurrences in the documents that define them."""

    def __init__(self, reader: WordReader) -> None:
        self._reader = reader
        self._definitions: Counter[Abbreviation] = Counter()
        self._counts: Counter[str] = Counter()
        self._doc_counts: Counter[str] = Counter()

    def add_document(self, abbreviations: Iterable[Abbreviation], text: str) -> None:
        """Count the forms that one document defines, wherever they stand in its ``text``."""
        found = {Abbreviation(self._read(short), self._read(long)) for short, long in abbreviations}
        if not found:
            return
        self._definitions.update(sorted(found))  # an order that is the same in every process
        for forms, key in (({pair.short for pair in found}, exact_key), ({pair.long for pair in found}, folded_key)):
            for form, count in _occurrences(sorted(forms), text, key).items():
                self._counts[form] += max(1, count)
                self._doc_counts[form] += 1

    def _read(self, text: str) -> str:
        return shown(self._reader.read(text))

    def pairs(self, *, min_count: int) -> tuple[list[tuple[Term, Term]], set[str]]:
        """The pairs (short form, long form) that are terms, and the short forms of general words ("CI").

        The more frequent form of a pair must occur ``min_count`` times. Most frequent pairs come first.
        A short form is matched in its own case only.
        """
        n_term: Counter[str] = Counter()
        n_general: Counter[str] = Counter()
        frequent: list[Abbreviation] = []
        for pair, n in self._definitions.most_common():
            if is_too_short(pair.short) or not any(c.isupper() for c in pair.short):
                continue
            if not self._is_term(pair.long):
                n_general[pair.short] += n
                continue
            n_term[pair.short] += n
            if max(self._counts[pair.short], self._counts[pair.long]) >= min_count:
                frequent.append(pair)
        general = {short for short, n in n_general.items() if n > n_term[short]}
        kept = [
            (self._term(short, is_short=True), self._term(long, is_short=False))
            for short, long in frequent
            if short not in general
        ]
        return kept, general

    def _term(self, form: str, *, is_short: bool) -> Term:
        counts = self._counts[form], self._doc_counts[form]
        return Term(form, (ABBREVIATION,), None, *counts, case_sensitive=is_short)

    def _is_term(self, long: str) -> bool:
        words = self._reader.read(long)
        return (
            any(word.kind is Kind.CONTENT for word in words)
            and words[0].kind is not Kind.BREAK
            and words[-1].kind is not Kind.BREAK
            and all(word.kind is not Kind.BREAK or word.form in _INNER for word in words)
        )


def _occurrences(forms: list[str], text: str, key: Callable[[str], str]) -> dict[str, int]:
    """How often each form stands in ``text``, both compared by their ``key``."""
    automaton = AhoCorasick([f" {key(form)} " for form in forms])
    found = Counter(i for i, _, _ in automaton.find_matches_as_indexes(f" {key(text)} ", overlapping=True))
    return {form: found[i] for i, form in enumerate(forms)}
