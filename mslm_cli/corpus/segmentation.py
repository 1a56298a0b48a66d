"""Documents as sentences of words, for models that label words."""

from collections.abc import Callable
from dataclasses import dataclass

from mslm_cli.corpus.documents import Document
from mslm_cli.text.sentences import split_sentences


@dataclass(frozen=True, slots=True)
class SegmentedDocument:
    """A document as sentences of words, each word as [start, end) characters of its text."""

    document: Document
    sentences: list[list[tuple[int, int]]]

    def words(self, sentence: int) -> list[str]:
        """The words of a sentence, by its number."""
        text = self.document.text
        return [text[start:end] for start, end in self.sentences[sentence]]


def segmented(document: Document, split_words: Callable[[str], list[tuple[int, int]]]) -> SegmentedDocument:
    """``document`` with its own sentences and words if the input has them, else split by rule."""
    text = document.text
    if document.sentences is None or document.words is None:
        bounds = split_sentences(text)
        return SegmentedDocument(
            document, [[(start + a, start + b) for a, b in split_words(text[start:end])] for start, end in bounds]
        )
    sentences = []
    for (start, _), words in zip(document.sentences, document.words, strict=True):
        position, spans = start, []
        for word in words:
            # an empty word is not in the text; put it at the end of the previous word
            first = position if word else max(start, position - 1)
            spans.append((first, first + len(word)))
            position += len(word) + 1 if word else 0
        sentences.append(spans)
    return SegmentedDocument(document, sentences)
