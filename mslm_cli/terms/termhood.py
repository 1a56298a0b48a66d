"""How much of a domain-specific term a word sequence is, judged by the text it stands in.

Score of a term of n words (hyphenated compounds count as one) that occurs f times:

    score = log2(1 + n) * log2(1 + f') * specificity^2
    f' = f - mean f of the longer noun-like candidates that contain it           (C-value)
    specificity = mean over its content words of min(contrast, rarity), not below 0, + 0.4 * cohesion
    contrast = log10((a + s) / (g + s)),  rarity = 6 - log10(1000 g)
    cohesion = log10((f - 1) / f0) / (n - 1) / 3, between 0 and 1; 0 for single words

with a and g a word's occurrences per million words in the text and in general English
(package wordfreq; log10(1000 g) is its Zipf value, 0 for a word it does not know), s half
an occurrence in the text, per million words, at least 0.01, where wordfreq's lists end, and
f0 the occurrences there would be by chance, from those of the words. Cohesion is what makes a
term of common words ("heart failure"); f - 1 keeps chance meetings of rare words down.

Source: C-value from Frantzi, Ananiadou and Mima 2000 (section 2.3). Departures: 1 + n, so that single
words have a value; a logarithm of the frequency, so that frequent words do not win by frequency
alone; and specificity, squared: among lexicons of one size those match gold mentions more
precisely, at the same recall (NCBI-disease devel).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.lexicon import TERMHOOD, Term, is_short_capitals, is_too_short, matches_case
from mslm_cli.terms.words import Kind, WordReader

FORMULA = "log2(1 + words) * log2(1 + count - mean count of containing candidates) * specificity^2"
COUNT = (
    "occurrences of a candidate n-gram, nested ones included; of other terms the largest of: mentions by the pipeline,"
    " occurrences of an abbreviation's forms in documents that define it, matches of the user's list"
)

# Shares that words must reach to be taken for nouns: the last word of several, a word on its own.
_MIN_HEAD, _MIN_HEAD_ALONE = 0.2, 0.25
_MAX_BEFORE_DETERMINER = 0.12
_MAX_ZIPF = 6.0
_RAREST = 1e-8
_COHESION_WEIGHT = 0.4
_MAX_LINK = 3.0
_PRIOR_WEIGHT = 5.0
_SUFFIX = 3


def general_english() -> Mapping[str, float]:
    """The relative frequency of words in general English, by folded word."""
    import wordfreq

    frequencies: Mapping[str, float] = wordfreq.get_frequency_dict("en", wordlist="best")
    return frequencies


class Termhood:
    """Scores for the terms of a counted text."""

    def __init__(self, counts: CandidateCounts, general: Mapping[str, float], reader: WordReader) -> None:
        self._counts = counts
        self._general = general
        self._reader = reader
        self._specificities: dict[str, float] = {}

    def ranked(self, *, min_count: int, min_score: float) -> list[Term]:
        """The candidates that look like noun phrases and reach both bounds, best first."""
        counts = self._counts
        nouns = dict(self._noun_like(min_count))
        nested = _mean_count_of_containing(nouns)
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

    def _noun_like(self, min_count: int) -> Iterator[tuple[str, int]]:
        """The frequent candidates that can be noun phrases, and their counts."""
        counts = self._counts
        heads = _SmoothedShare(counts.ends, counts.content)
        verbs = _SmoothedShare(counts.before_determiner, counts.content)
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
        """The score of any term that occurs ``count`` times, nesting left out of account.

        ``n_words``: the length to go by, if it is not the term's own.
        """
        words = [word for word in self._reader.read(term) if word.kind is not Kind.BREAK]
        content = [word.form for word in words if word.kind is Kind.CONTENT]
        specificity = self._specificity([word.form for word in words], content, count)
        return _score(n_words or len(words), count, specificity)

    def count(self, term: Term) -> tuple[int, int]:
        """Occurrences of ``term`` as a candidate, and the documents that hold one; zeros if it is none."""
        form = " ".join(word.form for word in self._reader.read(term.term))
        if matches_case(term):
            surface, n = self._counts.surface(form)
            return (n, min(n, self._counts.doc_counts[form])) if surface == term.term else (0, 0)
        return self._counts.counts[form], self._counts.doc_counts[form]

    def _specificity(self, words: list[str], content: list[str], count: int) -> float:
        if not content:
            return 0.0
        mean = sum(map(self._word_specificity, content)) / len(content)
        return mean + _COHESION_WEIGHT * self._cohesion(words, count)

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


def _score(n_words: int, frequency: float, specificity: float) -> float:
    return round(math.log2(1 + n_words) * math.log2(1 + max(0.0, frequency)) * specificity**2, 3)


def _is_symbol(word: str) -> bool:
    """Whether ``word`` is written like "BRCA1" or "mRNA": such words stand before nouns and are terms nonetheless."""
    return any(c.isupper() for c in word[1:]) or any(c.isdigit() for c in word)


def _mean_count_of_containing(counts: Mapping[str, int]) -> dict[str, float]:
    """For each candidate inside longer ones, the mean of their counts."""
    totals: dict[str, list[int]] = {}
    for form, count in counts.items():
        words = form.split()
        for n in range(1, len(words)):
            for i in range(len(words) - n + 1):
                part = " ".join(words[i : i + n])
                if part in counts:
                    entry = totals.setdefault(part, [0, 0])
                    entry[0] += count
                    entry[1] += 1
    return {part: total / n for part, (total, n) in totals.items()}


class _SmoothedShare:
    """The share of a word's occurrences that are of some kind; rare words lean on words with the same ending."""

    def __init__(self, some: Counter[str], all_of_them: Counter[str]) -> None:
        self._some, self._all = some, all_of_them
        self._overall = some.total() / max(1, all_of_them.total())
        endings: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for word, n in all_of_them.items():
            weight = min(n, 20)
            entry = endings[word[-_SUFFIX:]]
            entry[0] += weight * some[word] / n
            entry[1] += weight
        self._of_ending = {
            ending: (share + 10 * self._overall) / (weight + 10) for ending, (share, weight) in endings.items()
        }

    def __getitem__(self, word: str) -> float:
        prior = self._of_ending.get(word[-_SUFFIX:], self._overall)
        return (self._some[word] + _PRIOR_WEIGHT * prior) / (self._all[word] + _PRIOR_WEIGHT)
