"""Our scorer against seqeval's strict IOB2 mode on noisy tags: equal to the last count."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities

from mslm_cli.corpus.labels import mentions_from_tags, strict_mentions
from mslm_cli.evaluation.exact_match import exact_match

TYPED = ["O", "B-X", "I-X", "B-Y", "I-Y", "B-cell-type", "I-cell-type"]
BARE = ["O", "B", "I"]
TagPairs = list[tuple[list[str], list[str]]]


@st.composite
def noisy_tags(draw: st.DrawFn, tags: list[str]) -> TagPairs:
    """Sentences with gold tags and predicted ones, the latter the gold with some tags changed; orphans in both."""
    pairs = []
    for gold in draw(st.lists(st.lists(st.sampled_from(tags), min_size=1, max_size=12), min_size=1, max_size=6)):
        noise = draw(st.lists(st.one_of(st.none(), st.sampled_from(tags)), min_size=len(gold), max_size=len(gold)))
        pairs.append((gold, [new or old for new, old in zip(noise, gold, strict=True)]))
    return pairs


def seqeval_counts(pairs: TagPairs) -> dict[str, tuple[int, int, int]]:
    """Gold, predicted and correct mentions of each type by seqeval's own strict entities."""
    sides = [Entities([pair[side] for pair in pairs], IOB2) for side in (0, 1)]
    gold, predicted = ({entity.to_tuple() for sentence in side.entities for entity in sentence} for side in sides)
    counts = {}
    for kind in {entity[1] for entity in gold | predicted}:
        of_kind = [{entity for entity in side if entity[1] == kind} for side in (gold, predicted, gold & predicted)]
        counts[kind] = (len(of_kind[0]), len(of_kind[1]), len(of_kind[2]))
    return counts


def our_counts(pairs: TagPairs) -> dict[str, tuple[int, int, int]]:
    scores = exact_match([strict_mentions(gold) for gold, _ in pairs], [strict_mentions(found) for _, found in pairs])
    per_type = {kind: (score.gold, score.predicted, score.correct) for kind, score in scores.per_type.items()}
    micro = (scores.micro.gold, scores.micro.predicted, scores.micro.correct)
    assert micro == tuple(sum(count[i] for count in per_type.values()) for i in range(3))
    return per_type


@settings(max_examples=400)
@given(noisy_tags(TYPED))
def test_typed_counts_equal_seqeval(pairs: TagPairs) -> None:
    assert our_counts(pairs) == seqeval_counts(pairs)


@settings(max_examples=200)
@given(noisy_tags(BARE))
def test_bare_counts_equal_seqeval(pairs: TagPairs) -> None:
    assert list(our_counts(pairs).values()) == list(seqeval_counts(pairs).values())


@settings(max_examples=200)
@given(noisy_tags(TYPED))
def test_scores_equal_seqeval(pairs: TagPairs) -> None:
    gold, predicted = [gold for gold, _ in pairs], [predicted for _, predicted in pairs]
    scores = exact_match(list(map(strict_mentions, gold)), list(map(strict_mentions, predicted)))
    if not scores.per_type:
        assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0.0, 0.0, 0.0)
        return
    # seqeval takes types from tags; those of orphans alone have no mention here and would pull its macro down.
    types = {tag[2:] for sentence in (*gold, *predicted) for tag in sentence if tag != "O"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined shares, which are 0.0 on both sides
        micro = precision_recall_fscore_support(gold, predicted, average="micro", scheme=IOB2, zero_division=0)
        macro = precision_recall_fscore_support(gold, predicted, average="macro", scheme=IOB2, zero_division=0)
        by_type = precision_recall_fscore_support(gold, predicted, average=None, scheme=IOB2, zero_division=0)
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == pytest.approx(micro[:3])
    if types == scores.per_type.keys():
        assert tuple(scores.macro.values()) == pytest.approx(macro[:3])
        assert [score.f1 for score in scores.per_type.values()] == pytest.approx(list(by_type[2]))


@settings(max_examples=200)
@given(st.lists(st.sampled_from(TYPED), max_size=15))
def test_lenient_mentions_equal_conlleval(tags: list[str]) -> None:
    assert mentions_from_tags(tags) == [(start, end + 1, kind) for kind, start, end in get_entities(tags)]
