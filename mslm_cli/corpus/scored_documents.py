"""Documents with gold and predicted relations or labels: the lines of predictions.jsonl for tasks beyond mentions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeGuard

from mslm_cli.corpus.seen import is_long_enough, sentence_hash
from mslm_cli.errors import DataError

Item = tuple[int, int, str]
"""Of relations: the numbers of the head and the tail entity, and the type. Of labels: 0, 0, and the label."""


class ScoredEntity(NamedTuple):
    """An entity: its id and type, and its mentions, words [first, last)."""

    id: str
    type: str
    mentions: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """One document with its gold items and the predicted ones, each in order.

    ``kind``: ``relations`` or ``documents``. ``words``: None where the source text was left out. ``hashes``: those of
    the sentences that are long enough to be looked up. ``sentences``: the first word of each. ``scores``: the
    probability of each predicted item, where they have one.
    """

    id: str
    kind: str
    words: tuple[str, ...] | None
    n_words: int
    digest: str
    hashes: tuple[str, ...]
    sentences: tuple[int, ...]
    gold: tuple[Item, ...]
    predicted: tuple[Item, ...]
    scores: tuple[float, ...] | None = None
    entities: tuple[ScoredEntity, ...] = ()

    @property
    def doc(self) -> str:
        """The document, the unit that is resampled."""
        return self.id

    @property
    def n_sentences(self) -> int:
        """The number of its sentences."""
        return len(self.sentences)

    def to_json(self) -> dict[str, Any]:
        """A line of predictions.jsonl, without the errors."""
        return {
            "id": self.id,
            "kind": self.kind,
            **({"n_words": self.n_words} if self.words is None else {"words": self.words}),
            "hash": self.digest,
            "sentence_hashes": self.hashes,
            "sentences": self.sentences,
            **({"entities": self.entities} if self.kind == "relations" else {}),
            "gold": self.gold,
            "pred": self.predicted,
            **({} if self.scores is None else {"scores": self.scores}),
        }

    def shown(self, entity: int) -> str:
        """The text of the first mention of an entity; its id where the text was left out."""
        found = self.entities[entity]
        if self.words is None:
            return found.id
        first, last = found.mentions[0]
        return " ".join(self.words[first:last])


@dataclass(frozen=True, slots=True)
class ScoredDocuments:
    """A test set of documents with predictions; ``kind``: ``relations`` or ``documents``."""

    documents: tuple[ScoredDocument, ...]
    kind: str

    @property
    def rows(self) -> tuple[ScoredDocument, ...]:
        """What is scored one by one: the documents."""
        return self.documents

    def without_text(self) -> "ScoredDocuments":
        """The same without the words."""
        return replace(self, documents=tuple(replace(document, words=None) for document in self.documents))

    @property
    def gold_types(self) -> set[str]:
        """The types of the gold items."""
        return {kind for document in self.documents for *_, kind in document.gold}

    @property
    def predicted_types(self) -> set[str]:
        """The types of the predicted items."""
        return {kind for document in self.documents for *_, kind in document.predicted}


def scored_document(
    id_: str,
    kind: str,
    sentences: Sequence[Sequence[str]],
    gold: Sequence[Item],
    predicted: Sequence[tuple[Item, float]],
    entities: Sequence[ScoredEntity] = (),
) -> ScoredDocument:
    """A document of these ``sentences`` in words, with gold items and predicted ones with their probabilities."""
    words = tuple(word for sentence in sentences for word in sentence)
    texts = [" ".join(sentence) for sentence in sentences]
    firsts, n = [], 0
    for sentence in sentences:
        firsts.append(n)
        n += len(sentence)
    in_order = sorted(predicted)
    return ScoredDocument(
        id_,
        kind,
        words,
        len(words),
        _digest(" ".join(words)),
        tuple(_digest(text) for text in texts if is_long_enough(text)),
        tuple(firsts),
        tuple(sorted(gold)),
        tuple(item for item, _ in in_order),
        tuple(score for _, score in in_order),
        tuple(entities),
    )


def _digest(text: str) -> str:
    return f"{sentence_hash(text):016x}"


def is_scored_document(record: object) -> TypeGuard[dict[str, Any]]:
    """Whether a line of predictions.jsonl is of a document."""
    return isinstance(record, dict) and record.get("kind") in ("relations", "documents")


def document_of(record: dict[str, Any], name: str, line: int) -> ScoredDocument:
    """The document of a line that ``to_json`` wrote.

    Raises:
        DataError: it is not such a line.
    """
    try:
        words = record.get("words")
        entities = tuple(
            ScoredEntity(str(id_), str(kind), tuple((int(a), int(b)) for a, b in mentions))
            for id_, kind, mentions in record.get("entities", ())
        )
        gold, predicted = (
            tuple((int(a), int(b), str(kind)) for a, b, kind in record[side]) for side in ("gold", "pred")
        )
        n_entities = len(entities) if record["kind"] == "relations" else 1
        if any(not 0 <= end < n_entities for a, b, _ in (*gold, *predicted) for end in (a, b)):
            raise ValueError("an item of an entity that is not there")
        scores = record.get("scores")
        if scores is not None and len(scores) != len(predicted):
            raise ValueError(f"{len(scores)} scores for {len(predicted)} items")
        return ScoredDocument(
            str(record["id"]),
            record["kind"],
            None if words is None else tuple(map(str, words)),
            int(record["n_words"]) if words is None else len(words),
            str(record["hash"]),
            tuple(map(str, record["sentence_hashes"])),
            tuple(map(int, record["sentences"])),
            gold,
            predicted,
            None if scores is None else tuple(map(float, scores)),
            entities,
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"not a document of predictions.jsonl ({type(error).__name__}: {error})"
        raise DataError(message, path=name, line=line) from error
