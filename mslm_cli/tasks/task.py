"""The interface of a task, used by ``mslm finetune``, ``eval``, ``predict`` and studies."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import ScoredCorpus
from mslm_cli.corpus.scored_documents import ScoredDocuments
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError
from mslm_cli.text.tokens import token_spans
from mslm_cli.training.classifier import TokenClassifier
from mslm_cli.training.metric import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from mslm_cli.training.labelled import TrainingSource
    from mslm_cli.training.supervised import Trained, TrainingData


PAIR_OPTIONS = frozenset({"pairs", "markers", "max_distance", "instances"})
"""Options of fine-tuning that mean something for pairs of entities alone."""


def check_shared(train: Sequence[str], dev: Sequence[str], train_file: Path, name: str) -> None:
    """Warn of types that only the dev data have.

    Args:
        train, dev: the types in the training and dev data. name: what to call one.

    Raises:
        DataError: the training data have none of those in the dev data.
    """
    if not set(train) & set(dev):
        raise DataError(
            f"no {name} of the dev data is in the training data: {', '.join(dev)} there,"
            f" {', '.join(train)} in training",
            path=train_file,
            hint="are both files of the same corpus?",
        )
    if unknown := sorted(set(dev) - set(train)):
        plural = f"{name.split()[-1]}s"
        console.warn(f"{plural} in the dev data but not in the training data, never predicted: {', '.join(unknown)}")


def inapplicable(task: "Task", config: FinetuneConfig) -> list[str]:
    """The options in ``config``, other than defaults, that mean nothing to the task."""
    given = {name for name, value in config if value != FinetuneConfig.model_fields[name].get_default()}
    return sorted(given & task.unused_options)


@runtime_checkable
class Task(Protocol):
    """Something that a model learns from labelled text: what the data are, and what is predicted and scored.

    ``spans.SpanTask`` implements what all tasks have in common that label spans of words.
    """

    @property
    def name(self) -> str:
        """The value of --task."""

    @property
    def kind(self) -> str:
        """What is predicted: ``spans`` of words, ``relations`` of entities, or labels of ``documents``."""

    @property
    def metric(self) -> Metric:
        """The score that selects epochs and, in a study, arms; with its user-facing name."""

    @property
    def unused_options(self) -> frozenset[str]:
        """Fields of ``FinetuneConfig`` that mean nothing to the task, and ``also`` and ``silver`` likewise."""

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        """Read a file or folder with gold labels; a task can return a subclass with more than labelled sentences.

        Raises:
            DataError: the data are invalid; with path and line.
        """

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        """The classes of the head, in order.

        Args:
            others: types that accompanying corpora have.

        Raises:
            DataError: there is nothing to learn.
        """

    def types(self, labels: Sequence[str]) -> set[str]:
        """The types that a model with these classes can predict."""

    def new_model(
        self, encoder: Path, labels: list[str], config: FinetuneConfig, train: LabelledCorpus
    ) -> "PreTrainedModel":
        """The encoder with a fresh head, initialised from the seed.

        Args:
            train: for what the model's config must record of them, beside the labels.

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
        corpus: LabelledCorpus,
        model: TokenClassifier,
        tokenizer: "PreTrainedTokenizerFast",
        config: FinetuneConfig,
    ) -> Any:
        """What ``read`` returned, encoded for ``probabilities``; gold labels are not looked at."""

    def probabilities(self, model: TokenClassifier, encoded: Any, *, pad_id: int, batch_tokens: int) -> Sequence[Any]:
        """What the model computes for each sentence or document of ``encoded``, for ``decode``."""

    def decode(self, found: Sequence[Any], labels: Sequence[str], threshold: float = 0.5) -> Sequence[Any]:
        """What is predicted for each sentence or document.

        Args:
            found: the result of ``probabilities``.
            labels: the classes of the model's head.
            threshold: below 0.5, more is predicted, above, less (``evaluation.thresholds``).
        """

    def without(self, predicted: Sequence[Any], types: frozenset[str]) -> Sequence[Any]:
        """The predictions without those of ``types``."""

    def chosen_on_dev(self, gold: LabelledCorpus, found: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
        """Entries of the model's config that are chosen on dev once the model is trained; empty if there are none.

        Args:
            found: the result of ``probabilities`` for ``gold``.
        """

    def score(self, gold: LabelledCorpus, predicted: Sequence[Any]) -> dict[str, Any]:
        """The scores on a dev set, including the primary metric."""

    def scored(self, gold: LabelledCorpus, predicted: Sequence[Any]) -> ScoredCorpus | ScoredDocuments:
        """Gold and predictions side by side, from which `mslm eval` computes everything."""

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: "Trained") -> str:
        """The README.md of a trained model."""
