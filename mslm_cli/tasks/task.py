"""The interface of a task: all that ``mslm finetune``, ``eval``, ``predict`` and studies ask of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.text.tokens import token_spans
from mslm_cli.training.supervised import Best, Metric, TrainingData


@runtime_checkable
class Task(Protocol):
    """Labels spans of words: gold and predicted ones are compared by exact match of boundaries and label.

    A task that labels whole words or sentences gives each of them as a span of its own; its F1 then is its accuracy.
    """

    @property
    def name(self) -> str:
        """What --task calls it."""

    @property
    def metric(self) -> Metric:
        """The score by which epochs and, in a study, arms are chosen; what users read."""

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        """The sentences of a file with their gold spans.

        Raises:
            DataError: the data are not sound; with path and line.
        """

    def labels(self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path) -> list[str]:
        """The classes of the head, in order.

        Raises:
            DataError: there is nothing to learn.
        """

    def types(self, labels: Sequence[str]) -> set[str]:
        """The labels of spans that a model with these classes can predict."""

    def new_model(self, encoder: Path, labels: list[str], config: FinetuneConfig) -> PreTrainedModel:
        """The encoder with a fresh head, drawn from the seed.

        Raises:
            UnavailableError: the encoder cannot be loaded.
        """

    def load_model(self, folder: Path) -> PreTrainedModel:
        """The trained model, as ``save_pretrained`` wrote it."""

    def training_data(
        self, corpus: LabelledCorpus, labels: Sequence[str], tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
    ) -> TrainingData:
        """The sequences to train on, whose microbatches have the loss; most tokens: tokenizer.model_max_length."""

    def encode(
        self, sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
    ) -> Any:
        """The sentences (their words) as ``predict`` takes them."""

    def predict(
        self, model: PreTrainedModel, encoded: Any, *, pad_id: int, batch_tokens: int
    ) -> list[PredictedSentence]:
        """The spans of each sentence of ``encoded``."""

    def score(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> dict[str, Any]:
        """The scores of a dev set, the primary metric among them."""

    def card(self, config: FinetuneConfig, labels: Sequence[str], best: Best) -> str:
        """The README.md of a trained model."""
