"""The mentions that a model of spans finds in documents of running text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mslm_cli.corpus.documents import EMPTY_WORD
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.segmentation import SegmentedDocument
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.tasks.trained import TrainedModel
from mslm_cli.text.tokens import folded_key


class Span(NamedTuple):
    """A mention: characters [start, end) of the document's text, type, probability, and sentence number."""

    start: int
    end: int
    type: str
    score: float
    sentence: int


@dataclass(frozen=True, slots=True)
class DocumentMentions:
    """A document, or a part of a long one, with its predicted mentions."""

    segmented: SegmentedDocument
    tagged: list[PredictedSentence]

    @property
    def spans(self) -> Iterator[Span]:
        for number, (words, found) in enumerate(zip(self.segmented.sentences, self.tagged, strict=True)):
            for start, end, entity_type, score in found.mentions:
                yield Span(words[start][0], words[end - 1][1], entity_type, score or 0.0, number)


def find_mentions(model: TrainedModel, documents: Sequence[SegmentedDocument]) -> list[DocumentMentions]:
    """The documents with their mentions."""
    sentences = [p.words(i) for p in documents for i in range(len(p.sentences))]
    numbers = [number for number, p in enumerate(documents) for _ in p.sentences]
    tagged = iter(model.predict([[word or EMPTY_WORD for word in words] for words in sentences], numbers))
    return [DocumentMentions(p, [next(tagged) for _ in p.sentences]) for p in documents]


def annotated_mentions(found: DocumentMentions, *, with_concepts: bool) -> AnnotatedDocument:
    """A document with its predicted mentions.

    Args:
        with_concepts: let mentions of the same text and type be of one concept, which the text names.
    """
    document = found.segmented.document
    annotations = tuple(
        Annotation(
            ((span.start, span.end),),
            span.type,
            f"T{number}",
            folded_key(document.text[span.start : span.end]) if with_concepts else "",
            span.score,
        )
        for number, span in enumerate(found.spans, 1)
        if span.start < span.end
    )
    return AnnotatedDocument(document.id, document.text, annotations, document.has_id)
