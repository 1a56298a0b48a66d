"""Counting the mentions that a pipeline finds."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from mslm_cli.terms.lexicon import Term, identity, is_too_short
from mslm_cli.terms.pipeline import Mention


class MentionCounts:
    """The mentions met so far, their spellings and types; grows with the distinct ones."""

    def __init__(self) -> None:
        self._spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._types: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._doc_counts: Counter[str] = Counter()

    def add_document(self, mentions: Iterable[Mention]) -> None:
        """Count the mentions of one document."""
        keys = set()
        for text, mention_type in mentions:
            if is_too_short(text):
                continue
            key = identity(text, case_sensitive=False)
            keys.add(key)
            self._spellings[key][text] += 1
            if mention_type is not None:
                self._types[key][mention_type] += 1
        self._doc_counts.update(keys)

    def terms(self, source: str, *, min_count: int) -> list[Term]:
        """A term for each mention that occurs often enough: its most frequent spelling, its most frequent type."""
        return [
            Term(
                _most_frequent(spellings),
                (source,),
                _most_frequent(self._types[key]) if key in self._types else None,
                spellings.total(),
                self._doc_counts[key],
            )
            for key, spellings in self._spellings.items()
            if spellings.total() >= min_count
        ]


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts.items(), key=lambda pair: (-pair[1], pair[0]))[0]
