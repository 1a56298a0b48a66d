"""Classification of documents or sentences, with one label each or any number of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.classified import ClassifiedCorpus, read_classified
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.scored_documents import ScoredDocuments, scored_document
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError
from mslm_cli.evaluation.document_scores import METRICS
from mslm_cli.evaluation.exact_match import exact_match
from mslm_cli.evaluation.thresholds import NEUTRAL, THRESHOLDS
from mslm_cli.masking.batch import Int64
from mslm_cli.tasks.task import PAIR_OPTIONS, check_shared
from mslm_cli.text.tokens import token_spans
from mslm_cli.training import model_card
from mslm_cli.training.classifier import TokenClassifier, config_of
from mslm_cli.training.labelled import LabelledSequences, TrainingSource
from mslm_cli.training.metric import Metric
from mslm_cli.training.model import load_ner, load_token_classifier
from mslm_cli.training.supervised import Trained
from mslm_cli.training.tagging import Windows, make_windows, position_logits

_MULTI: Literal["multi_label_classification"] = "multi_label_classification"
_SINGLE: Literal["single_label_classification"] = "single_label_classification"
"""As ``transformers`` calls them in a config's ``problem_type``."""

_MIN_POSITIVES = 5
"""With fewer documents on dev, a label keeps the neutral threshold."""

_UNUSED = frozenset(
    {"also", "silver", "map", "mask_mentions", "mask_words", "mlm", "label_pieces", "context"} | PAIR_OPTIONS
)


class FoundLabels(NamedTuple):
    """The predicted labels of a document, each with its probability."""

    labels: tuple[tuple[str, float], ...]


class LabelProbabilities(NamedTuple):
    """The probability of each label of a document, and the threshold of each: float64 [n_labels].

    thresholds: None if the most probable label is the one.
    """

    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64] | None


@dataclass(frozen=True)
class EncodedDocuments:
    """The windows of documents, and the number of documents."""

    windows: Windows
    n_documents: int


