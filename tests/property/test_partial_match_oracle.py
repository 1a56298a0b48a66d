"""Partial match against every possible assignment, and whatever the order of mentions."""

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mslm_cli.corpus.labels import Mention
from mslm_cli.evaluation.partial_match import errors, outcomes, pair
from mslm_cli.evaluation.spans import paired_spans


@st.composite
def disjoint(draw: st.DrawFn) -> list[Mention]:
    """Mentions of one sentence of 14 words that do not overlap, in any order."""
    edges = sorted(draw(st.sets(st.integers(0, 14), max_size=12)))
    spans = [(a, b) for a, b in pairwise(edges) if draw(st.integers(0, 3))]
    return draw(st.permutations([(a, b, draw(st.sampled_from("XY"))) for a, b in spans]))


def brute_force(gold: list[Mention], predicted: list[Mention]) -> tuple[int, int, int]:
    """Shared words, pairs of one type, and pairs of the best of all one-to-one assignments."""
    overlaps = [
        (i, j, min(g[1], p[1]) - max(g[0], p[0]), g[2] == p[2])
        for i, g in enumerate(gold)
        for j, p in enumerate(predicted)
        if min(g[1], p[1]) > max(g[0], p[0])
    ]
    best = (0, 0, 0)
    for n in range(min(len(gold), len(predicted)) + 1):
        for chosen in combinations(overlaps, n):
            if len({c[0] for c in chosen}) == len({c[1] for c in chosen}) == n:
                best = max(best, (sum(c[2] for c in chosen), sum(c[3] for c in chosen), n))
    return best


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(disjoint(), disjoint()), min_size=1, max_size=3))
def test_the_assignment_is_the_best_of_all(sentences: list[tuple[list[Mention], list[Mention]]]) -> None:
    gold, predicted = paired_spans([g for g, _ in sentences], [p for _, p in sentences])
    pairs = pair(gold, predicted)
    assert len(set(pairs.gold.tolist())) == len(set(pairs.predicted.tolist())) == len(pairs.gold)
    assert (gold.sentence[pairs.gold] == predicted.sentence[pairs.predicted]).all()
    shared = [
        min(gold.end[g], predicted.end[p]) - max(gold.start[g], predicted.start[p])
        for g, p in zip(pairs.gold, pairs.predicted, strict=True)
    ]
    assert all(n > 0 for n in shared)
    found = (sum(shared), int(pairs.same_type(gold, predicted).sum()), len(pairs.gold))
    assert found == tuple(map(sum, zip(*(brute_force(g, p) for g, p in sentences), strict=True)))


@settings(max_examples=200, deadline=None)
@given(disjoint(), disjoint())
def test_every_mention_is_correct_or_has_one_error(gold: list[Mention], predicted: list[Mention]) -> None:
    spans = paired_spans([gold], [predicted])
    pairs = pair(*spans)
    found = errors(*spans, pairs)
    correct = outcomes(*spans, pairs)["exact"][0]
    for side, n in ((0, len(gold)), (1, len(predicted))):
        wrong = [i for sides in found.values() for i in sides[side].tolist() if i >= 0]
        assert len(set(wrong)) == len(wrong) == n - correct.sum()
    assert set(gold) & set(predicted) == {
        (int(spans[0].start[g]), int(spans[0].end[g]), spans[0].types[spans[0].type_ids[g]])
        for g in pairs.gold[correct]
    }
