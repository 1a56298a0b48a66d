"""Counts of mentions, detected by a pipeline or from gold data."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from mslm_cli.terms.lexicon import Term, identity, is_too_short
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.terms.tables import Tables


@dataclass
class MentionCounts(Tables):
    """Spellings and types of the mentions seen so far, by identity; memory grows with the distinct ones."""

    spellings: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    types: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    doc_counts: Counter[str] = field(default_factory=Counter)

    def add_document(self, mentions: Iterable[DetectedMention]) -> None:
        """Count the mentions of one document."""
        keys = set()
        for text, mention_type in mentions:
            if is_too_short(text):
                continue
            key = identity(text)
            keys.add(key)
            self.spellings[key][text] += 1
            if mention_type is not None:
                self.types[key][mention_type] += 1
        self.doc_counts.update(keys)

    def terms(self, source: str, *, min_count: int) -> list[Term]:
        """A term for each identity with at least ``min_count`` mentions: its most frequent spelling and type."""
        return [
            Term(
                _most_frequent(spellings),
                (source,),
                _most_frequent(self.types[key]) if key in self.types else None,
                spellings.total(),
                self.doc_counts[key],
            )
            for key, spellings in sorted(self.spellings.items())
            if spellings.total() >= min_count
        ]


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts.items(), key=lambda pair: (-pair[1], pair[0]))[0]
