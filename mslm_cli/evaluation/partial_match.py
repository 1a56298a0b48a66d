"""Partial match: gold and predicted mentions paired by overlap, and what the pairs are worth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mslm_cli.evaluation.spans import Bool, Int64, Spans
from mslm_cli.evaluation.uncertainty import Float64

SCHEMES = ("exact", "partial", "type", "boundary")
"""Of SemEval-2013 task 9.1: boundaries and type; boundaries that overlap; the type of what overlaps; boundaries."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Mentions paired one to one: indices into gold and predicted spans, int64 [n_pairs] each, both ascending."""

    gold: Int64
    predicted: Int64

    def same_boundaries(self, gold: Spans, predicted: Spans) -> Bool:
        """Whether the two of a pair begin and end together: bool [n_pairs]."""
        g, p = self.gold, self.predicted
        together: Bool = (gold.start[g] == predicted.start[p]) & (gold.end[g] == predicted.end[p])
        return together

    def same_type(self, gold: Spans, predicted: Spans) -> Bool:
        """Whether the two of a pair have one type: bool [n_pairs]."""
        same: Bool = gold.kind[self.gold] == predicted.kind[self.predicted]
        return same


def pair(gold: Spans, predicted: Spans) -> Pairs:
    """The one-to-one assignment of overlapping mentions that shares the most words.

    Among assignments that share as many, the one with the most pairs of the same type, then the one with the most
    pairs; of those that are alike in this too, the one that pairs the earliest gold mentions with the earliest
    predicted ones. So it does not depend on an order of mentions. Mentions that agree in boundaries overlap nothing
    else, and are always paired: exact matches come first.

    Args:
        gold, predicted: mentions of one side do not overlap each other.
    """
    # as characters of one long text; the gap keeps sentences apart
    size = 1 + max(int(spans.end.max(initial=0)) for spans in (gold, predicted))
    begins, ends = [s.sentence * size + edge for s, edge in ((gold, gold.start), (gold, gold.end))]
    other_begins, other_ends = predicted.sentence * size + predicted.start, predicted.sentence * size + predicted.end
    first = np.searchsorted(other_ends, begins, side="right")
    n_overlaps = np.maximum(np.searchsorted(other_begins, ends, side="left") - first, 0)
    of_gold = np.repeat(np.arange(len(gold)), n_overlaps)
    rank = np.arange(len(of_gold)) - np.repeat(np.cumsum(n_overlaps) - n_overlaps, n_overlaps)
    of_predicted = first[of_gold] + rank
    shared = np.minimum(ends[of_gold], other_ends[of_predicted]) - np.maximum(
        begins[of_gold], other_begins[of_predicted]
    )
    is_chosen = np.ones(len(of_gold), np.bool_)
    same_type = gold.kind[of_gold] == predicted.kind[of_predicted]
    for chain in _chains(of_gold, of_predicted):
        is_chosen[chain] = _best(
            of_gold[chain].tolist(), of_predicted[chain].tolist(), shared[chain].tolist(), same_type[chain].tolist()
        )
    return Pairs(of_gold[is_chosen], of_predicted[is_chosen])


def _chains(of_gold: Int64, of_predicted: Int64) -> Iterator[slice]:
    """Stretches of overlaps in which each has a mention in common with the next, of two and more."""
    if len(of_gold):
        linked = (of_gold[1:] == of_gold[:-1]) | (of_predicted[1:] == of_predicted[:-1])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], linked, [0]])))
        yield from (slice(a, b + 1) for a, b in edges.reshape(-1, 2).tolist())


def _best(golds: list[int], predicteds: list[int], shared: list[int], same_type: list[bool]) -> list[bool]:
    """Which overlaps of a chain to choose: those of one gold, or of one predicted mention, stand together.

    Disjoint mentions never cross, so that an overlap rules out a stretch of those right before it; with the best choice
    among the overlaps before this stretch, it makes the best choice that ends in it.
    """
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    takes: list[bool] = []
    before: list[int] = []
    for i in range(len(golds)):
        first = i
        while first and (golds[first - 1] == golds[i] or predicteds[first - 1] == predicteds[i]):
            first -= 1
        words, types, pairs = best[first]
        taken = (words + shared[i], types + same_type[i], pairs + 1)
        takes.append(taken > best[i])
        before.append(first)
        best.append(max(taken, best[i]))
    chosen = [False] * len(golds)
    i = len(golds)
    while i:
        if takes[i - 1]:
            chosen[i - 1] = True
            i = before[i - 1]
        else:
            i -= 1
    return chosen


def outcomes(gold: Spans, predicted: Spans, pairs: Pairs) -> dict[str, tuple[Bool, Bool]]:
    """For each scheme, which pairs are correct and which are partly so (half a credit): bool [n_pairs] each.

    Source: Segura-Bedmar et al. 2013, SemEval-2013 task 9, section 4. Departure: pairs by assignment, where the
    task's script took the first overlap.
    """
    bounds, kind = pairs.same_boundaries(gold, predicted), pairs.same_type(gold, predicted)
    never = np.zeros(len(bounds), np.bool_)
    return {
        "exact": (bounds & kind, never),
        "partial": (bounds, ~bounds),
        "type": (kind, never),
        "boundary": (bounds, never),
    }


def credit(outcome: tuple[Bool, Bool]) -> Float64:
    """What each pair adds to the numerator of precision and recall: float64 [n_pairs]."""
    correct, partly = outcome
    points: Float64 = correct + 0.5 * partly
    return points


def errors(gold: Spans, predicted: Spans, pairs: Pairs) -> dict[str, tuple[Int64, Int64]]:
    """The mistakes by kind: indices of gold and of predicted mentions, int64 each, -1 where there is none.

    A pair is wrong in its boundaries, in its type or in both; a gold mention in no pair is missed, a predicted one
    spurious.
    """
    bounds, kind = pairs.same_boundaries(gold, predicted), pairs.same_type(gold, predicted)
    missed = np.setdiff1d(np.arange(len(gold)), pairs.gold)
    spurious = np.setdiff1d(np.arange(len(predicted)), pairs.predicted)
    wrong = {
        "wrong_boundary": ~bounds & kind,
        "wrong_type": bounds & ~kind,
        "wrong_boundary_and_type": ~bounds & ~kind,
    }
    found = {name: (pairs.gold[which], pairs.predicted[which]) for name, which in wrong.items()}
    found["missed"] = (missed, np.full(len(missed), -1))
    found["spurious"] = (np.full(len(spurious), -1), spurious)
    return found
