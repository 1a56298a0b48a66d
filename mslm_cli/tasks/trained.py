"""Prediction with a trained model: from words to labelled spans with probabilities."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mslm_cli import allocator, models
from mslm_cli.artifacts import THRESHOLDS, Artifact
from mslm_cli.config import FinetuneConfig, PredictionOptions
from mslm_cli.corpus.documents import LabelledCorpus, unlabelled_corpus
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.errors import UsageError
from mslm_cli.evaluation.thresholds import NEUTRAL, ThresholdPoint, choose_threshold
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.registry import find_task
from mslm_cli.tasks.task import Task
from mslm_cli.training import bert_classifier, onnx
from mslm_cli.training.classifier import TokenClassifier, label_names
from mslm_cli.training.device import on_cpu, prepare_model, require_bf16, select_device, use_fast_matmul

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer


@dataclass(frozen=True)
class TrainedModel:
    """A model ready for prediction, and its task.

    tokenizer: that of transformers, or for the task ner maybe ``bert_tokenizer.BertTokenizer``.
    """

    task: Task
    model: TokenClassifier
    tokenizer: Any
    config: FinetuneConfig
    batch_tokens: int
    threshold: float = NEUTRAL
    precision: str = "auto"

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
        found: list[PredictedSentence] = list(self.label(unlabelled_corpus(sentences, documents)))
        return found

    def label(self, corpus: LabelledCorpus) -> Sequence[Any]:
        """What is predicted for each sentence or document of ``corpus``, as ``Task.decode`` returns it."""
        encoded = self.task.encode(corpus, self.model, self.tokenizer, self.config)
        pad_id: int = self.tokenizer.pad_token_id
        with on_cpu(self.precision):
            found = self.task.probabilities(self.model, encoded, pad_id=pad_id, batch_tokens=self.batch_tokens)
        return self.task.decode(found, label_names(self.model), self.threshold)


def task_of(artifact: Artifact) -> Task:
    """The task of a trained model; ner for models saved before there were other tasks.

    Raises:
        UsageError, UnavailableError: the package of the task is not installed, or broken.
    """
    return find_task(artifact.manifest.run.get("task", "ner"))


def load_trained(artifact: Artifact, options: PredictionOptions, threshold: str = str(NEUTRAL)) -> TrainedModel:
    """Load the model of a ner artifact onto the device.

    Args:
        threshold: a number, or what ``choose_threshold`` takes.

    Raises:
        UsageError: the task is not installed, no threshold has the wanted precision or recall on dev, or the backend
            has no such precision or device.
        UnavailableError: the device or the backend is unavailable, or the model or its tokenizer cannot be loaded.
    """
    allocator.keep_freed_memory()
    task = task_of(artifact)
    # other releases of mslm may have had other options
    known: dict[str, Any] = {k: v for k, v in artifact.manifest.config.items() if k in FinetuneConfig.model_fields}
    config = FinetuneConfig.model_validate(known)
    # other tasks may call what only transformers' classes have
    load_tokenizer = models.load_text_tokenizer if task is NER else models.load_tokenizer
    tokenizer = load_tokenizer(artifact.path, lowercase=config.lowercase)
    model = _load(task, artifact, tokenizer, options)
    chosen = _threshold(artifact, threshold)
    return TrainedModel(task, model, tokenizer, config, options.batch_tokens, chosen, options.precision)


def _load(task: Task, artifact: Artifact, tokenizer: "AnyTokenizer", options: PredictionOptions) -> TokenClassifier:
    """The model, in the backend that ``options`` name."""
    if options.backend == "onnx":
        if task.kind == "relations":
            raise UsageError("--backend onnx cannot classify pairs", hint="use --backend torch")
        if options.device == "cuda":
            raise UsageError("--backend onnx runs on CPU, not on --device cuda", hint="drop one of them")
        if options.precision == "bf16":
            raise UsageError("--backend onnx has no --precision bf16", hint="use --precision int8, or --backend torch")
        is_int8 = options.precision == "int8"
        return onnx.load_classifier(artifact, task.load_model, tokenizer, int8=is_int8, threads=options.threads)
    if options.precision == "int8":
        raise UsageError("--precision int8 needs --backend onnx", hint="add --backend onnx")
    device = select_device(options.device, threads=options.threads)
    if options.precision == "bf16":
        require_bf16(device)
    if task is NER and device.type == "cpu" and (classifier := bert_classifier.load(artifact.path)) is not None:
        use_fast_matmul()
        return classifier
    model = task.load_model(artifact.path)
    prepare_model(model, device)
    return model


def _threshold(artifact: Artifact, wanted: str) -> float:
    if wanted[0].isdigit() or wanted[0] == ".":
        return float(wanted)
    lines = artifact.file(THRESHOLDS).read_text(encoding="utf-8").splitlines()
    return choose_threshold([ThresholdPoint(**json.loads(line)) for line in lines], wanted)
