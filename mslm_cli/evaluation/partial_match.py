"""Partial match: pair gold and predicted mentions by overlap, and score the pairs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mslm_cli.evaluation.spans import Bool, Int64, Spans
from mslm_cli.evaluation.uncertainty import Float64

SCHEMES = ("exact", "partial", "type", "boundary")
"""SemEval-2013 task 9.1: boundaries and type; overlapping boundaries; type of overlapping mentions; boundaries."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A one-to-one pairing: indices into gold and predicted spans, int64 [n_pairs] each, both ascending."""

    gold: Int64
    predicted: Int64

    def same_boundaries(self, gold: Spans, predicted: Spans) -> Bool:
        """Whether both mentions of a pair have the same boundaries: bool [n_pairs]."""
        g, p = self.gold, self.predicted
        same: Bool = (gold.start[g] == predicted.start[p]) & (gold.end[g] == predicted.end[p])
        return same

    def same_type(self, gold: Spans, predicted: Spans) -> Bool:
        """Whether both mentions of a pair have the same type: bool [n_pairs]."""
        same: Bool = gold.type_ids[self.gold] == predicted.type_ids[self.predicted]
        return same


def pair(gold: Spans, predicted: Spans) -> Pairs:
    """The one-to-one assignment of overlapping mentions with the largest overlap, in words.

    Ties are broken by the number of pairs of the same type, then by the number of pairs, then by pairing the earliest
    gold mentions with the earliest predicted ones; so the result does not depend on the order of mentions. Mentions
    with equal boundaries overlap no others and are always paired: exact matches come first.

    Args:
        gold, predicted: mentions on the same side must not overlap.
    """
    # positions in one long text; the gap separates sentences
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
    same_type = gold.type_ids[of_gold] == predicted.type_ids[of_predicted]
    for chain in _chains(of_gold, of_predicted):
        is_chosen[chain] = _best(
            of_gold[chain].tolist(), of_predicted[chain].tolist(), shared[chain].tolist(), same_type[chain].tolist()
        )
    return Pairs(of_gold[is_chosen], of_predicted[is_chosen])


def _chains(of_gold: Int64, of_predicted: Int64) -> Iterator[slice]:
    """Maximal runs of two or more overlaps in which consecutive ones share a mention."""
    if len(of_gold):
        linked = (of_gold[1:] == of_gold[:-1]) | (of_predicted[1:] == of_predicted[:-1])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], linked, [0]])))
        yield from (slice(a, b + 1) for a, b in edges.reshape(-1, 2).tolist())


def _best(golds: list[int], predicteds: list[int], shared: list[int], same_type: list[bool]) -> list[bool]:
    """Which overlaps of a chain to choose, at most one for each mention, by dynamic programming.

    Overlaps of the same mention are adjacent, and disjoint mentions never cross. So an overlap conflicts only with a
    run of overlaps right before it, and the best choice that ends with it adds it to the best choice before that run.
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
    """For each scheme, which pairs are correct and which are partly correct (half credit): bool [n_pairs] each.

    Source: Segura-Bedmar et al. 2013, SemEval-2013 task 9, section 4. Difference: pairs by assignment; the
    task's script takes the first overlap.
    """
    boundaries, types = pairs.same_boundaries(gold, predicted), pairs.same_type(gold, predicted)
    never = np.zeros(len(boundaries), np.bool_)
    return {
        "exact": (boundaries & types, never),
        "partial": (boundaries, ~boundaries),
        "type": (types, never),
        "boundary": (boundaries, never),
    }


def credit(outcome: tuple[Bool, Bool]) -> Float64:
    """The credit of each pair in the numerator of precision and recall: float64 [n_pairs]."""
    correct, partly = outcome
    points: Float64 = correct + 0.5 * partly
    return points


def errors(gold: Spans, predicted: Spans, pairs: Pairs) -> dict[str, tuple[Int64, Int64]]:
    """The errors by kind: indices of the gold and predicted mentions, int64 each; -1 for no mention.

    A pair can have a wrong boundary, a wrong type or both. An unpaired gold mention is missed; an unpaired predicted
    mention is spurious.
    """
    boundaries, types = pairs.same_boundaries(gold, predicted), pairs.same_type(gold, predicted)
    missed = np.setdiff1d(np.arange(len(gold)), pairs.gold)
    spurious = np.setdiff1d(np.arange(len(predicted)), pairs.predicted)
    wrong = {
        "wrong_boundary": ~boundaries & types,
        "wrong_type": boundaries & ~types,
        "wrong_boundary_and_type": ~boundaries & ~types,
    }
    found = {name: (pairs.gold[which], pairs.predicted[which]) for name, which in wrong.items()}
    found["missed"] = (missed, np.full(len(missed), -1))
    found["spurious"] = (np.full(len(spurious), -1), spurious)
    return found
