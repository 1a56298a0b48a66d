"""Counts of the short and long forms that a text defines, filtered for terms."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ahocorasick_rs import AhoCorasick

from mslm_cli.terms.definitions import Abbreviation, other_number
from mslm_cli.terms.lexicon import ABBREVIATION, Term, is_too_short
from mslm_cli.terms.tables import Tables
from mslm_cli.terms.words import Word, WordClass, WordReader, shown
from mslm_cli.text.tokens import exact_key, folded_key

# Unlike candidates, long forms may contain these: "deficiency of adenosine deaminase".
_INNER = frozenset(["of", "and", "for", "in", "the", "to", "with", "by", "on", "or"])


@dataclass
class AbbreviationCounts(Tables):
    """The abbreviations seen so far, with their occurrences in the documents that define them.

    ``definitions``: for each short form and long form, the number of documents with that definition. ``counts``: of the
    forms, and of the plural or singular of each short form.
    """

    definitions: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    counts: Counter[str] = field(default_factory=Counter)
    doc_counts: Counter[str] = field(default_factory=Counter)

    def add_document(self, abbreviations: Iterable[Abbreviation], text: str, reader: WordReader) -> None:
        """Count all occurrences in ``text``, one document, of the forms that it defines."""
        found = {(shown(reader.read(short)), shown(reader.read(long))) for short, long in abbreviations}
        if not found:
            return
        for short, long in found:
            self.definitions[short][long] += 1
        defined = {form for pair in found for form in pair}
        shorts = {form for short, long in found for form in _both_numbers(short, long)}
        for forms, key in ((shorts, exact_key), ({long for _, long in found}, folded_key)):
            for form, count in _occurrences(sorted(forms), text, key).items():
                if count or form in defined:
                    self.counts[form] += max(1, count)
                    self.doc_counts[form] += 1

    def pairs(self, reader: WordReader, *, min_count: int) -> tuple[list[tuple[Term, Term]], set[str]]:
        """The pairs (short form, long form) that are terms, and the short forms of general phrases ("CI").

        The more frequent form of a pair must occur ``min_count`` times. Most frequent pairs come first.
        Short forms are case-sensitive; if both the singular and the plural of one occur, there is a pair for each.
        """
        frequent: list[tuple[int, str, str]] = []
        general: set[str] = set()
        for short, longs in self.definitions.items():
            if is_too_short(short) or not any(c.isupper() for c in short):
                continue
            of_terms = {long: n for long, n in longs.items() if _is_term(reader.read(long))}
            n_terms = sum(of_terms.values())
            if longs.total() - n_terms > n_terms:
                general.update(form for long in longs for form in _both_numbers(short, long) if self.counts[form])
                continue
            for long, n in of_terms.items():
                forms = _both_numbers(short, long)
                if max(self.counts[form] for form in (*forms, long)) >= min_count:
                    frequent += [(n, form, long) for form in forms if self.counts[form]]
        frequent.sort(key=lambda found: (-found[0], found[1:]))
        return [
            (self._term(short, is_short=True), self._term(long, is_short=False)) for _, short, long in frequent
        ], general

    def _term(self, form: str, *, is_short: bool) -> Term:
        counts = self.counts[form], self.doc_counts[form]
        return Term(form, (ABBREVIATION,), None, *counts, case_sensitive=is_short or None)


def _both_numbers(short: str, long: str) -> list[str]:
    """The short form of ``long`` as it was defined, then its plural or singular, if it has one."""
    return [form for form in (short, other_number(short, long)) if form]


def _is_term(words: list[Word]) -> bool:
    return (
        any(word.word_class is WordClass.CONTENT for word in words)
        and words[0].word_class is not WordClass.BREAK
        and words[-1].word_class is not WordClass.BREAK
        and all(word.word_class is not WordClass.BREAK or word.form in _INNER for word in words)
    )


def _occurrences(forms: list[str], text: str, key: Callable[[str], str]) -> dict[str, int]:
    """The occurrences of each form in ``text``, compared by ``key``."""
    automaton = AhoCorasick([f" {key(form)} " for form in forms])
    found = Counter(i for i, _, _ in automaton.find_matches_as_indexes(f" {key(text)} ", overlapping=True))
    return {form: found[i] for i, form in enumerate(forms)}
