"""Counting the candidate terms of a text in one pass over its sentences."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mslm_cli.terms.words import CLASSIFIERS, DETERMINERS, END, Kind, Word, shown

_AT_SENTENCE_START = ""


@dataclass
class CandidateCounts:
    """What one pass over a text counts; grows with the distinct candidates, not with the text.

    A candidate is an n-gram inside a run of words that are no stop words. It holds a content
    word; begins with that or a partner word; and ends with one, or with a weak word behind a
    content word. Keys are the words' forms joined by spaces. ``n_words`` is the number of words,
    punctuation left out.

    ``words``: occurrences of the words of all runs; ``content``: those of content words alone.
    ``ends``: occurrences of a content word before punctuation, a stop word or a weak word, which
    nouns have and attributive adjectives have not. ``before_determiner``: occurrences before
    "the", "a" and the like, which transitive verbs have and nouns have not.
    """

    max_words: int
    n_words: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    doc_counts: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    content: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    before_determiner: Counter[str] = field(default_factory=Counter)
    _surfaces: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add_document(self, sentences: Iterable[list[Word]]) -> None:
        """Count the candidates of one document, given as the words of its sentences."""
        counts: Counter[str] = Counter()
        for words in sentences:
            self.n_words += sum(word.form[:1].isalnum() for word in words)
            for start, run, following in _runs(words):
                self._count_words(run, following)
                counts.update(self._candidates(run, is_at_start=start == 0))
        self.counts.update(counts)
        self.doc_counts.update(counts.keys())

    def _count_words(self, run: list[Word], following: Word) -> None:
        for word, after in zip(run, [*run[1:], following], strict=True):
            self.words[word.form] += 1
            if word.kind is Kind.CONTENT:
                self.content[word.form] += 1
                if after.kind in (Kind.BREAK, Kind.WEAK):
                    self.ends[word.form] += 1
                if after.form in DETERMINERS:
                    self.before_determiner[word.form] += 1

    def _candidates(self, run: list[Word], *, is_at_start: bool) -> Iterator[str]:
        for i, first in enumerate(run):
            if first.kind < Kind.PARTNER and not (
                first.form in CLASSIFIERS and i + 1 < len(run) and run[i + 1].kind is Kind.WEAK
            ):
                continue
            has_content = False
            for j in range(i, min(len(run), i + self.max_words)):
                kind = run[j].kind
                has_content |= kind is Kind.CONTENT
                if not has_content or kind is Kind.GENERAL:
                    continue
                if kind is Kind.WEAK and run[j - 1].kind is not Kind.CONTENT:
                    continue
                form = first.form if i == j else " ".join([word.form for word in run[i : j + 1]])
                surface = first.surface if i == j else shown(run[i : j + 1])
                if form != surface:
                    # A capital at the start of a sentence says nothing about the term's spelling.
                    is_capitalised = is_at_start and i == 0 and first.surface[1:] == first.form[1:]
                    self._surfaces[form][_AT_SENTENCE_START if is_capitalised else surface] += 1
                yield form

    def surface(self, form: str) -> tuple[str, int]:
        """The most frequent spelling of a candidate, and its count (plain lower case where it is never shown)."""
        spellings = self._surfaces.get(form)
        if not spellings:
            return form, self.counts[form]
        others = {surface: n for surface, n in spellings.items() if surface != _AT_SENTENCE_START}
        n_folded = self.counts[form] - spellings.total()
        best, n_best = min(others.items(), key=lambda pair: (-pair[1], pair[0]), default=(form, 0))
        return (best, n_best) if n_best > n_folded else (form, n_folded + spellings[_AT_SENTENCE_START])


def _runs(words: list[Word]) -> Iterator[tuple[int, list[Word], Word]]:
    """The runs of words without a break: where each starts, its words, and the break behind it."""
    start = 0
    for i, word in enumerate([*words, END]):
        if word.kind is Kind.BREAK:
            if start < i:
                yield start, words[start:i], word
            start = i + 1
