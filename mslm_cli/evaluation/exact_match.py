"""Strict exact match: a predicted mention is right when both its boundaries and its type are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mslm_cli.corpus.labels import Mention


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

    def to_json(self) -> dict[str, float | int]:
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
        scores = self.per_type.values()
        return {
            "precision": fmean(score.precision for score in scores) if scores else 0.0,
            "recall": fmean(score.recall for score in scores) if scores else 0.0,
            "f1": fmean(score.f1 for score in scores) if scores else 0.0,
        }

    def to_json(self) -> dict[str, Any]:
        """What results.json holds under ``exact_match``: mode, micro scores and counts, ``macro``, ``per_type``."""
        per_type = {kind: score.to_json() for kind, score in self.per_type.items()}
        return {"mode": "strict", **self.micro.to_json(), "macro": self.macro, "per_type": per_type}


def exact_match(gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]]) -> ExactMatch:
    """The exact-match scores of ``predicted`` against ``gold``, sentence by sentence; a mention counts once.

    On mentions read by ``corpus.labels.strict_mentions`` all counts equal those of seqeval's strict IOB2 mode.

    Raises:
        ValueError: the two do not have the same number of sentences.

    Source: seqeval 1.2.2, ``mode="strict", scheme=IOB2``. Departure: sets without a mention score 0.0.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} sentences of gold against {len(predicted)} of predictions")
    n_gold: Counter[str] = Counter()
    n_predicted: Counter[str] = Counter()
    n_correct: Counter[str] = Counter()
    for gold_mentions, predicted_mentions in zip(gold, predicted, strict=True):
        wanted, found = set(gold_mentions), set(predicted_mentions)
        n_gold.update(kind for _, _, kind in wanted)
        n_predicted.update(kind for _, _, kind in found)
        n_correct.update(kind for _, _, kind in wanted & found)
    types = sorted(n_gold.keys() | n_predicted.keys())
    micro = Score(n_gold.total(), n_predicted.total(), n_correct.total())
    return ExactMatch(micro, {kind: Score(n_gold[kind], n_predicted[kind], n_correct[kind]) for kind in types})
