"""Relation extraction between given mentions or concepts, by classifying marked pairs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import console
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.pairs import MAX_PAIRS, Pair, PairRules, candidates, related_types
from mslm_cli.corpus.relations import NO_RELATION, RelationCorpus, RelationDocument, read_relations
from mslm_cli.corpus.scored_documents import ScoredDocuments, ScoredEntity, scored_document
from mslm_cli.corpus.standoff import SplitWords
from mslm_cli.errors import DataError, UsageError
from mslm_cli.evaluation.document_scores import METRICS
from mslm_cli.evaluation.exact_match import exact_match
from mslm_cli.evaluation.thresholds import NEUTRAL
from mslm_cli.tasks.task import check_shared
from mslm_cli.text.tokens import token_spans
from mslm_cli.training import model_card
from mslm_cli.training.classifier import TokenClassifier, config_of
from mslm_cli.training.labelled import LabelledSequences, TrainingSource
from mslm_cli.training.last_layer import is_bert_like
from mslm_cli.training.metric import Metric
from mslm_cli.training.packing import first_position
from mslm_cli.training.pair_data import MarkedText, PairSequences, pair_probabilities
from mslm_cli.training.pair_model import load_pair_classifier
from mslm_cli.training.supervised import Trained
from mslm_cli.training.tagging import best_labels

_OUTSIDE = "O"
"""What ``best_labels`` calls the class of nothing."""

_NOT_FOR_PAIRS = frozenset({"also", "silver", "map", "mask_mentions", "mask_words", "mlm", "overlap", "label_pieces"})


class FoundRelation(NamedTuple):
    """A predicted relation: the numbers of head and tail entity, its type, and its probability."""

    head: int
    tail: int
    type: str
    score: float


@dataclass(frozen=True)
class EncodedPairs:
    """The candidate pairs of each document, and the sequences of all their instances, in order."""

    pairs: list[list[Pair]]
    sequences: PairSequences


class PairProbabilities(NamedTuple):
    """The candidates of a document, and the probability of every label for each: float32 [n_pairs, n_labels]."""

    pairs: list[Pair]
    probabilities: NDArray[np.float32]


class Relations:
    """The task ``relations``."""

    name: ClassVar[str] = "relations"
    kind: ClassVar[str] = "relations"
    metric: ClassVar[Metric] = Metric("f1", METRICS["relations"])
    unused_options: ClassVar[frozenset[str]] = _NOT_FOR_PAIRS

    def read(self, path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> RelationCorpus:
        """Documents with their relations; see ``corpus.relations.read_relations``."""
        return read_relations(path, options, split_words)

    def labels(
        self, train: LabelledCorpus, dev: LabelledCorpus, train_file: Path, others: Iterable[str] = ()
    ) -> list[str]:
        """No relation, then the types of the training data's relations."""
        if not train.types:
            raise DataError("the training data have no relations, so there is nothing to learn", path=train_file)
        if not dev.types:
            raise DataError("the dev data have no relations, so the best epoch cannot be chosen")
        check_shared(train.types, dev.types, train_file, "relation type")
        return [NO_RELATION, *train.types]

    def types(self, labels: Sequence[str]) -> set[str]:
        """The types of relations."""
        return set(labels) - {NO_RELATION}

    def new_model(
        self, encoder: Path, labels: list[str], config: FinetuneConfig, train: LabelledCorpus
    ) -> PreTrainedModel:
        """The encoder with a head for pairs; its config records which pairs are candidates."""
        numbered = dict(enumerate(labels))
        names = {"num_labels": len(labels), "id2label": numbered, "label2id": {v: k for k, v in numbered.items()}}
        rules = _rules(_of_relations(train), config)
        recorded = asdict(rules) | {"types": sorted(map(list, rules.types))}
        recorded["are_concepts"] = _of_relations(train).are_concepts
        model = load_pair_classifier(encoder, allow_pickle=config.allow_pickle, seed=config.seed, **names)
        if config.markers == "appended" and not (is_bert_like(model.base_model) and first_position(model) == 0):
            family = model.config.model_type
            hint = "use --markers inserted, or an encoder of the BERT or ELECTRA family"
            raise UsageError(f"--markers appended does not work with encoders of type {family}", hint=hint)
        model.config.pair_rules = recorded
        return model

    def load_model(self, folder: Path) -> PreTrainedModel:
        """A pair classifier."""
        return load_pair_classifier(folder, allow_pickle=False, seed=0)

    def training_data(
        self,
        sources: Sequence[TrainingSource],
        labels: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        config: FinetuneConfig,
    ) -> LabelledSequences:
        """A sequence for each instance of each candidate pair; pairs without a relation have the label of none."""
        corpus = _of_relations(sources[0].corpus)
        encoded = _encode(corpus, _rules(corpus, config), tokenizer, config)
        number = {label: i for i, label in enumerate(labels)}
        classes: list[int] = []
        of_pairs: Counter[str] = Counter()
        for document, pairs in zip(corpus.documents, encoded.pairs, strict=True):
            of_pair = {(head, tail): kind for head, tail, kind in document.relations}
            for pair in pairs:
                label = of_pair.get((pair.head, pair.tail), NO_RELATION)
                of_pairs[label] += 1
                classes += [number[label]] * len(pair.instances)
        n_related = sum(n for label, n in of_pairs.items() if label != NO_RELATION)
        if not n_related:
            raise DataError(
                "no relation of the training data is between a candidate pair, so there is nothing to learn",
                hint="--pairs document takes pairs of different sentences, too",
            )
        _report(of_pairs, labels, corpus.n_gold - n_related)
        found = encoded.sequences
        return LabelledSequences(
            found.offsets,
            found.input_ids,
            found.instance_offsets,
            found.heads,
            np.array(classes, np.int64)[found.order],
            partners=found.tails,
            layout=found.layout,
        )

    def encode(
        self,
        corpus: LabelledCorpus,
        model: TokenClassifier,
        tokenizer: PreTrainedTokenizerFast,
        config: FinetuneConfig,
    ) -> EncodedPairs:
        """The candidate pairs by the rules that the model's config records."""
        return _encode(_of_relations(corpus), recorded_rules(model), tokenizer, config)

    def probabilities(
        self, model: TokenClassifier, encoded: EncodedPairs, *, pad_id: int, batch_tokens: int
    ) -> list[PairProbabilities]:
        """The probabilities of each candidate pair, by document: those of its instance most probably related."""
        assert isinstance(model, PreTrainedModel)
        found = pair_probabilities(model, encoded.sequences, pad_id=pad_id, batch_tokens=batch_tokens)
        results = []
        first = 0
        for pairs in encoded.pairs:
            bounds = first + np.cumsum([0, *(len(pair.instances) for pair in pairs)])
            chosen = [start + int(found[start:end, 0].argmin()) for start, end in pairwise(bounds.tolist())]
            results.append(PairProbabilities(pairs, found[chosen]))
            first = int(bounds[-1])
        return results

    def decode(
        self, found: Sequence[PairProbabilities], labels: Sequence[str], threshold: float = NEUTRAL
    ) -> list[list[FoundRelation]]:
        """The relations in each document."""
        names = [_OUTSIDE if label == NO_RELATION else label for label in labels]
        results = []
        for pairs, probabilities in found:
            best = best_labels(probabilities, names, threshold).tolist()
            results.append(
                [
                    FoundRelation(pair.head, pair.tail, labels[k], float(probabilities[i, k]))
                    for i, (pair, k) in enumerate(zip(pairs, best, strict=True))
                    if labels[k] != NO_RELATION
                ]
            )
        return results

    def without(self, predicted: Sequence[Sequence[FoundRelation]], types: frozenset[str]) -> list[list[FoundRelation]]:
        """The relations of other types."""
        return [[relation for relation in document if relation.type not in types] for document in predicted]

    def chosen_on_dev(self, gold: LabelledCorpus, found: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
        """Nothing."""
        return {}

    def score(self, gold: LabelledCorpus, predicted: Sequence[Sequence[FoundRelation]]) -> dict[str, Any]:
        """Precision, recall and F1 over relations, and the counts; direction counts."""
        found = [[relation[:3] for relation in document] for document in predicted]
        return exact_match([d.relations for d in _of_relations(gold).documents], found).micro.to_json()

    def scored(self, gold: LabelledCorpus, predicted: Sequence[Sequence[FoundRelation]]) -> ScoredDocuments:
        """The documents with gold and predicted relations."""
        documents = [
            scored_document(
                document.id,
                self.name,
                [
                    [document.text[start:end] for start, end in document.words[first:last]]
                    for first, last in document.sentences
                ],
                document.relations,
                [(relation[:3], relation.score) for relation in found],
                [ScoredEntity(entity.id, entity.type, entity.mentions) for entity in document.entities],
            )
            for document, found in zip(_of_relations(gold).documents, predicted, strict=True)
        ]
        return ScoredDocuments(tuple(documents), self.name)

    def card(self, config: FinetuneConfig, labels: Sequence[str], train: LabelledCorpus, trained: Trained) -> str:
        """The model card: usage and dev scores."""
        corpus = _of_relations(train)
        between = sorted(f"{head} and {tail}" for head, tail in related_types(corpus.documents))
        size = f"{console.count(len(corpus.documents), 'document')} with {console.count(corpus.n_gold, 'relation')}"
        return model_card.relations(config, labels[1:], between, size, trained)


def recorded_rules(model: TokenClassifier) -> PairRules:
    """Which pairs a trained model is meant for."""
    recorded = {name: value for name, value in config_of(model).pair_rules.items() if name != "are_concepts"}
    types = frozenset((str(head), str(tail)) for head, tail in recorded.pop("types"))
    return PairRules(types, **recorded)


def are_concepts(model: TokenClassifier) -> bool:
    """Whether a trained model relates concepts, not single mentions."""
    return bool(config_of(model).pair_rules["are_concepts"])


def _of_relations(corpus: LabelledCorpus) -> RelationCorpus:
    assert isinstance(corpus, RelationCorpus)
    return corpus


def _rules(train: RelationCorpus, config: FinetuneConfig) -> PairRules:
    return PairRules(related_types(train.documents), config.pairs, config.max_distance, config.instances)


def _encode(
    corpus: RelationCorpus, rules: PairRules, tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
) -> EncodedPairs:
    pairs: list[list[Pair]] = []
    too_many: list[tuple[RelationDocument, int]] = []
    for document in corpus.documents:
        found, n_more = candidates(document, rules)
        pairs.append(found)
        if n_more:
            too_many.append((document, n_more))
    if too_many:
        document, n_more = too_many[0]
        console.warn(
            f"{console.count(len(too_many), 'document')} with more than {MAX_PAIRS:,} candidate pairs, of which the"
            f" nearest are kept; the first is {document.id}, with {n_more:,} more (--max-distance limits them, too)"
        )
    context = None if config.context == "document" else config.context
    is_appended = config.markers == "appended"
    text = MarkedText(tokenizer, tokenizer.model_max_length, context, is_appended=is_appended)
    instances = [
        [
            (document.entities[pair.head].type, document.entities[pair.tail].type, instance)
            for pair in of_document
            for instance in pair.instances
        ]
        for document, of_document in zip(corpus.documents, pairs, strict=True)
    ]
    return EncodedPairs(pairs, text.sequences(corpus.documents, instances))


def _report(of_pairs: Counter[str], labels: Sequence[str], n_lost: int) -> None:
    """Print how many candidate pairs each class has."""
    total = of_pairs.total()
    shares = ", ".join(f"{label} {of_pairs[label]:,} ({100 * of_pairs[label] / total:.1f} %)" for label in labels)
    console.note(f"{total:,} candidate pairs in train: {shares}")
    if n_lost:
        console.note(
            f"{console.count(n_lost, 'relation')} in train not among the candidates, so not learnt"
            " (see --pairs and --max-distance)"
        )


RELATIONS = Relations()
