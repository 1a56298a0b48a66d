"""Named entity recognition by IOB2 tags of words.

Functions import what only training needs, and transformers with it, which takes seconds: prediction may do without.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.labels import iob2_tags
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.readers import read_gold
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError
from mslm_cli.evaluation.exact_match import STRICT_F1, exact_match
from mslm_cli.evaluation.thresholds import NEUTRAL
from mslm_cli.tasks.spans import SpanTask
from mslm_cli.tasks.task import check_shared
from mslm_cli.text.tokens import token_spans
from mslm_cli.training.classifier import TokenClassifier
from mslm_cli.training.metric import Metric
from mslm_cli.training.tagging import (
    Context,
    Windows,
    best_labels,
    make_windows,
    predict_probabilities,
    scored_mentions,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from mslm_cli.models import AnyTokenizer
    from mslm_cli.training.labelled import LabelledSequences, TrainingSource
    from mslm_cli.training.supervised import Trained


@dataclass(frozen=True)
class EncodedText:
    """Sentences as windows with one labelled piece per word, and the number of words in each sentence."""

    windows: Windows
    n_words: list[int]


class Ner(SpanTask):
    """The task ``ner``."""

    name: ClassVar[str] = "ner"
    metric: ClassVar[Metric] = Metric("f1", STRICT_F1)

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        """Labelled sentences; warns about irregularities."""
        return read_gold(path, options, split_words)

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        """O, then B- and I- of each type of the training data and of ``others``."""
        if not train.types:
            raise DataError("the training data have no mentions, so there is nothing to learn", path=train_file)
        if dev.types:
            check_shared(train.types, dev.types, train_file, "type")
        types = [*train.types, *sorted(set(others) - set(train.types))]
        return iob2_tags(types)

    def types(self, labels: Sequence[str]) -> set[str]:
        """The entity types."""
        return {label[2:] for label in labels if label != "O"}

    def new_model(
        self, encoder: Path, labels: list[str], config: FinetuneConfig, train: LabelledCorpus
    ) -> "PreTrainedModel":
        """The encoder with a token-classification head.

        For known types it is that of the encoder, if this is a NER model or was adapted to detect DS-terms.
        """
        from mslm_cli.training.model import copy_detection_head, detected_labels, labels_of, load_token_classifier

        known = [_renamed(label, config.type_names) for label in labels_of(encoder)]
        if found := self.types(known):
            wanted = self.types(labels)
            kept, fresh = sorted(found & wanted), sorted(wanted - found)
            told = f"keeping its head for {', '.join(kept)}" if kept else f"it knows only {', '.join(sorted(found))}"
            console.note(f"{config.model} is a NER model: {told}" + f"; fresh for {', '.join(fresh)}" * bool(fresh))
        model = load_token_classifier(encoder, labels, allow_pickle=config.allow_pickle, seed=config.seed, known=known)
        detected = [_renamed(label, config.type_names) for label in detected_labels(encoder)]
        if kept := sorted(self.types(copy_detection_head(encoder, model, detected))):
            console.note(f"{config.model} has learnt to detect {', '.join(kept)}: its head starts from there")
        return model

    def load_model(self, folder: Path) -> "PreTrainedModel":
        """A token classifier."""
        from mslm_cli.training.model import load_ner

        return load_ner(folder)

    def training_data(
        self,
        sources: "Sequence[TrainingSource]",
        labels: Sequence[str],
        tokenizer: "PreTrainedTokenizerFast",
        config: FinetuneConfig,
    ) -> "LabelledSequences":
        """Windows of the sentences; see ``training_sequences``."""
        from mslm_cli.training.tagging_data import training_sequences

        return training_sequences(sources, labels, tokenizer, config)

    def encode(
        self,
        corpus: LabelledCorpus,
        model: TokenClassifier,
        tokenizer: "AnyTokenizer",
        config: FinetuneConfig,
    ) -> EncodedText:
        """Windows of the sentences; long sentences give several."""
        sentences = [sentence.words for sentence in corpus.sentences]
        context = Context.of(config, [sentence.doc for sentence in corpus.sentences])
        windows = make_windows(sentences, tokenizer, tokenizer.model_max_length, config.overlap, context=context)
        return EncodedText(windows, list(map(len, sentences)))

    def probabilities(
        self, model: TokenClassifier, encoded: EncodedText, *, pad_id: int, batch_tokens: int
    ) -> list[NDArray[np.float32]]:
        """The probability of every label for every word, by sentence: float32 [n_words, n_labels] each."""
        return predict_probabilities(model, encoded.windows, encoded.n_words, pad_id=pad_id, batch_tokens=batch_tokens)

    def decode(
        self, found: Sequence[NDArray[np.float32]], labels: Sequence[str], threshold: float = NEUTRAL
    ) -> list[PredictedSentence]:
        """Tags, and their mentions with probabilities; an I- that continues no mention is ignored."""
        predictions = []
        for probabilities in found:
            best = best_labels(probabilities, labels, threshold)
            tags = [labels[i] for i in best.tolist()]
            confidence = float(probabilities[np.arange(len(best)), best].min(initial=1.0))
            predictions.append(PredictedSentence(tags, scored_mentions(tags, probabilities, labels), confidence))
        return predictions

    def score(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> dict[str, Any]:
        """Precision, recall and F1 of strict exact match, and the counts."""
        found = [[mention.mention for mention in sentence.mentions] for sentence in predicted]
        return exact_match([s.mentions for s in gold.sentences], found).micro.to_json()

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: "Trained") -> str:
        """The model card: usage and dev scores."""
        from mslm_cli.training import model_card

        return model_card.ner(config, sorted(self.types(labels)), train, trained)


def _renamed(label: str, names: Mapping[str, str]) -> str:
    prefix, dash, kind = label.partition("-")
    return prefix + dash + names.get(kind, kind)


NER = Ner()
