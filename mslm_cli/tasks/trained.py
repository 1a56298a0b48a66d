"""Prediction with a trained model: from words to labelled spans with probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, models
from mslm_cli.artifacts import Artifact
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.tasks.registry import find_task
from mslm_cli.tasks.task import Task
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.model import label_names


@dataclass(frozen=True)
class TrainedModel:
    """A model ready for prediction, and its task."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    config: FinetuneConfig
    batch_tokens: int

    @property
    def types(self) -> set[str]:
        """The span labels that the model can predict."""
        return self.task.types(label_names(self.model))

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[PredictedSentence]:
        """The spans in each sentence (given as words)."""
        encoded = self.task.encode(sentences, self.tokenizer, self.config)
        pad_id: int = self.tokenizer.pad_token_id
        return self.task.predict(self.model, encoded, pad_id=pad_id, batch_tokens=self.batch_tokens)


def task_of(artifact: Artifact) -> Task:
    """The task of a trained model; ner for models saved before there were other tasks.

    Raises:
        UsageError, UnavailableError: the package of the task is not installed, or broken.
    """
    return find_task(artifact.manifest.run.get("task", "ner"))


def load_trained(artifact: Artifact, *, device: str, threads: int, batch_tokens: int) -> TrainedModel:
    """Load the model of a ner artifact onto the device.

    Args:
        batch_tokens: maximum number of tokens in a forward pass.

    Raises:
        UsageError: the task is not installed.
        UnavailableError: the device is unavailable, or the model or its tokenizer cannot be loaded.
    """
    allocator.keep_freed_memory()
    task = task_of(artifact)
    # other releases of mslm may have had other options
    options: dict[str, Any] = {k: v for k, v in artifact.manifest.config.items() if k in FinetuneConfig.model_fields}
    config = FinetuneConfig.model_validate(options)
    tokenizer = models.load_tokenizer(artifact.path, lowercase=config.lowercase)
    model = task.load_model(artifact.path)
    prepare_model(model, select_device(device, threads=threads))
    return TrainedModel(task, model, tokenizer, config, batch_tokens)
