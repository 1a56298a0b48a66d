"""Prediction with a trained model: from words to labelled spans with probabilities."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, models
from mslm_cli.artifacts import THRESHOLDS, Artifact
from mslm_cli.config import FinetuneConfig, ForwardOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.evaluation.thresholds import NEUTRAL, ThresholdPoint, choose_threshold
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
    threshold: float = NEUTRAL

    @property
    def types(self) -> set[str]:
        """The span labels that the model can predict."""
        return self.task.types(label_names(self.model))

    def predict(
        self, sentences: Sequence[Sequence[str]], documents: Sequence[object] | None = None
    ) -> list[PredictedSentence]:
        """The spans in each sentence (given as words).

        Args:
            documents: of each sentence, if its neighbours are known; None for a sentence without.
        """
        documents = [None] * len(sentences) if documents is None else documents
        encoded = self.task.encode(sentences, documents, self.tokenizer, self.config)
        pad_id: int = self.tokenizer.pad_token_id
        found = self.task.probabilities(self.model, encoded, pad_id=pad_id, batch_tokens=self.batch_tokens)
        return self.task.decode(found, label_names(self.model), self.threshold)


def task_of(artifact: Artifact) -> Task:
    """The task of a trained model; ner for models saved before there were other tasks.

    Raises:
        UsageError, UnavailableError: the package of the task is not installed, or broken.
    """
    return find_task(artifact.manifest.run.get("task", "ner"))


def load_trained(artifact: Artifact, options: ForwardOptions, threshold: str = str(NEUTRAL)) -> TrainedModel:
    """Load the model of a ner artifact onto the device.

    Args:
        threshold: a number, or what ``choose_threshold`` takes.

    Raises:
        UsageError: the task is not installed, or no threshold has the wanted precision or recall on dev.
        UnavailableError: the device is unavailable, or the model or its tokenizer cannot be loaded.
    """
    allocator.keep_freed_memory()
    task = task_of(artifact)
    # other releases of mslm may have had other options
    known: dict[str, Any] = {k: v for k, v in artifact.manifest.config.items() if k in FinetuneConfig.model_fields}
    config = FinetuneConfig.model_validate(known)
    tokenizer = models.load_tokenizer(artifact.path, lowercase=config.lowercase)
    model = task.load_model(artifact.path)
    prepare_model(model, select_device(options.device, threads=options.threads))
    return TrainedModel(task, model, tokenizer, config, options.batch_tokens, _threshold(artifact, threshold))


def _threshold(artifact: Artifact, wanted: str) -> float:
    if wanted[0].isdigit() or wanted[0] == ".":
        return float(wanted)
    lines = artifact.file(THRESHOLDS).read_text(encoding="utf-8").splitlines()
    return choose_threshold([ThresholdPoint(**json.loads(line)) for line in lines], wanted)
