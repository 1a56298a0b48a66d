"""All scores of a test set with their intervals, as the JSON values of results.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mslm_cli.evaluation import confidence
from mslm_cli.evaluation.exact_match import Score, match_spans
from mslm_cli.evaluation.partial_match import SCHEMES, Pairs, credit, outcomes, pair
from mslm_cli.evaluation.slices import Slicing, by_length, count_by_cluster
from mslm_cli.evaluation.spans import Bool, Int64, Spans
from mslm_cli.evaluation.uncertainty import (
    Float,
    Float64,
    averages,
    interval,
    intervals,
    precision_recall_f1,
    quotient,
    resampled_totals,
    sums_by_cluster,
)

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"
RESULTS_VERSION = 2
"""Of both files."""


def summarise(
    gold: Spans,
    predicted: Spans,
    clusters: Int64,
    *,
    slicings: Mapping[str, Slicing | None],
    scores: Float64 | None,
    n_replicates: int,
    seed: int,
) -> dict[str, Any]:
    """``exact_match``, ``partial_match``, ``slices``, ``length_bias`` and ``confidence`` of results.json.

    All sums are resampled together, so every interval is from the same replicates.

    Args:
        clusters: the cluster of each sentence, int64 [n_sentences], from ``uncertainty.clusters_of``.
        slicings: in addition to that by length; None for those whose source is not given.
        scores: the probability of each predicted mention, float64 [n_predicted].
    """
    rng = np.random.default_rng(seed)
    n_clusters = int(clusters.max(initial=-1)) + 1
    correct = predicted.are_in(gold)
    pairs = pair(gold, predicted)
    known = {"length": by_length(gold, predicted), **{name: s for name, s in slicings.items() if s is not None}}
    sides = clusters[gold.sentence], clusters[predicted.sentence]

    slices = {**known, "types": Slicing(gold.types, gold.type_ids, predicted.type_ids)}
    blocks = {name: count_by_cluster(gold, predicted, clusters, by) for name, by in slices.items()}
    results = outcomes(gold, predicted, pairs)
    totals = [np.bincount(side, minlength=n_clusters) for side in sides]
    for name, outcome in results.items():
        points = np.bincount(sides[0][pairs.gold], credit(outcome), minlength=n_clusters)
        blocks[name] = np.stack([*totals, points], axis=-1)
    lengths = [np.bincount(c, side.n_words, n_clusters) for c, side in zip(sides, (gold, predicted), strict=True)]
    blocks["lengths"] = np.stack([*lengths, *totals], axis=-1)
    if scores is not None:
        bins, sums = confidence.bin_sums(scores, correct)
        size = n_clusters * confidence.N_BINS
        blocks["bins"] = sums_by_cluster(sides[1] * confidence.N_BINS + bins, size, sums).reshape(
            n_clusters, confidence.N_BINS, 3
        )
    drawn = _draw(blocks, n_replicates, rng)
    found = {
        "exact_match": _exact_match(gold, predicted, drawn),
        "partial_match": _partial_match(gold, predicted, pairs, results, blocks, drawn),
        "slices": {"length": None, **dict.fromkeys(slicings)}
        | {name: _sliced(by, blocks[name].sum(axis=0), drawn[name]) for name, by in known.items()},
        "length_bias": _length_bias(gold, predicted, pairs, blocks["lengths"], drawn["lengths"]),
        "confidence": None,
    }
    if scores is not None:
        replicates = confidence.average_precision_replicates(scores, correct, sides[1], totals[0], n_replicates, rng)
        found["confidence"] = _confidence(scores, correct, len(gold), replicates, blocks["bins"], drawn["bins"])
    return found


def summarise_labels(
    gold: Spans,
    predicted: Spans,
    clusters: Int64,
    *,
    slicings: Mapping[str, Slicing | None],
    scores: Float64 | None,
    n_replicates: int,
    seed: int,
) -> dict[str, Any]:
    """``exact_match``, ``slices`` and ``confidence`` of items that are right or wrong as a whole; see ``summarise``.

    Args:
        gold, predicted: items with any two numbers in the place of start and end.
    """
    rng = np.random.default_rng(seed)
    n_clusters = int(clusters.max(initial=-1)) + 1
    correct = predicted.are_in(gold)
    known = {name: by for name, by in slicings.items() if by is not None}
    slices = {**known, "types": Slicing(gold.types, gold.type_ids, predicted.type_ids)}
    blocks = {name: count_by_cluster(gold, predicted, clusters, by) for name, by in slices.items()}
    if scores is not None:
        bins, sums = confidence.bin_sums(scores, correct)
        size = n_clusters * confidence.N_BINS
        by_bin = sums_by_cluster(clusters[predicted.sentence] * confidence.N_BINS + bins, size, sums)
        blocks["bins"] = by_bin.reshape(n_clusters, confidence.N_BINS, 3)
    drawn = _draw(blocks, n_replicates, rng)
    found: dict[str, Any] = {
        "exact_match": _exact_match(gold, predicted, drawn),
        "slices": dict.fromkeys(slicings)
        | {name: _sliced(by, blocks[name].sum(axis=0), drawn[name]) for name, by in known.items()},
        "confidence": None,
    }
    if scores is not None:
        n_gold = np.bincount(clusters[gold.sentence], minlength=n_clusters)
        side = clusters[predicted.sentence]
        replicates = confidence.average_precision_replicates(scores, correct, side, n_gold, n_replicates, rng)
        found["confidence"] = _confidence(scores, correct, len(gold), replicates, blocks["bins"], drawn["bins"])
    return found


def _draw(blocks: Mapping[str, Float64], n_replicates: int, rng: np.random.Generator) -> dict[str, Float64]:
    """Totals of the same bootstrap replicates, [n_replicates, ...], of sums by cluster, [n_clusters, ...]."""
    flat = [block.reshape(len(block), -1) for block in blocks.values()]
    # counts and halves of them are exact in single precision, sums of probabilities are not
    rows: Float = np.concatenate(flat, axis=1) if "bins" in blocks else np.concatenate(flat, axis=1, dtype=np.float32)
    totals = resampled_totals(rows, n_replicates, rng)
    parts = np.split(totals, np.cumsum([block.shape[1] for block in flat])[:-1], axis=1)
    return {
        name: part.reshape(n_replicates, *block.shape[1:])
        for (name, block), part in zip(blocks.items(), parts, strict=True)
    }


def _exact_match(gold: Spans, predicted: Spans, drawn: Mapping[str, Float64]) -> dict[str, Any]:
    found = match_spans(gold, predicted).to_json()
    macro, weighted = averages(drawn["types"])
    found["intervals"] = intervals(precision_recall_f1(drawn["types"].sum(axis=1)))
    found["macro"] = {**found["macro"], "intervals": intervals(macro)}
    found["weighted"] = {**found["weighted"], "intervals": intervals(weighted)}
    of_types = precision_recall_f1(drawn["types"])
    found["per_type"] = {
        entity_type: {**score, "intervals": intervals(of_types[:, i])}
        for i, (entity_type, score) in enumerate(found["per_type"].items())
    }
    return {"mode": "strict", **found}


def _sliced(by: Slicing, counts: Float64, drawn: Float64) -> dict[str, Any]:
    return {
        name: {**Score(*map(int, counts[i])).to_json(), "intervals": intervals(precision_recall_f1(drawn[:, i]))}
        for i, name in enumerate(by.names)
    }


def _partial_match(
    gold: Spans,
    predicted: Spans,
    pairs: Pairs,
    results: Mapping[str, tuple[Bool, Bool]],
    blocks: Mapping[str, Float64],
    drawn: Mapping[str, Float64],
) -> dict[str, Any]:
    found = {}
    n_pairs = len(pairs.gold)
    for name in SCHEMES:
        n_correct, n_partial = (int(part.sum()) for part in results[name])
        precision, recall, f1 = np.nan_to_num(precision_recall_f1(blocks[name].sum(axis=0))).tolist()
        found[name] = {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "correct": n_correct,
            "incorrect": n_pairs - n_correct - n_partial,
            "partial": n_partial,
            "missed": len(gold) - n_pairs,
            "spurious": len(predicted) - n_pairs,
            "intervals": intervals(precision_recall_f1(drawn[name])),
        }
    return found


def _length_bias(gold: Spans, predicted: Spans, pairs: Pairs, sums: Float64, drawn: Float64) -> dict[str, Any]:
    difference = predicted.n_words[pairs.predicted] - gold.n_words[pairs.gold]
    means = np.nan_to_num(quotient(sums.sum(axis=0)[:2], sums.sum(axis=0)[2:]))
    replicates = quotient(drawn[:, :2], drawn[:, 2:])
    return {
        "gold_mean_words": float(means[0]),
        "predicted_mean_words": float(means[1]),
        "difference": float(means[1] - means[0]),
        "interval": interval(replicates[:, 1] - replicates[:, 0]),
        "shorter": int((difference < 0).sum()),
        "as_long": int((difference == 0).sum()),
        "longer": int((difference > 0).sum()),
    }


def _confidence(
    scores: Float64, correct: Bool, n_gold: int, replicates: Float64, bins: Float64, drawn: Float64
) -> dict[str, Any]:
    sums = bins.sum(axis=0)
    return {
        "n": len(scores),
        "average_precision": confidence.average_precision(scores, correct, n_gold),
        "average_precision_interval": interval(replicates),
        "ece": float(confidence.calibration_error(sums)),
        "ece_interval": interval(confidence.calibration_error(drawn)),
        "bins": confidence.bins_as_json(sums),
        "curve": confidence.curve(scores, correct, n_gold),
    }