class Documents:
    """The task ``documents``."""

    name: ClassVar[str] = "documents"
    kind: ClassVar[str] = "documents"
    metric: ClassVar[Metric] = Metric("f1", METRICS["documents"])
    unused_options: ClassVar[frozenset[str]] = _UNUSED

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> ClassifiedCorpus:
        """Documents with their labels; see ``corpus.classified.read_classified``."""
        return read_classified(path, options, split_words)

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        """The labels of the training data."""
        if len(train.types) < 2 and not _classified(train).is_multi:
            message = f"every training document has the label {train.types[0]!r}, so there is nothing to learn"
            raise DataError(message, path=train_file)
        check_shared(train.types, dev.types, train_file, "label")
        counts = Counter(label for document in _classified(train).documents for label in document.labels)
        shown = ", ".join(f"{label} {n:,}" for label, n in counts.most_common(12))
        console.note(f"labels in train: {shown}{', ...' * (len(counts) > 12)}")
        return list(train.types)

    def types(self, labels: Sequence[str]) -> set[str]:
        """The labels."""
        return set(labels)

    def new_model(
        self, encoder: Path, labels: list[str], config: FinetuneConfig, train: LabelledCorpus
    ) -> PreTrainedModel:
        """The encoder with a head that is read at the first token; its config says whether labels exclude others."""
        model = load_token_classifier(encoder, labels, allow_pickle=config.allow_pickle, seed=config.seed)
        model.config.problem_type = _MULTI if _classified(train).is_multi else _SINGLE
        return model

    def load_model(self, folder: Path) -> PreTrainedModel:
        """A token classifier."""
        return load_ner(folder)

    def training_data(
        self,
        sources: Sequence[TrainingSource],
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        config: FinetuneConfig,
    ) -> LabelledSequences:
        """Windows of the documents, labelled at the first token; those of a document share its weight."""
        corpus = _classified(sources[0].corpus)
        encoded = _encode(corpus, tokenizer, config)
        windows = encoded.windows
        number = {label: i for i, label in enumerate(labels)}
        of_each = [[number[label] for label in document.labels] for document in corpus.documents]
        sets = np.zeros((len(of_each) if corpus.is_multi else 0, len(labels)), np.bool_)
        if corpus.is_multi:
            for row, own in zip(sets, of_each, strict=True):
                row[own] = True
            classes: Int64 = np.arange(len(of_each))
        else:
            classes = np.array([own[0] for own in of_each], np.int64)
        n_windows = np.bincount(windows.sentences, minlength=encoded.n_documents)
        return LabelledSequences(
            windows.offsets,
            windows.input_ids,
            np.arange(len(windows) + 1),
            np.zeros(len(windows), np.int64),
            classes[windows.sentences],
            label_sets=sets,
            weights=(1 / n_windows[windows.sentences]).astype(np.float32),
            is_multi=corpus.is_multi,
        )

    def encode(
        self,
        corpus: LabelledCorpus,
        model: TokenClassifier,
        tokenizer: PreTrainedTokenizerFast,
        config: FinetuneConfig,
    ) -> EncodedDocuments:
        """Windows of the documents; long documents give several."""
        return _encode(_classified(corpus), tokenizer, config)

    def probabilities(
        self, model: TokenClassifier, encoded: EncodedDocuments, *, pad_id: int, batch_tokens: int
    ) -> list[LabelProbabilities]:
        """The probabilities of the labels of each document: the means over its windows."""
        is_multi = config_of(model).problem_type == _MULTI
        windows = encoded.windows
        first = np.zeros(len(windows), np.int64)
        logits = position_logits(model, windows, first, pad_id=pad_id, batch_tokens=batch_tokens).astype(np.float64)
        if is_multi:
            of_windows = 1 / (1 + np.exp(-logits))
        else:
            of_windows = np.exp(logits - logits.max(-1, keepdims=True))
            of_windows /= of_windows.sum(-1, keepdims=True)
        sums = np.zeros((encoded.n_documents, logits.shape[1]))
        np.add.at(sums, windows.sentences, of_windows)
        means = sums / np.bincount(windows.sentences, minlength=encoded.n_documents)[:, None]
        thresholds = None
        if is_multi:
            chosen = getattr(config_of(model), "label_thresholds", None)
            thresholds = np.full(logits.shape[1], NEUTRAL) if chosen is None else np.array(chosen, np.float64)
        return [LabelProbabilities(row, thresholds) for row in means]

    def decode(
        self, found: Sequence[LabelProbabilities], labels: Sequence[str], threshold: float = NEUTRAL
    ) -> list[FoundLabels]:
        """The most probable label, or of several labels those above their thresholds, whose odds are scaled."""
        results = []
        for row, thresholds in found:
            if thresholds is None:
                chosen = [int(row.argmax())]
            else:
                chosen = np.flatnonzero(row >= _scaled(thresholds, threshold)).tolist()
            results.append(FoundLabels(tuple((labels[i], float(row[i])) for i in chosen)))
        return results

    def without(self, predicted: Sequence[FoundLabels], types: frozenset[str]) -> list[FoundLabels]:
        """The other labels."""
        return [FoundLabels(tuple(one for one in found.labels if one[0] not in types)) for found in predicted]

    def chosen_on_dev(
        self, gold: LabelledCorpus, found: Sequence[LabelProbabilities], labels: Sequence[str]
    ) -> dict[str, Any]:
        """The threshold of each label, where a document can have several: that with the best F1."""
        if not found or found[0].thresholds is None:
            return {}
        probabilities = np.stack([row for row, _ in found])
        documents = _classified(gold).documents
        has_label = np.array([[label in document.labels for label in labels] for document in documents])
        columns = zip(probabilities.T, has_label.T, strict=True)
        return {"label_thresholds": [best_threshold(column, truth) for column, truth in columns]}

    def score(self, gold: LabelledCorpus, predicted: Sequence[FoundLabels]) -> dict[str, Any]:
        """Micro and macro F1, and the counts; precision and recall too if a document can have several labels."""
        corpus = _classified(gold)
        match = exact_match(
            [[(0, 0, label) for label in document.labels] for document in corpus.documents],
            [[(0, 0, label) for label, _ in found.labels] for found in predicted],
        )
        scores = match.micro.to_json() | {"macro_f1": match.macro["f1"]}
        has_choice = any(len(found.labels) != 1 for found in predicted) or corpus.is_multi
        return scores if has_choice else {k: v for k, v in scores.items() if k not in ("precision", "recall")}

    def scored(self, gold: LabelledCorpus, predicted: Sequence[FoundLabels]) -> ScoredDocuments:
        """The documents with gold and predicted labels."""
        documents = [
            scored_document(
                document.id,
                self.kind,
                document.sentences,
                [(0, 0, label) for label in document.labels],
                [((0, 0, label), score) for label, score in found.labels],
            )
            for document, found in zip(_classified(gold).documents, predicted, strict=True)
        ]
        return ScoredDocuments(tuple(documents), self.kind)

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: Trained) -> str:
        """The model card: usage and dev scores."""
        corpus = _classified(train)
        return model_card.documents(config, labels, len(corpus.documents), trained, several=corpus.is_multi)


def best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The threshold with the best F1 of one label; of several, the one nearest to ``NEUTRAL``.

    Args:
        probabilities, truth: of each document.
    """
    if truth.sum() < _MIN_POSITIVES:
        return NEUTRAL

    def f1(threshold: float) -> float:
        chosen = probabilities >= threshold
        return 2 * float((chosen & truth).sum()) / float(chosen.sum() + truth.sum())

    return max(THRESHOLDS, key=lambda threshold: (f1(threshold), -abs(threshold - NEUTRAL)))


def _scaled(thresholds: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """The thresholds with their odds times those of ``by``, which is neutral at 0.5."""
    odds = thresholds / (1 - thresholds) * (by / (1 - by))
    scaled: NDArray[np.float64] = odds / (1 + odds)
    return scaled


def _classified(corpus: LabelledCorpus) -> ClassifiedCorpus:
    assert isinstance(corpus, ClassifiedCorpus)
    return corpus


def _encode(corpus: ClassifiedCorpus, tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig) -> EncodedDocuments:
    words = [[word for sentence in document.sentences for word in sentence] for document in corpus.documents]
    windows = make_windows(words, tokenizer, tokenizer.model_max_length, config.overlap)
    return EncodedDocuments(windows, len(words))


DOCUMENTS = Documents()
