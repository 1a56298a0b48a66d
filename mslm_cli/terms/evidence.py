"""Evidence for terms: counts from all sources, batch by batch."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mslm_cli.terms import pipeline, words
from mslm_cli.terms.abbreviations import AbbreviationCounts
from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.definitions import find_abbreviations
from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.matcher import Matcher
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.terms.tables import Tables
from mslm_cli.terms.words import WordReader, shown
from mslm_cli.text.sentences import chunks
from mslm_cli.text.tokens import without_superscripts

# A pipeline needs many times the memory of the text it gets at once.
_PART_CHARS = 3_000


@dataclass
class Evidence(Tables):
    """Counts from one pass over a text, by source; memory grows with the distinct terms.

    ``given``, ``given_docs``: occurrences of each of the user's terms, and the number of documents with it.
    """

    candidates: CandidateCounts = field(default_factory=CandidateCounts)
    abbreviations: AbbreviationCounts = field(default_factory=AbbreviationCounts)
    mentions: MentionCounts = field(default_factory=MentionCounts)
    given: Counter[str] = field(default_factory=Counter)
    given_docs: Counter[str] = field(default_factory=Counter)
    n_documents: int = 0
    n_sentences: int = 0


class Passage(NamedTuple):
    """A document's text and the [start, end) of its sentences; ``is_tokenised``: spaces separate its tokens."""

    text: str
    sentences: Sequence[tuple[int, int]]
    is_tokenised: bool


class TermFinder:
    """Finds evidence for terms in documents, from each of ``sources`` (pipeline, abbreviation, termhood)."""

    def __init__(self, sources: Sequence[str], pipeline_name: str, given: Sequence[Term], *, max_words: int) -> None:
        """Load the resources of the sources.

        Raises:
            UnavailableError: the pipeline is not installed.
        """
        self._sources = frozenset(sources)
        self._nlp = None
        if "pipeline" in self._sources and pipeline_name != pipeline.NONE:
            self._nlp = pipeline.load_pipeline(pipeline_name)
        self._given = given
        self._matcher = Matcher(given) if given else None
        self._reader = WordReader(words.english())
        self._max_words = max_words

    def evidence(self, passages: Sequence[Passage]) -> Evidence:
        """The evidence in ``passages``, each of which is a document."""
        found = Evidence(n_documents=len(passages))
        for passage in passages:
            self._count(passage, found)
        if self._nlp is not None:
            gathered: list[DetectedMention] = []
            for mentions, is_last in pipeline.find_mentions(self._nlp, _parts(passages)):
                gathered += mentions
                if is_last:
                    found.mentions.add_document(gathered)
                    gathered = []
        return found

    def _count(self, passage: Passage, found: Evidence) -> None:
        text, spans, is_tokenised = passage
        sentences = [text[start:end] for start, end in spans]
        found.n_sentences += len(sentences)
        as_words = [self._reader.read(sentence, is_tokenised=is_tokenised) for sentence in sentences]
        # Words are counted even if n-grams are not a source: the score of every term needs them.
        found.candidates.add_document(as_words, max_words=self._max_words)
        if "abbreviation" in self._sources:
            raw = map(shown, as_words) if is_tokenised else sentences
            defined = (abbreviation for sentence in raw for abbreviation in find_abbreviations(sentence))
            found.abbreviations.add_document(defined, text, self._reader)
        if self._matcher is not None:
            matches = Counter(self._given[match.term].term for match in self._matcher.find(text))
            found.given.update(matches)
            found.given_docs.update(matches.keys())


def _parts(passages: Iterable[Passage]) -> Iterator[tuple[str, bool]]:
    """The text of each document in parts of whole sentences; True marks the last part of a document."""
    for text, sentences, is_tokenised in passages:
        # Pipelines expect hyphens without spaces, and take a superscript for a part of its word.
        plain = [
            without_superscripts(text[start:end])
            for first, last in _groups(sentences)
            for start, end in chunks(text, first, last)
        ]
        parts = [part.replace(" - ", "-") for part in plain] if is_tokenised else plain
        yield from ((part, False) for part in parts[:-1])
        yield parts[-1] if parts else "", True


def _groups(sentences: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """[start, end) of runs of sentences with at most ``_PART_CHARS`` characters, unless one sentence is longer."""
    start, end = -1, 0
    for first, last in sentences:
        if start < 0:
            start = first
        elif last - start > _PART_CHARS:
            yield start, end
            start = first
        end = last
    if start >= 0:
        yield start, end
