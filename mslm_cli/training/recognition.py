"""A fine-tuned NER model at work: from words to mentions with their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, models
from mslm_cli.artifacts import Artifact
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.model import load_ner
from mslm_cli.training.tagging import (
    Windows,
    best_tags,
    label_names,
    make_windows,
    predict_probabilities,
    scored_mentions,
)


@dataclass(frozen=True)
class Recogniser:
    """A NER model that is ready to predict."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: list[str]
    overlap: int
    batch_tokens: int

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[PredictedSentence]:
        """Tags and mentions of each sentence (its words); a sentence that is too long is read in windows.

        An I- tag that continues nothing belongs to no mention. For the probabilities see ``scored_mentions``.
        """
        windows = make_windows(sentences, self.tokenizer, self.tokenizer.model_max_length, self.overlap)
        return predict(self.model, windows, list(map(len, sentences)), self.tokenizer.pad_token_id, self.batch_tokens)


def predict(
    model: PreTrainedModel, windows: Windows, n_words: Sequence[int], pad_id: int, batch_tokens: int
) -> list[PredictedSentence]:
    """Tags and mentions of each sentence, from its windows.

    Args:
        n_words: words of each sentence.
    """
    labels = label_names(model)
    predictions = []
    for probabilities in predict_probabilities(model, windows, n_words, pad_id=pad_id, batch_tokens=batch_tokens):
        tags = best_tags(probabilities, labels)
        predictions.append(PredictedSentence(tags, scored_mentions(tags, probabilities, labels)))
    return predictions


def load_recogniser(ner: Artifact, *, device: str, threads: int, batch_tokens: int) -> Recogniser:
    """The model of a ner artifact, on its device.

    Args:
        batch_tokens: most tokens in one forward pass.

    Raises:
        UnavailableError: the device is not there, or the tokenizer cannot be loaded.
    """
    allocator.keep_freed_memory()
    options = ner.manifest.config
    tokenizer = models.load_tokenizer(ner.path, lowercase=options["lowercase"])
    model = load_ner(ner.path)
    prepare_model(model, select_device(device, threads=threads))
    return Recogniser(model, tokenizer, label_names(model), options["overlap"], batch_tokens)
