"""Candidate pairs: the pairs of entities of a document that may be related."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from mslm_cli.corpus.relations import RelationDocument

MAX_PAIRS = 2000
"""Candidates of one document; of more, the nearest are kept, which bounds time and memory."""

Scope = Literal["sentence", "document"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Words = tuple[int, int]


class Instance(NamedTuple):
    """A mention of the head and one of the tail: words [first, last) of the document; ``distance``: words between."""

    distance: int
    head: Words
    tail: Words


class Pair(NamedTuple):
    """A candidate: the numbers of the two entities, and the mentions that stand for them, nearest first."""

    head: int
    tail: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class PairRules:
    """Which pairs are candidates.

    types: of head and tail. scope: whether both must be mentioned in one sentence. max_distance: words between them;
    0 for any number. n_instances: how many pairs of mentions stand for a pair of concepts, the nearest first.
    """

    types: frozenset[tuple[str, str]]
    scope: Scope = "sentence"
    max_distance: int = 0
    n_instances: int = 1


def related_types(documents: Iterable[RelationDocument]) -> frozenset[tuple[str, str]]:
    """The types of head and tail of all relations, and of all pairs that the input lists."""
    return frozenset(
        (document.entities[head].type, document.entities[tail].type)
        for document in documents
        for head, tail in (*((h, t) for h, t, _ in document.relations), *(document.pairs or ()))
    )


def words_between(one: Words, other: Words) -> int:
    """The number of words between two mentions; 0 if they overlap."""
    return max(0, max(one[0], other[0]) - min(one[1], other[1]))


def candidates(document: RelationDocument, rules: PairRules) -> tuple[list[Pair], int]:
    """The candidate pairs, in order of head and tail, and how many more there are beyond ``MAX_PAIRS``.

    If the input lists the pairs, these are the candidates.
    """
    if document.pairs is not None:
        anywhere = PairRules(rules.types, "document", 0, rules.n_instances)
        return [Pair(h, t, tuple(_instances(document, h, t, anywhere))) for h, t in document.pairs], 0
    n_found = 0

    def counted() -> Iterator[tuple[int, Pair]]:
        nonlocal n_found
        for pair in _admissible(document, rules):
            n_found += 1
            yield pair.instances[0].distance, pair

    nearest = heapq.nsmallest(MAX_PAIRS, counted())
    return sorted(pair for _, pair in nearest), max(0, n_found - MAX_PAIRS)


def _admissible(document: RelationDocument, rules: PairRules) -> Iterator[Pair]:
    places = [_places(document, number, rules.scope) for number in range(len(document.entities))]
    at: dict[tuple[str, int], list[int]] = {}
    for number, (entity, own) in enumerate(zip(document.entities, places, strict=True)):
        for place in own:
            at.setdefault((entity.type, place), []).append(number)
    tails_of = {head: sorted(tail for h, tail in rules.types if h == head) for head, _ in rules.types}
    for head, entity in enumerate(document.entities):
        kinds = tails_of.get(entity.type, ())
        for tail in sorted({tail for kind in kinds for place in places[head] for tail in at.get((kind, place), ())}):
            if head != tail and (instances := tuple(_instances(document, head, tail, rules))):
                yield Pair(head, tail, instances)


def _places(document: RelationDocument, entity: int, scope: Scope) -> set[int]:
    """What an entity must share with another to make a pair: the sentences of its mentions, or the document."""
    if scope == "document":
        return {0}
    return {document.sentence_of(first) for first, _ in document.entities[entity].mentions}


def _instances(document: RelationDocument, head: int, tail: int, rules: PairRules) -> list[Instance]:
    """The nearest mentions of two entities, as many as the rules ask for."""
    heads, tails = document.entities[head].mentions, document.entities[tail].mentions
    found = [
        Instance(distance, one, other)
        for one in heads
        for other in tails
        if (distance := words_between(one, other)) <= (rules.max_distance or distance)
        and (rules.scope == "document" or document.sentence_of(one[0]) == document.sentence_of(other[0]))
    ]
    return sorted(found)[: rules.n_instances] if len(found) > 1 else found
