"""The interface of a task, used by ``mslm finetune``, ``eval``, ``predict`` and studies."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.text.tokens import token_spans
from mslm_cli.training.classifier import TokenClassifier
from mslm_cli.training.metric import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from mslm_cli.training.labelled import TrainingSource
    from mslm_cli.training.supervised import Trained, TrainingData


@runtime_checkable
class Task(Protocol):
    """A task that labels spans of words; gold and predicted spans are compared by exact match of boundaries and label.

    A task that labels whole words or sentences returns each as a span; its F1 is then its accuracy.
    """

    @property
    def name(self) -> str:
        """The value of --task."""

    @property
    def metric(self) -> Metric:
        """The score that selects epochs and, in a study, arms; with its user-facing name."""

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        """Read the sentences of a file with their gold spans.

        Raises:
            DataError: the data are invalid; with path and line.
        """

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        """The classes of the head, in order.

        Args:
            others: span labels that accompanying corpora have.

        Raises:
            DataError: there is nothing to learn.
        """

    def types(self, labels: Sequence[str]) -> set[str]:
        """The span labels that a model with these classes can predict."""

    def new_model(self, encoder: Path, labels: list[str], config: FinetuneConfig) -> "PreTrainedModel":
        """The encoder with a fresh head, initialised from the seed.

        Raises:
            UnavailableError: the encoder cannot be loaded.
        """

    def load_model(self, folder: Path) -> "PreTrainedModel":
        """Load a trained model saved by ``save_pretrained``."""

    def training_data(
        self,
        sources: "Sequence[TrainingSource]",
        labels: Sequence[str],
        tokenizer: "PreTrainedTokenizerFast",
        config: FinetuneConfig,
    ) -> "TrainingData":
        """The training sequences (at most tokenizer.model_max_length tokens); microbatches compute the loss.

        Args:
            sources: the training data, then what accompanies them; sequences of source i have origin i.
        """

    def encode(
        self,
        sentences: Sequence[Sequence[str]],
        documents: Sequence[object],
        tokenizer: "PreTrainedTokenizerFast",
        config: FinetuneConfig,
    ) -> Any:
        """The sentences (as words) of these documents (None for none), encoded for ``probabilities``."""

    def probabilities(self, model: TokenClassifier, encoded: Any, *, pad_id: int, batch_tokens: int) -> Sequence[Any]:
        """What the model computes for each sentence of ``encoded``, for ``decode``."""

    def decode(self, found: Sequence[Any], labels: Sequence[str], threshold: float = 0.5) -> list[PredictedSentence]:
        """The spans of each sentence.

        Args:
            found: the result of ``probabilities``.
            labels: the classes of the model's head.
            threshold: below 0.5, spans are preferred to no spans, above, the reverse (``evaluation.thresholds``).
        """

    def score(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> dict[str, Any]:
        """The scores on a dev set, including the primary metric."""

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: "Trained") -> str:
        """The README.md of a trained model."""
