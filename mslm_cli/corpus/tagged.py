"""Sentences of words with tags, from any format: as gold sentences, as text, and as annotated text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from mslm_cli.corpus import documents as units
from mslm_cli.corpus.documents import EMPTY_WORD, Document, LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import count_orphans, detect_scheme, has_several_tags, mentions_from_tags, split_tag
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation
from mslm_cli.errors import DataError

_SEVERAL_HINT = "mentions cannot overlap: give one tag for each word, the others in files of their own"
_TAG_HINT = "expected O and B-TYPE, I-TYPE (or E-, S-, L-, U-), or bare O, B, I"


@dataclass(slots=True)
class TaggedSentence:
    """The rows of one sentence; ``doc`` is an id from the input or, with ``named`` false, made from a number.

    ``tags``: one for each word. ``gold``: gold tags, if ``tags`` are predicted ones. ``line``: of the first row.
    """

    doc: str | None
    named: bool
    words: Sequence[str] = ()
    tags: Sequence[str] = ()
    gold: Sequence[str] = ()
    line: int = 0


@dataclass(slots=True)
class OpenSentence(TaggedSentence):
    """A sentence whose rows are still being read."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    gold: list[str] = field(default_factory=list)

    def closed(self) -> TaggedSentence:
        """The sentence, in less memory: all of a file are held at once."""
        tags, gold = tuple(self.tags), tuple(self.gold)
        return TaggedSentence(self.doc, self.named, tuple(self.words), gold if gold == tags else tags, gold, self.line)


def known_tag(tag: str, known: dict[str, str], name: str, line: int) -> str:
    """``tag`` after a check; equal tags of a column are one object, which saves memory."""
    if tag in known:
        return known[tag]
    if has_several_tags(tag):
        raise DataError(f"several tags in one cell: {tag[:40]!r}", path=name, line=line, hint=_SEVERAL_HINT)
    if not is_tag(tag):
        raise DataError(f"unknown tag {tag[:40]!r}", path=name, line=line, hint=_TAG_HINT)
    if tag != "O" and any(other != "O" and ("-" in other) != ("-" in tag) for other in known):
        kinds = ("typed", "bare") if "-" in tag else ("bare", "typed")
        raise DataError(f"{kinds[0]} tag {tag[:40]!r} in a file with {kinds[1]} tags", path=name, line=line)
    return known.setdefault(tag, tag)


def is_tag(cell: str) -> bool:
    try:
        split_tag(cell)
    except ValueError:
        return False
    return True


def corpus_of(blocks: Sequence[TaggedSentence], tags: Sequence[Sequence[str]]) -> LabelledCorpus:
    """The sentences with the mentions in ``tags``, which are a column of ``blocks``."""
    scheme = detect_scheme(tags)
    n_orphans = 0 if scheme in ("IO", "IOB1") else sum(map(count_orphans, tags))
    n_empty_words = 0
    sentences: list[LabelledSentence] = []
    numbers: Counter[str | None] = Counter()
    types: set[str] = set()
    for block, of_words in zip(blocks, tags, strict=True):
        numbers[block.doc] += 1
        number = str(numbers[block.doc])
        mentions = tuple(mentions_from_tags(of_words))
        types.update(kind for _, _, kind in mentions)
        n_empty_words += block.words.count("")
        sentences.append(
            LabelledSentence(
                id=number if block.doc is None else f"{block.doc}:{number}",
                doc=block.doc,
                words=tuple(block.words if all(block.words) else (word or EMPTY_WORD for word in block.words)),
                mentions=mentions,
                tags=tuple(of_words),
            )
        )
    return LabelledCorpus(tuple(sentences), tuple(sorted(types)), scheme, n_orphans, n_empty_words)


def tagged_corpus(sentences: Sequence[TaggedSentence]) -> LabelledCorpus:
    """The sentences with the mentions of their tags."""
    return corpus_of(sentences, [sentence.tags for sentence in sentences])


def tagged_documents(blocks: Iterable[TaggedSentence], label: str) -> Iterator[Document]:
    """Words joined by spaces, sentences by line ends, without empty words; tags are ignored.

    Sentences without a document form one document. Documents without an id get ``label`` and a number.
    """
    sentences: list[Sequence[str]] = []
    n_chars = n_documents = first = 0
    doc: str | None = None
    named = False

    def assembled() -> Document:
        nonlocal n_documents
        n_documents += 1
        return _assembled(sentences, doc if named and doc else f"{label}:{n_documents}", named, first)

    for block in blocks:
        if not any(block.words):
            continue
        if sentences and (block.doc != doc or n_chars > units.MAX_DOCUMENT_CHARS):
            part = assembled()
            yield part
            first = first + len(part.text) + 1 if named and block.doc == doc else 0
            sentences.clear()
            n_chars = 0
        doc, named = block.doc, block.named
        sentences.append(block.words)
        n_chars += sum(len(word) + 1 for word in block.words)
    if sentences:
        yield assembled()


def _assembled(sentences: Sequence[Sequence[str]], doc_id: str, has_id: bool, first: int) -> Document:
    texts = [" ".join(filter(None, words)) for words in sentences]
    ends = list(accumulate(len(text) + 1 for text in texts))
    spans = tuple((end - 1 - len(text), end - 1) for text, end in zip(texts, ends, strict=True))
    return Document(doc_id, "\n".join(texts), spans, has_id, tuple(map(tuple, sentences)), first)


def tagged_annotated(blocks: Sequence[TaggedSentence], label: str) -> Iterator[AnnotatedDocument]:
    """The documents of ``tagged_documents``, with the mentions in the tags."""
    filled = [block for block in blocks if any(block.words)]
    sentences = iter(tagged_corpus(filled).sentences)
    for document in tagged_documents(filled, label):
        assert document.sentences is not None
        assert document.words is not None
        annotations = []
        for (position, _), words in zip(document.sentences, document.words, strict=True):
            starts = []
            for word in words:
                starts.append(position)
                position += len(word) + 1 if word else 0
            for start, end, kind in next(sentences).mentions:
                span = starts[start], starts[end - 1] + len(words[end - 1])
                if span[0] < span[1]:
                    annotations.append(Annotation((span,), kind))
        yield AnnotatedDocument(document.id, document.text, tuple(annotations), document.has_id)
