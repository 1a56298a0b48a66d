"""Selection of a lexicon's terms from the evidence in a text."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

from mslm_cli.terms.evidence import Evidence
from mslm_cli.terms.lexicon import GIVEN, Term, matches_case, merge
from mslm_cli.terms.options import TermOptions
from mslm_cli.terms.termhood import Termhood
from mslm_cli.terms.words import WordReader
from mslm_cli.text.tokens import exact_key, folded_key

Link = Callable[[Sequence[str]], Sequence[str | None]]
"""Maps terms to their types, None if unknown."""


class Offered(NamedTuple):
    """Terms from sources other than n-grams.

    given: the user's, with their occurrences. mentions: of the pipeline. pairs: the short and long forms of
    abbreviations. general: the short forms of phrases that are no terms; n-grams with one of them are none.
    """

    given: list[Term]
    mentions: list[Term]
    pairs: list[tuple[Term, Term]]
    general: set[str]

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        mentions: Sequence[Term],
        given: Sequence[Term],
        options: TermOptions,
        reader: WordReader,
    ) -> Self:
        """What the evidence offers, with the frequent ``mentions`` of the pipeline."""
        pairs, general = evidence.abbreviations.pairs(reader, min_count=options.min_count)
        own = [replace(t, count=evidence.given[t.term], doc_count=evidence.given_docs[t.term]) for t in given]
        return cls(own, list(mentions), pairs, general)

    def terms(self) -> Iterator[Term]:
        """All of them."""
        yield from self.given
        yield from self.mentions
        for pair in self.pairs:
            yield from pair


def choose(
    offered: Offered,
    candidates: Sequence[Term],
    options: TermOptions,
    ranking: Termhood,
    link: Link | None = None,
) -> list[Term]:
    """The lexicon's terms, best first: the terms of each source, merged, typed and filtered.

    The user's terms (``given``) come first and are never dropped. A type comes from the user, else from ``link``, else
    from the pipeline; the two forms of an abbreviation share it.

    Args:
        candidates: the n-grams of the text that are terms. ranking: knows all words, and the candidates ``offered``.
    """
    pairs = list(_specific(offered.pairs, ranking, options.min_score))
    forms = [form for pair in pairs for form in pair]
    terms = [_completed(term, ranking) for term in merge([*offered.given, *candidates, *offered.mentions, *forms])]
    terms = _with_shared_types(_linked(terms, link), pairs)
    if options.types:
        terms = [t for t in terms if t.type in options.types or (t.type is None and _is_given(t))]
    terms.sort(key=lambda t: (-t.score, t.term, matches_case(t)))
    own = [term for term in terms if _is_given(term)]
    return own + [term for term in terms if not _is_given(term)][: max(0, options.max_terms - len(own))]


def _is_given(term: Term) -> bool:
    return not GIVEN.isdisjoint(term.sources)


def _specific(pairs: Sequence[tuple[Term, Term]], ranking: Termhood, min_score: float) -> Iterator[tuple[Term, Term]]:
    """The abbreviations whose long form would reach the score if it were as frequent as its most frequent short form.

    A short form can look like a general word ("AT"), so it takes the specificity of its long form.
    """
    counts: Counter[str] = Counter()
    for short, long in pairs:
        counts[long.term] = max(counts[long.term], short.count, long.count)
    for short, long in pairs:
        if ranking.score(long.term, counts[long.term]) >= min_score:
            yield replace(short, score=ranking.score(long.term, short.count, n_words=1)), long


def _completed(term: Term, ranking: Termhood) -> Term:
    """``term`` with the largest of its counts, a score if it has none, and an explicit case rule."""
    count, doc_count = ranking.count(term)
    count, doc_count = max(count, term.count), max(doc_count, term.doc_count)
    score = term.score or ranking.score(term.term, count)
    return replace(term, count=count, doc_count=doc_count, score=score, case_sensitive=matches_case(term))


def _linked(terms: list[Term], link: Link | None) -> list[Term]:
    """``terms`` with types from ``link``, except where the user gave a type."""
    if link is None:
        return terms
    asked = [i for i, term in enumerate(terms) if term.type is None or not _is_given(term)]
    typed = list(terms)
    for i, found in zip(asked, link([terms[i].term for i in asked]), strict=True):
        typed[i] = replace(terms[i], type=found or terms[i].type)
    return typed


def _with_shared_types(terms: list[Term], pairs: Sequence[tuple[Term, Term]]) -> list[Term]:
    """``terms`` where an untyped form of an abbreviation gets the type of the other form."""
    types = {_key(term): term.type for term in terms}
    for short, long in pairs:
        one, other = _key(short), _key(long)
        types[one] = types.get(one) or types.get(other)
        types[other] = types.get(other) or types[one]
    return [term if term.type else replace(term, type=types[_key(term)]) for term in terms]


def _key(term: Term) -> str:
    return (exact_key if matches_case(term) else folded_key)(term.term)
