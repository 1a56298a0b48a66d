"""The short and long forms that a text defines, counted and freed of what is no term."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from mslm_cli.terms.lexicon import ABBREVIATION, Term, is_too_short
from mslm_cli.terms.pipeline import Abbreviation
from mslm_cli.terms.tokens import exact_key, folded_key
from mslm_cli.terms.words import Kind, WordReader, shown

# Long forms may hold these, unlike candidates: "deficiency of adenosine deaminase".
_INNER = frozenset("of and for in the to with by on or".split())


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
        exact = f" {exact_key(text).replace(' ', '  ')} "
        folded = f" {folded_key(text).replace(' ', '  ')} "
        self._definitions.update(found)
        for form in {pair.short for pair in found}:
            self._add(form, exact.count(f" {exact_key(form).replace(' ', '  ')} "))
        for form in {pair.long for pair in found}:
            self._add(form, folded.count(f" {folded_key(form).replace(' ', '  ')} "))

    def _add(self, form: str, count: int) -> None:
        self._counts[form] += max(1, count)
        self._doc_counts[form] += 1

    def _read(self, text: str) -> str:
        return shown(self._reader.read(text))

    def terms(self, *, min_count: int) -> tuple[list[Term], set[str]]:
        """The terms among the forms, and the short forms that stand for general words ("CI").

        A pair's two forms stand or fall together, by the more frequent one. A short form is matched
        in its own case only.
        """
        n_term: Counter[str] = Counter()
        n_general: Counter[str] = Counter()
        kept: defaultdict[bool, set[str]] = defaultdict(set)
        for (short, long), n in self._definitions.items():
            if not self._is_form(short) or is_too_short(short) or not any(c.isupper() for c in short):
                continue
            if not self._is_term(long):
                n_general[short] += n
                continue
            n_term[short] += n
            if max(self._counts[short], self._counts[long]) >= min_count:
                kept[True].add(short)
                kept[False].add(long)
        general = {short for short, n in n_general.items() if n > n_term[short]}
        terms = [
            Term(form, (ABBREVIATION,), None, self._counts[form], self._doc_counts[form], case_sensitive=is_short)
            for is_short, forms in kept.items()
            for form in forms - general
        ]
        return terms, general
