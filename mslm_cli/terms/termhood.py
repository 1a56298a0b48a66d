"""Termhood: how likely a word sequence is a domain-specific term of a text.

Score of a term of n words (hyphenated compounds count as one) that occurs f times:

    score = log2(1 + n) * log2(1 + f') * specificity^2
    f' = f - mean f of the longer noun-like candidates that contain it           (C-value)
    specificity = mean over its content words of min(contrast, rarity), not below 0, + 0.4 * cohesion
    contrast = log10((a + s) / (g + s)),  rarity = 6 - log10(1000 g)
    cohesion = log10((f - 1) / f0) / (n - 1) / 3, between 0 and 1; 0 for single words

where a and g are a word's occurrences per million words in the text and in general English (package wordfreq;
log10(1000 g) is its Zipf value, 0 for unknown words), s is half an occurrence in the text, per million words, but at
least 0.01, where wordfreq's lists end, and f0 is the number of occurrences expected by chance from the counts of the
words. Cohesion makes terms out of common words ("heart failure"); f - 1 discounts chance pairs of rare words.

If a background text of general English is given and contains the whole term, the term's own contrast with it is an
upper bound of its specificity, with f for a, its occurrences in the background for g, and half an occurrence in the
smaller text for s. For a term that is not in the background, the rarity of its words decides: absence from a small text
says little.

Source: C-value from Frantzi, Ananiadou and Mima 2000 (section 2.3). Differences: 1 + n, so that single words have a
value; a logarithm of the frequency, so that frequency alone does not dominate; and squared specificity: at the same
lexicon size and recall, it gives higher precision against gold mentions (NCBI-disease devel).
"""

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Self

from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.lexicon import TERMHOOD, Term, is_short_capitals, is_too_short, matches_case
from mslm_cli.terms.words import WordClass, WordReader

FORMULA = "log2(1 + words) * log2(1 + count - mean count of containing candidates) * specificity^2"
COUNT = (
    "occurrences of a candidate n-gram, including nested ones; for other terms the maximum of: mentions by the"
    " pipeline, occurrences of an abbreviation's forms in documents that define it, matches of the user's list"
)

# Minimum fractions for words to count as nouns: the last word of several, a word on its own.
_MIN_HEAD, _MIN_HEAD_ALONE = 0.2, 0.25
_MAX_BEFORE_DETERMINER = 0.12
_MAX_ZIPF = 6.0
_RAREST = 1e-8
_COHESION_WEIGHT = 0.4
_MAX_LINK = 3.0
_PRIOR_WEIGHT = 5.0
_SUFFIX = 3
_MAX_WEIGHT = 20
_UNIT = 1 << 20


def general_english() -> Mapping[str, float]:
    """The relative frequencies of words in general English, by folded word."""
    import wordfreq

    frequencies: Mapping[str, float] = wordfreq.get_frequency_dict("en", wordlist="best")
    return frequencies


class Termhood:
    """Scores the terms of a text from its counts."""

    def __init__(
        self,
        counts: CandidateCounts,
        general: Mapping[str, float],
        reader: WordReader,
        background: CandidateCounts | None = None,
        fractions: "tuple[SmoothedFraction, SmoothedFraction] | None" = None,
    ) -> None:
        """``fractions``: of words that end a noun phrase, and stand before a determiner; default: from ``counts``."""
        self._counts = counts
        self._background = background
        self._general = general
        self._reader = reader
        self._fractions = fractions
        self._specificities: dict[str, float] = {}

    def ranked(self, *, min_count: int, min_score: float) -> list[Term]:
        """The candidates that look like noun phrases and reach both thresholds, best first."""
        nouns = dict(self.noun_like(min_count))
        nested = {part: total / n for part, (total, n) in containing(nouns, nouns).items()}
        return self.rank(nouns, nested, min_count=min_count, min_score=min_score)

    def rank(
        self, nouns: Iterable[str], nested: Mapping[str, float], *, min_count: int, min_score: float
    ) -> list[Term]:
        """Those of the candidates ``nouns`` that reach both thresholds, best first.

        Args:
            nested: for each one that longer ones contain, their mean count.
        """
        counts = self._counts
        terms = []
        for form in nouns:
            surface, n_surface = counts.surface(form)
            count = n_surface if is_short_capitals(surface) else counts.counts[form]
            words = form.split()
            content = [word for word in words if word in counts.content]
            score = _score(len(words), count - nested.get(form, 0.0), self._specificity(words, content, count))
            if count >= min_count and score >= min_score and score > 0:
                terms.append(Term(surface, (TERMHOOD,), None, count, min(count, counts.doc_counts[form]), score))
        return sorted(terms, key=lambda term: (-term.score, term.term))

    def noun_like(self, min_count: int) -> Iterator[tuple[str, int]]:
        """The frequent candidates that can be noun phrases, and their counts."""
        counts = self._counts
        heads, verbs = self._fractions or (
            SmoothedFraction.of(counts.ends, counts.content),
            SmoothedFraction.of(counts.before_determiner, counts.content),
        )
        for form, n in counts.counts.items():
            last = form.rsplit(" ", 1)[-1]
            if n < min_count:
                continue
            if last.endswith("'s") or (last.endswith("ed") and not last.endswith("eed") and len(last) > 4):
                continue
            if any(word in counts.content and verbs[word] > _MAX_BEFORE_DETERMINER for word in form.split()):
                continue
            surface, _ = counts.surface(form)
            min_head = _MIN_HEAD_ALONE if last == form else _MIN_HEAD
            if not is_too_short(surface) and (
                last not in counts.content or heads[last] >= min_head or _is_symbol(surface.rsplit(" ", 1)[-1])
            ):
                yield form, n

    def score(self, term: str, count: int, *, n_words: int | None = None) -> float:
        """The score of any term that occurs ``count`` times, ignoring nesting.

        ``n_words``: the length to use instead of the term's own.
        """
        words = [word for word in self._reader.read(term) if word.word_class is not WordClass.BREAK]
        content = [word.form for word in words if word.word_class is WordClass.CONTENT]
        specificity = self._specificity([word.form for word in words], content, count)
        return _score(n_words or len(words), count, specificity)

    def count(self, term: Term) -> tuple[int, int]:
        """Occurrences of ``term`` as a candidate, and the documents with one; zeros if it is not a candidate."""
        form = form_of(term, self._reader)
        if matches_case(term):
            surface, n = self._counts.surface(form)
            return (n, min(n, self._counts.doc_counts[form])) if surface == term.term else (0, 0)
        return self._counts.counts[form], self._counts.doc_counts[form]

    def _specificity(self, words: list[str], content: list[str], count: int) -> float:
        if not content:
            return 0.0
        mean = sum(map(self._word_specificity, content)) / len(content)
        return min(mean + _COHESION_WEIGHT * self._cohesion(words, count), self._contrast(words, count))

    def _contrast(self, words: list[str], count: int) -> float:
        """log10 of how much more frequent the term is here than in the background; infinite if absent there."""
        background = self._background
        if background is None or not (n_background := background.counts[" ".join(words)]):
            return math.inf
        n_words, n_background_words = max(1, self._counts.n_words), background.n_words
        smoothing = 0.5 / min(n_words, n_background_words)
        ratio = (count / n_words + smoothing) / (n_background / n_background_words + smoothing)
        return max(0.0, math.log10(ratio))

    def _word_specificity(self, form: str) -> float:
        known = self._specificities.get(form)
        if known is None:
            general = self._general.get(form, 0.0)
            n_words = max(1, self._counts.n_words)
            smoothing = max(0.5 / n_words, _RAREST)
            contrast = math.log10((self._counts.content[form] / n_words + smoothing) / (general + smoothing))
            rarity = _MAX_ZIPF - (math.log10(general * 1e9) if general else 0.0)
            known = self._specificities[form] = max(0.0, min(contrast, rarity))
        return known

    def _cohesion(self, words: list[str], count: int) -> float:
        counts = self._counts
        if len(words) == 1 or count <= 1 or not all(word in counts.words for word in words):
            return 0.0
        by_chance = counts.n_words * math.prod(counts.words[word] / counts.n_words for word in words)
        link = math.log10((count - 1) / by_chance) / (len(words) - 1)
        return max(0.0, min(link, _MAX_LINK)) / _MAX_LINK


