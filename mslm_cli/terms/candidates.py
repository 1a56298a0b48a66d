"""Counting the candidate terms of a text in one pass over its sentences."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mslm_cli.terms.tables import Tables
from mslm_cli.terms.words import CLASSIFIERS, DETERMINERS, END, Word, WordClass, shown
from mslm_cli.text.tokens import is_word

_AT_SENTENCE_START = ""


@dataclass
class CandidateCounts(Tables):
    """Counts from one pass over a text; memory grows with the distinct candidates, not with the text.

    A candidate is an n-gram in a run of words without stop words. It contains a content word, begins with a content
    or partner word, and ends with one or with a weak word after a content word. It says nothing twice ("Surgery
    Surgery": a title and the first word below it), unless it is the name of a species ("Naja naja"). Keys are the
    words' forms, joined by spaces. ``n_words`` is the number of words without punctuation.

    ``words``: occurrences of the words in all runs; ``content``: of content words only. ``ends``: occurrences of a
    content word before punctuation, a stop word or a weak word, typical of nouns but not of attributive adjectives.
    ``before_determiner``: occurrences before a determiner ("the", "a"), typical of transitive verbs but not of nouns.
    ``surfaces``: the spellings of candidates that differ from the key.
    """

    n_words: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    doc_counts: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    content: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    before_determiner: Counter[str] = field(default_factory=Counter)
    surfaces: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add_document(self, sentences: Iterable[list[Word]], *, max_words: int) -> None:
        """Count the candidates of up to ``max_words`` words in one document, given as words by sentence."""
        counts: Counter[str] = Counter()
        for words in sentences:
            self.n_words += sum(is_word(word.form) for word in words)
            for start, run, following in _runs(words):
                self._count_words(run, following)
                counts.update(self._candidates(run, max_words, is_at_start=start == 0))
        self.counts.update(counts)
        self.doc_counts.update(counts.keys())

    def _count_words(self, run: list[Word], following: Word) -> None:
        for word, after in zip(run, [*run[1:], following], strict=True):
            self.words[word.form] += 1
            if word.word_class is WordClass.CONTENT:
                self.content[word.form] += 1
                if after.word_class in (WordClass.BREAK, WordClass.WEAK):
                    self.ends[word.form] += 1
                if after.form in DETERMINERS:
                    self.before_determiner[word.form] += 1

    def _candidates(self, run: list[Word], max_words: int, *, is_at_start: bool) -> Iterator[str]:
        says_twice = len({word.form for word in run}) < len(run)
        for i, first in enumerate(run):
            if first.word_class < WordClass.PARTNER and not (
                first.form in CLASSIFIERS and i + 1 < len(run) and run[i + 1].word_class is WordClass.WEAK
            ):
                continue
            has_content = False
            for j in range(i, min(len(run), i + max_words)):
                word_class = run[j].word_class
                has_content |= word_class is WordClass.CONTENT
                if not has_content or word_class is WordClass.GENERAL:
                    continue
                if word_class is WordClass.WEAK and run[j - 1].word_class is not WordClass.CONTENT:
                    continue
                if says_twice and j > i:
                    if _repeats(run, i, j + 1):
                        break
                    if j > i + 1 and run[j].form == first.form:
                        continue
                form = first.form if i == j else " ".join([word.form for word in run[i : j + 1]])
                surface = first.surface if i == j else shown(run[i : j + 1])
                if form != surface:
                    # A capital at the start of a sentence says nothing about the term's spelling.
                    is_capitalised = is_at_start and i == 0 and first.surface[1:] == first.form[1:]
                    self.surfaces[form][_AT_SENTENCE_START if is_capitalised else surface] += 1
                yield form

    def surface(self, form: str) -> tuple[str, int]:
        """The most frequent spelling of a candidate and its count (lower case if no other spelling was seen)."""
        spellings = self.surfaces.get(form)
        if not spellings:
            return form, self.counts[form]
        others = {surface: n for surface, n in spellings.items() if surface != _AT_SENTENCE_START}
        n_folded = self.counts[form] - spellings.total()
        best, n_best = min(others.items(), key=lambda pair: (-pair[1], pair[0]), default=(form, 0))
        return (best, n_best) if n_best > n_folded else (form, n_folded + spellings[_AT_SENTENCE_START])


def _repeats(run: list[Word], start: int, end: int) -> bool:
    """Whether some words at the end of [start, end) stand twice in a row."""
    for n in range(1, (end - start) // 2 + 1):
        if all(run[end - k].form == run[end - n - k].form for k in range(1, n + 1)):
            one, other = run[end - 2].surface, run[end - 1].surface
            return n > 1 or not (one[:1].isupper() and other.islower())
    return False


def _runs(words: list[Word]) -> Iterator[tuple[int, list[Word], Word]]:
    """The runs of words without a break: start index, words, and the break that follows."""
    start = 0
    for i, word in enumerate([*words, END]):
        if word.word_class is WordClass.BREAK:
            if start < i:
                yield start, words[start:i], word
            start = i + 1
