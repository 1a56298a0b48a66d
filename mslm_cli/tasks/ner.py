"""Named entity recognition by IOB2 tags of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.readers import read_gold
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError
from mslm_cli.evaluation.exact_match import STRICT_F1, exact_match
from mslm_cli.text.tokens import token_spans
from mslm_cli.training import model_card
from mslm_cli.training.labelled import LabelledSequences
from mslm_cli.training.model import label_names, labels_of, load_ner, load_token_classifier
from mslm_cli.training.supervised import Metric, Trained
from mslm_cli.training.tagging import (
    Windows,
    best_tags,
    continuations_of,
    make_windows,
    piece_classes,
    predict_probabilities,
    scored_mentions,
)


@dataclass(frozen=True)
class EncodedText:
    """Sentences as windows with one labelled piece per word, and the number of words in each sentence."""

    windows: Windows
    n_words: list[int]


class Ner:
    """The task ``ner``."""

    name: ClassVar[str] = "ner"
    metric: ClassVar[Metric] = Metric("f1", STRICT_F1)

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> LabelledCorpus:
        """Labelled sentences; warns about irregularities."""
        return read_gold(path, options, split_words)

    def labels(self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path) -> list[str]:
        """O, then B- and I- of each type of the training data."""
        if not train.types:
            raise DataError("the training data have no mentions, so there is nothing to learn", path=train_file)
        if dev.types and not set(train.types) & set(dev.types):
            raise DataError(
                f"no type of the dev data is in the training data: {', '.join(dev.types)} there,"
                f" {', '.join(train.types)} in training",
                path=train_file,
                hint="are both files of the same corpus?",
            )
        if unknown := sorted(set(dev.types) - set(train.types)):
            console.warn(f"types in the dev data but not in the training data, never predicted: {', '.join(unknown)}")
        return ["O", *(f"{prefix}-{entity_type}" for entity_type in train.types for prefix in "BI")]

    def types(self, labels: Sequence[str]) -> set[str]:
        """The entity types."""
        return {label[2:] for label in labels if label != "O"}

    def new_model(self, encoder: Path, labels: list[str], config: FinetuneConfig) -> PreTrainedModel:
        """The encoder with a token-classification head, which is kept for known types if the encoder is a NER model."""
        if found := self.types(labels_of(encoder)):
            wanted = self.types(labels)
            kept, fresh = sorted(found & wanted), sorted(wanted - found)
            told = f"keeping its head for {', '.join(kept)}" if kept else f"it knows only {', '.join(sorted(found))}"
            console.note(f"{config.model} is a NER model: {told}" + f"; fresh for {', '.join(fresh)}" * bool(fresh))
        return load_token_classifier(encoder, labels, allow_pickle=config.allow_pickle, seed=config.seed)

    def load_model(self, folder: Path) -> PreTrainedModel:
        """A token classifier."""
        return load_ner(folder)

    def training_data(
        self, corpus: LabelledCorpus, labels: Sequence[str], tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
    ) -> LabelledSequences:
        """Windows of the sentences, with the first or all pieces of each word labelled."""
        number = {label: i for i, label in enumerate(labels)}
        label_ids = [
            np.array([number.get(t, 0) for t in tags_from_mentions(s.mentions, len(s.words))], dtype=np.int64)
            for s in corpus.sentences
        ]
        words, all_pieces = [s.words for s in corpus.sentences], config.label_pieces == "all"
        w = make_windows(words, tokenizer, tokenizer.model_max_length, config.overlap, all_pieces=all_pieces)
        classes = piece_classes(w, label_ids, continuations_of(labels))
        return LabelledSequences(w.offsets, w.input_ids, w.label_offsets, w.pieces, classes)

    def encode(
        self, sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
    ) -> EncodedText:
        """Windows of the sentences; long sentences give several."""
        windows = make_windows(sentences, tokenizer, tokenizer.model_max_length, config.overlap)
        return EncodedText(windows, list(map(len, sentences)))

    def predict(
        self, model: PreTrainedModel, encoded: EncodedText, *, pad_id: int, batch_tokens: int
    ) -> list[PredictedSentence]:
        """Tags, and their mentions with probabilities; an I- that continues no mention is ignored."""
        labels = label_names(model)
        found = predict_probabilities(model, encoded.windows, encoded.n_words, pad_id=pad_id, batch_tokens=batch_tokens)
        predictions = []
        for probabilities in found:
            tags = best_tags(probabilities, labels)
            predictions.append(PredictedSentence(tags, scored_mentions(tags, probabilities, labels)))
        return predictions

    def score(self, gold: LabelledCorpus, predicted: Sequence[PredictedSentence]) -> dict[str, Any]:
        """Precision, recall and F1 of strict exact match, and the counts."""
        found = [[mention.mention for mention in sentence.mentions] for sentence in predicted]
        return exact_match([s.mentions for s in gold.sentences], found).micro.to_json()

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: Trained) -> str:
        """The model card: usage and dev scores."""
        return model_card.ner(config, sorted(self.types(labels)), train, trained)


NER = Ner()