def form_of(term: Term, reader: WordReader) -> str:
    """What a term is counted under as a candidate."""
    return " ".join(word.form for word in reader.read(term.term))


def _score(n_words: int, frequency: float, specificity: float) -> float:
    return round(math.log2(1 + n_words) * math.log2(1 + max(0.0, frequency)) * specificity**2, 3)


def _is_symbol(word: str) -> bool:
    """Whether ``word`` looks like "BRCA1" or "mRNA": such words occur before nouns and are terms nonetheless."""
    return any(c.isupper() for c in word[1:]) or any(c.isdigit() for c in word)


def containing(counts: Mapping[str, int], among: Container[str] | None = None) -> dict[str, list[int]]:
    """For each part of candidates that is shorter, and in ``among`` if given: the sum of their counts, their number."""
    totals: dict[str, list[int]] = {}
    for form, count in counts.items():
        words = form.split()
        for n in range(1, len(words)):
            for i in range(len(words) - n + 1):
                part = " ".join(words[i : i + n])
                if among is None or part in among:
                    entry = totals.setdefault(part, [0, 0])
                    entry[0] += count
                    entry[1] += 1
    return totals


class SmoothedFraction:
    """The fraction of a word's occurrences with some property, smoothed by words with the same ending.

    Args:
        some: the occurrences with the property. all_of_them: all occurrences.
        endings: the weight and the weighted fraction of words with each ending (see ``sums_by_ending``).
        overall: the fraction of all occurrences of all words.
    """

    def __init__(
        self,
        some: Mapping[str, int],
        all_of_them: Mapping[str, int],
        endings: Mapping[str, Sequence[int]],
        overall: float,
    ) -> None:
        self._some, self._all, self._endings, self._overall = some, all_of_them, endings, overall

    @classmethod
    def of(cls, some: Counter[str], all_of_them: Counter[str]) -> Self:
        """The fractions of all words of ``all_of_them``."""
        endings = sums_by_ending((word, n, [some[word]]) for word, n in all_of_them.items())
        return cls(some, all_of_them, endings, some.total() / max(1, all_of_them.total()))

    def __getitem__(self, word: str) -> float:
        weight, found = self._endings.get(word[-_SUFFIX:], (0, 0))
        prior = (found / _UNIT + 10 * self._overall) / (weight + 10)
        return (self._some[word] + _PRIOR_WEIGHT * prior) / (self._all[word] + _PRIOR_WEIGHT)


def sums_by_ending(words: Iterable[tuple[str, int, Sequence[int]]]) -> dict[str, list[int]]:
    """For each ending of words, the sum of their weights and of their weighted fractions with each property.

    Fractions are in units of 2**-20, rounded down: integers add up to the same sum in any order.

    Args:
        words: each word, its occurrences, and its occurrences with each property.
    """
    sums: dict[str, list[int]] = {}
    for word, n, with_property in words:
        weight = min(n, _MAX_WEIGHT)
        found = sums.setdefault(word[-_SUFFIX:], [0] * (1 + len(with_property)))
        found[0] += weight
        for i, n_some in enumerate(with_property, 1):
            found[i] += weight * n_some * _UNIT // n
    return sums
