"""A fine-tuned NER model at work: from words to mentions with their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, models
from mslm_cli.artifacts import Artifact
from mslm_cli.corpus.labels import Mention, strict_mentions
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.model import load_ner
from mslm_cli.training.tagging import best_tags, label_names, make_windows, mention_scores, predict_probabilities


class Tagged(NamedTuple):
    """One sentence: a tag a word, the mentions that the tags spell (strict IOB2), the probability of each mention."""

    tags: list[str]
    mentions: list[Mention]
    scores: list[float]


@dataclass(frozen=True)
class Recogniser:
    """A NER model that is ready to predict."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    labels: list[str]
    overlap: int
    batch_tokens: int

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[Tagged]:
        """Tags and mentions of each sentence (its words); a sentence that is too long is read in windows.

        An I- tag that continues nothing belongs to no mention. For the probabilities see ``mention_scores``.
        """
        windows = make_windows(sentences, self.tokenizer, self.tokenizer.model_max_length, self.overlap)
        n_words = [len(words) for words in sentences]
        pad_id = self.tokenizer.pad_token_id
        tagged = []
        for found in predict_probabilities(self.model, windows, n_words, pad_id=pad_id, batch_tokens=self.batch_tokens):
            tags = best_tags(found, self.labels)
            mentions = strict_mentions(tags)
            tagged.append(Tagged(tags, mentions, mention_scores(mentions, found, self.labels)))
        return tagged


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
