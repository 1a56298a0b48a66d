"""Strict exact match: a predicted mention is correct if its boundaries and its type are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mslm_cli.corpus.labels import Mention
from mslm_cli.evaluation.spans import Spans, paired_spans

STRICT_F1 = "strict F1"
"""User-facing name of the strict exact-match F1."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of mentions and the scores they give, from 0 to 1; undefined scores are 0.0."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """The fraction of predicted mentions that are correct."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The fraction of gold mentions that were found; *EM* in tables."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.correct / (self.gold + self.predicted) if self.gold + self.predicted else 0.0

    def to_json(self) -> dict[str, Any]:
        """Precision, recall and F1, then the three counts."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**scores, "gold": self.gold, "predicted": self.predicted, "correct": self.correct}


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Exact match over a test set: for all mentions (``micro``) and by type, types sorted."""

    micro: Score
    per_type: dict[str, Score]

    @property
    def macro(self) -> dict[str, float]:
        """Precision, recall and F1 averaged over types; a type that is only predicted counts as 0.0."""
        return self._mean([1] * len(self.per_type))

    @property
    def weighted(self) -> dict[str, float]:
        """The same averages, with types weighted by their number of gold mentions."""
        return self._mean([score.gold for score in self.per_type.values()])

    def _mean(self, weights: Sequence[int]) -> dict[str, float]:
        scores = self.per_type.values()
        means = {}
        for metric in ("precision", "recall", "f1"):
            total = sum(w * getattr(score, metric) for w, score in zip(weights, scores, strict=True))
            means[metric] = total / sum(weights) if sum(weights) else 0.0
        return means

    def to_json(self) -> dict[str, Any]:
        """Micro scores and counts, ``macro``, ``weighted``, ``per_type``."""
        per_type = {entity_type: score.to_json() for entity_type, score in self.per_type.items()}
        return {**self.micro.to_json(), "macro": self.macro, "weighted": self.weighted, "per_type": per_type}


def exact_match(gold: Sequence[Collection[Mention]], predicted: Sequence[Collection[Mention]]) -> ExactMatch:
    """The exact-match scores of ``predicted`` against ``gold``, sentence by sentence; duplicates count once.

    For mentions from ``corpus.labels.strict_mentions``, all counts equal those of seqeval's strict IOB2 mode.

    Raises:
        ValueError: the numbers of sentences differ.

    Source: seqeval 1.2.2, ``mode="strict", scheme=IOB2``. Difference: data without any mention score 0.0.
    """
    return match_spans(*paired_spans(gold, predicted))


def match_spans(gold: Spans, predicted: Spans) -> ExactMatch:
    """The exact-match scores of spans with the same ``types``; types without any mention are left out."""
    type_ids = (gold.type_ids, predicted.type_ids, predicted.type_ids[predicted.are_in(gold)])
    counts = np.stack([np.bincount(ids, minlength=len(gold.types)) for ids in type_ids])
    per_type = {t: Score(*counts[:, i].tolist()) for i, t in enumerate(gold.types) if counts[:2, i].any()}
    return ExactMatch(Score(*counts.sum(axis=1).tolist()), per_type)
