"""What tasks have in common that label spans of words."""

from collections.abc import Sequence
from typing import Any, ClassVar

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.predictions import PredictedSentence, ScoredCorpus, scored_corpus
from mslm_cli.tasks.task import PAIR_OPTIONS


class SpanTask:
    """A task that labels spans of words; gold and predicted spans are compared by exact match of boundaries and label.

    A task that labels whole words or sentences returns each as a span; its F1 is then its accuracy. ``decode`` returns
    a ``PredictedSentence`` for each sentence.
    """

    kind: ClassVar[str] = "spans"
    unused_options: ClassVar[frozenset[str]] = PAIR_OPTIONS

    def without(self, predicted: Sequence[PredictedSentence], types: frozenset[str]) -> list[PredictedSentence]:
        """The sentences without spans of ``types``."""
        return [sentence.without(types) for sentence in predicted]

    def chosen_on_dev(self, gold: LabelledCorpus, found: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
        """Nothing."""
        return {}

    def scored(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> ScoredCorpus:
        """The sentences with gold and predicted spans."""
        return scored_corpus(gold, predicted)
