"""Records of names and values, from JSON or Parquet, as documents and labelled sentences.

A record is a text with spans, as in doccano, Prodigy and spaCy, or the words of a sentence with their tags or with
mentions, as `mslm eval` writes them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mslm_cli.corpus.documents import Document, LabelledCorpus, document_parts
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.source import Source, no_text
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation, labelled_corpus
from mslm_cli.corpus.tagged import TaggedSentence, known_tag, tagged_annotated, tagged_corpus, tagged_documents
from mslm_cli.errors import DataError

_TEXT = ("text",)
_SPANS = ("label", "labels", "spans", "entities", "annotations")
_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "labels", "ner")
_DOC = ("doc_id", "document_id", "doc", "pmid")
_ID = ("id", *_DOC)
_START, _END = ("start", "start_offset", "begin"), ("end", "end_offset", "stop")
_TYPE = ("label", "type", "labels", "entity", "entity_type", "tag")


class Record(NamedTuple):
    """A record: its number, which names its document if it has no id, its values, and the line where it begins.

    If the file has no lines, ``line`` is the number of the record, from 1.
    """

    number: int
    values: Mapping[str, Any]
    line: int


@dataclass(frozen=True)
class Records:
    """The records of one file.

    label_names: by column, the names of numeric tags, if the file gives them.
    """

    source: Source
    records: Iterable[Record]
    label_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def documents(self) -> Iterator[Document]:
        """Their running text, without labels."""
        for first, records in _peeked(self.records):
            if _is_of_words(first):
                yield from tagged_documents(map(self._words_alone, records), self.source.label)
            else:
                for d in map(self._text, records):
                    if d.text.strip():
                        yield from document_parts(Document(d.id, d.text, None, d.has_id))

    def annotated(self) -> Iterator[AnnotatedDocument]:
        """Their text with its mentions.

        Raises:
            DataError: a span does not fit its text, or there are no labels at all.
        """
        for first, records in _peeked(self.records):
            if _is_of_words(first):
                yield from tagged_annotated(self._filled(records), self.source.label)
            else:
                yield from self._with_spans(records)

    def _with_spans(self, records: Iterable[Record]) -> Iterator[AnnotatedDocument]:
        has_spans = False
        number = 0
        for record in records:
            number += 1
            has_spans |= _first(record.values, _SPANS) is not None
            if record.values.get("answer", "accept") == "accept":  # of Prodigy
                yield self._annotated(record)
        if number and not has_spans:
            message = f"no labels in any record: expected one of {', '.join(_SPANS)} beside the text"
            raise DataError(message, path=self.source.name)

    def labelled(self) -> LabelledCorpus:
        """Their labelled sentences."""
        for first, records in _peeked(self.records):
            if _is_of_words(first):
                return tagged_corpus(self._filled(records))
            options = self.source.options
            return labelled_corpus(
                self._with_spans(records),
                overlaps=options.overlaps,
                fragments=options.fragments,
                split_words=self.source.split_words,
            )
        raise no_text(self.source.name, is_empty=True)

    def _refuse(self, record: Record, message: str, hint: str | None = None) -> DataError:
        return DataError(message, path=self.source.name, line=record.line, hint=hint)

    def _id(self, record: Record) -> tuple[str, bool]:
        given = _first(record.values, _ID)
        if given is None and isinstance(meta := record.values.get("meta"), Mapping):
            given = _first(meta, _ID)
        return (f"{self.source.label}:{record.number}", False) if given in (None, "") else (str(given), True)

    def _text(self, record: Record) -> AnnotatedDocument:
        text = record.values.get("text")
        if {"doc", "start", "end"} <= record.values.keys():
            hint = "`mslm predict --to jsonl` writes whole documents"
            raise self._refuse(record, "a mention by `mslm predict` or `mslm match`, without its document", hint)
        if not isinstance(text, str):
            keys = ", ".join(list(record.values)[:8])
            message = f"a record with {keys or 'nothing'}: expected text, or tokens with ner_tags"
            raise self._refuse(record, message, "--format text reads the lines as they are")
        id_, has_id = self._id(record)
        return AnnotatedDocument(id_, text, (), has_id)

    def _annotated(self, record: Record) -> AnnotatedDocument:
        document = self._text(record)
        spans = _first(record.values, _SPANS)
        if not isinstance(spans, list | tuple | None):
            message = f"expected a list of spans beside the text, found {str(spans)[:40]!r}"
            raise self._refuse(record, message, "labels of whole texts are not read")
        annotations = tuple(self._annotation(record, document.text, span) for span in spans or ())
        relations = record.values.get("relations")
        return AnnotatedDocument(
            document.id,
            document.text,
            annotations,
            document.has_id,
            relations=tuple(_relations(relations, record.line)) if isinstance(relations, list) else (),
        )

    def _annotation(self, record: Record, text: str, span: object) -> Annotation:
        more: Mapping[str, Any] = {}
        start: Any
        if isinstance(span, Mapping):
            start, end, kind = (_first(span, names) for names in (_START, _END, _TYPE))
            kind = kind[0] if isinstance(kind, list) and kind else kind
            more = span
        elif isinstance(span, list | tuple) and len(span) == 3:
            start, end, kind = span
        else:
            raise self._refuse(record, f"expected a span with start, end and type, found {str(span)[:60]}")
        if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind:
            raise self._refuse(record, f"expected a span with start, end and type, found {str(span)[:60]}")
        if not 0 <= start < end <= len(text):
            raise self._refuse(record, f"span {start} to {end} is not in a text of {len(text)} characters")
        shown = more.get("text")
        if isinstance(shown, str) and shown.split() != text[start:end].split():
            message = f"the span is {shown[:40]!r}, the text from {start} to {end} is {text[start:end][:40]!r}"
            raise self._refuse(record, message)
        fragments = more.get("fragments") or [(start, end)]
        try:
            pairs = tuple(sorted((int(first), int(last)) for first, last in fragments))
        except (TypeError, ValueError) as error:
            raise self._refuse(record, f"expected fragments with start and end, found {str(fragments)[:60]}") from error
        if any(not start <= first < last <= end for first, last in pairs):
            raise self._refuse(record, f"fragments {str(fragments)[:60]} are not in {start} to {end}")
        score = more.get("score")
        is_probability = isinstance(score, int | float) and 0 <= score <= 1
        id_, concepts = str(more.get("id", "")), str(more.get("concepts") or "")
        return Annotation(pairs, kind, id_, concepts, score if is_probability else None)

    def _words_alone(self, record: Record) -> TaggedSentence:
        words = _first(record.values, _WORDS)
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise self._refuse(record, f"expected a list of words, found {str(words)[:60]}")
        doc = _first(record.values, _DOC)
        return TaggedSentence(None if doc is None else str(doc), doc is not None, list(words), line=record.line)

    def _tagged(self, record: Record) -> TaggedSentence:
        sentence = self._words_alone(record)
        n_words = len(sentence.words)
        if isinstance(gold := record.values.get("gold"), list):
            try:
                mentions = sorted((int(start), int(end), str(kind)) for start, end, kind in gold)
                sentence.tags = tags_from_mentions(mentions, n_words)
            except (TypeError, ValueError) as error:
                raise self._refuse(record, f"gold: {error}") from error
            return sentence
        tags = _first(record.values, _TAGS)
        if not isinstance(tags, list | tuple) or len(tags) != n_words:
            found = f"{len(tags)} of them" if isinstance(tags, list | tuple) else "none"
            message = f"expected a tag for each of {n_words} words ({', '.join(_TAGS)}), found {found}"
            raise self._refuse(record, message)
        sentence.tags = [known_tag(self._tag(record, tag), self._known, self.source.name, record.line) for tag in tags]
        return sentence

    def _filled(self, records: Iterable[Record]) -> list[TaggedSentence]:
        return [sentence for sentence in map(self._tagged, records) if sentence.words]

    def _tag(self, record: Record, tag: object) -> str:
        if isinstance(tag, str):
            return tag
        column = next((name for name in _TAGS if record.values.get(name) is not None), "")
        names = self.source.options.label_names or self.label_names.get(column, ())
        if type(tag) is not int:
            raise self._refuse(record, f"expected a tag, found {str(tag)[:40]}")
        if not names:
            hint = "name them in order: --label-names O,B-Disease,I-Disease, or a file that has them"
            raise self._refuse(record, f"tag {tag} is a number, and what it stands for is not known", hint)
        if not 0 <= tag < len(names):
            raise self._refuse(record, f"tag {tag}: there are {len(names)} names of labels")
        return names[tag]


def _peeked(records: Iterable[Record]) -> Iterator[tuple[Record, Iterator[Record]]]:
    """The first record and all of them, if there is one."""
    remaining = iter(records)
    for first in remaining:

        def all_of_them(first: Record = first) -> Iterator[Record]:
            yield first
            yield from remaining

        yield first, all_of_them()
        return


def _is_of_words(record: Record) -> bool:
    words = _first(record.values, _WORDS)
    is_list = isinstance(words, list | tuple) and all(isinstance(word, str) for word in words)
    return is_list and ("text" not in record.values or _first(record.values, _TAGS) is not None)


def _relations(given: Sequence[object], line: int) -> Iterator[Relation]:
    """The relations of a record that are as in doccano."""
    for relation in given:
        if isinstance(relation, Mapping) and {"from_id", "to_id"} <= relation.keys():
            ends = (("from", str(relation["from_id"])), ("to", str(relation["to_id"])))
            yield Relation(str(relation.get("type", "")), ends, str(relation.get("id", "")), line)


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first value under one of ``names`` that is not None."""
    return next((values[name] for name in names if values.get(name) is not None), None)
