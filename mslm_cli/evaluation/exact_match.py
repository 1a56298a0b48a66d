"""Strict exact match: a predicted mention is right when both its boundaries and its type are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mslm_cli.corpus.labels import Mention
from mslm_cli.evaluation.spans import Spans, paired_spans

STRICT_F1 = "strict F1"
"""What users call the F1 of strict exact match."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of mentions, and what follows from them: shares from 0 to 1, and 0.0 where they are undefined."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """The share of the predicted mentions that are correct."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of the gold mentions that were found: *EM* in tables."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.correct / (self.gold + self.predicted) if self.gold + self.predicted else 0.0

    def to_json(self) -> dict[str, Any]:
        """Precision, recall and F1, then the three counts."""
        shares = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**shares, "gold": self.gold, "predicted": self.predicted, "correct": self.correct}


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Exact match over a test set: all mentions together (``micro``) and by type, types sorted."""

    micro: Score
    per_type: dict[str, Score]

    @property
    def macro(self) -> dict[str, float]:
        """The means of the types' precision, recall and F1; a type that is only predicted counts too, with 0.0."""
        return self._mean([1] * len(self.per_type))

    @property
    def weighted(self) -> dict[str, float]:
        """The same means, each type weighted by its gold mentions."""
        return self._mean([score.gold for score in self.per_type.values()])

    def _mean(self, weights: Sequence[int]) -> dict[str, float]:
        scores = self.per_type.values()
        means = {}
        for share in ("precision", "recall", "f1"):
            total = sum(w * getattr(score, share) for w, score in zip(weights, scores, strict=True))
            means[share] = total / sum(weights) if sum(weights) else 0.0
        return means

    def to_json(self) -> dict[str, Any]:
        """Micro scores and counts, ``macro``, ``weighted``, ``per_type``."""
        per_type = {kind: score.to_json() for kind, score in self.per_type.items()}
        return {**self.micro.to_json(), "macro": self.macro, "weighted": self.weighted, "per_type": per_type}


def exact_match(gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]) -> ExactMatch:
    """The exact-match scores of ``predicted`` against ``gold``, sentence by sentence; a mention counts once.

    On mentions read by ``corpus.labels.strict_mentions`` all counts equal those of seqeval's strict IOB2 mode.

    Raises:
        ValueError: the two do not have the same number of sentences.

    Source: seqeval 1.2.2, ``mode="strict", scheme=IOB2``. Departure: sets without a mention score 0.0.
    """
    return match_spans(*paired_spans(gold, predicted))


def match_spans(gold: Spans, predicted: Spans) -> ExactMatch:
    """The exact-match scores of spans with the same ``types``; of those that no mention has, nothing is said."""
    kinds = (gold.kind, predicted.kind, predicted.kind[predicted.are_in(gold)])
    counts = np.stack([np.bincount(kind, minlength=len(gold.types)) for kind in kinds])
    per_type = {kind: Score(*counts[:, i].tolist()) for i, kind in enumerate(gold.types) if counts[:2, i].any()}
    return ExactMatch(Score(*counts.sum(axis=1).tolist()), per_type)
