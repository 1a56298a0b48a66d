"""Documents with relations between concepts or mentions, from annotated documents or marked pairs."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mslm_cli import console
from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.formats.brat import annotations_beside
from mslm_cli.corpus.lines import display_name
from mslm_cli.corpus.marked_pairs import MarkedPair, is_of_pairs, marked_pairs
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import annotated_in, opened_files
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, Relation, SplitWords
from mslm_cli.errors import DataError
from mslm_cli.text.sentences import split_sentences
from mslm_cli.text.tokens import folded_key, token_spans

NO_RELATION = "no relation"
"""The class of a pair without a relation."""

_NEGATIVES = frozenset({"", "0", "false", "none", "no", "na", "n/a", "negative", "no_relation", "no-relation"})
"""Labels of marked pairs, in lower case, that stand for no relation."""

_FIRST_ROLES = ("arg1", "head", "subject", "subj", "from", "source", "agent", "cause")
_NO_CONCEPTS = frozenset({"", "-", "-1"})


Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entity:
    """What relations hold between: a concept with all its mentions in a document, or a single mention.

    ``id``: of the concept or mention, as in the input. ``mentions``: words [first, last) of the document, ascending.
    """

    id: str
    type: str
    mentions: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RelationDocument:
    """A document, its entities and the relations between them.

    ``words``: characters [start, end) of each word. ``sentences``: words [first, last) of each sentence.
    ``relations``: the numbers of the head and the tail entity, and the type. ``pairs``: the pairs (head, tail) that
    were judged, if the input lists them; None if every pair was.
    """

    id: str
    text: str
    words: tuple[tuple[int, int], ...]
    sentences: tuple[tuple[int, int], ...]
    entities: tuple[Entity, ...]
    relations: tuple[tuple[int, int, str], ...] = ()
    pairs: tuple[tuple[int, int], ...] | None = None

    def shown(self, mention: tuple[int, int]) -> str:
        """The text of a mention."""
        return self.text[self.words[mention[0]][0] : self.words[mention[1] - 1][1]]

    def sentence_of(self, word: int) -> int:
        """The number of the sentence that a word is in."""
        return bisect_right(self.sentences, (word, len(self.words))) - 1


@dataclass(frozen=True, slots=True)
class RelationCorpus(LabelledCorpus):
    """Documents with relations; ``types`` are those of relations, and ``sentences`` have no mentions.

    ``are_concepts``: whether entities are concepts, not single mentions.
    """

    documents: tuple[RelationDocument, ...] = ()
    are_concepts: bool = False

    @property
    def n_gold(self) -> int:
        """The number of relations."""
        return sum(len(document.relations) for document in self.documents)


def read_relations(path: Path, options: DataOptions, split_words: SplitWords = token_spans) -> RelationCorpus:
    """The documents of a file, or of all files in a folder, with their relations.

    Annotated documents (PubTator, BioC, BRAT, records with entities and relations) judge every pair of entities; where
    mentions have no ids of their own, or relations name concepts, entities are concepts. Files of marked pairs judge
    the pair in each line; see ``marked_pairs``.

    Raises:
        DataError: a file is unreadable or not in its format; a relation is between entities that are not there, or of
            an entity with itself; a pair has two labels. With path and line.
        UsageError, UnavailableError: as ``readers.read_labelled``.
    """
    documents: list[RelationDocument] = []
    ignored: Counter[str] = Counter()
    told: set[str] = set()
    kinds: set[bool] = set()
    without: list[Path] = []
    for source in opened_files([path], options):
        if is_of_pairs(source.head):
            if "pairs" not in told:
                told.add("pairs")
                console.note(f"{source.name}: read as marked pairs, one in each line")
            documents += (_of_pair(pair, split_words) for pair in marked_pairs(source))
            kinds.add(False)
            continue
        annotated = list(annotated_in(source, told))
        beside = annotations_beside(source.path)
        is_text = beside is None and source.path.name.endswith((".txt", ".txt.gz"))
        if is_text and not any(document.annotations for document in annotated):
            without.append(source.path)
        name = display_name(beside or source.path)  # where its lines are
        are_concepts = _are_concepts(annotated)
        kinds.add(are_concepts)
        for document in annotated:
            documents.append(_Reading(document, name, options, split_words, ignored).document(are_concepts))
            ignored.update(dict(document.n_ignored))
    if len(kinds) > 1:
        raise DataError("relations between concepts in some files, between mentions in others", path=path)
    if ignored:
        console.note(f"{path}: not read: {', '.join(f'{kind} ({n:,})' for kind, n in sorted(ignored.items()))}")
    if without and any(document.entities for document in documents):
        n = console.count(len(without), "file")
        console.warn(f"{path}: {n} without annotations, read as text without relations; the first is {without[0].name}")
    return relation_corpus(documents, are_concepts=True in kinds)


def relation_corpus(documents: Sequence[RelationDocument], *, are_concepts: bool) -> RelationCorpus:
    """The corpus of ``documents``."""
    sentences = tuple(sentence for document in documents for sentence in _sentences(document))
    types = sorted({kind for document in documents for *_, kind in document.relations})
    return RelationCorpus(sentences, tuple(types), "IOB2", 0, documents=tuple(documents), are_concepts=are_concepts)


def words_and_sentences(
    text: str, split_words: SplitWords
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The words of a text, characters [start, end), and its sentences, words [first, last)."""
    words: list[tuple[int, int]] = []
    sentences: list[tuple[int, int]] = []
    for start, end in split_sentences(text):
        first = len(words)
        words += ((start + a, start + b) for a, b in split_words(text[start:end]))
        if len(words) > first:
            sentences.append((first, len(words)))
    return tuple(words), tuple(sentences)


def _sentences(document: RelationDocument) -> Iterator[LabelledSentence]:
    for number, (first, last) in enumerate(document.sentences, 1):
        words = tuple(document.text[start:end] for start, end in document.words[first:last])
        yield LabelledSentence(f"{document.id}:{number}", document.id, words, (), ("O",) * len(words))


def _are_concepts(documents: Iterable[AnnotatedDocument]) -> bool:
    """Whether entities are concepts: if mentions have concepts but no ids, or relations name concepts."""
    has_ids = has_concepts = False
    for document in documents:
        ids = {annotation.id for annotation in document.annotations} - {""}
        has_ids |= bool(ids)
        concepts = {concept for annotation in document.annotations for concept in concepts_of(annotation)}
        has_concepts |= bool(concepts)
        targets = {target for relation in document.relations for _, target in relation.arguments}
        if targets & concepts - ids:
            return True
    return has_concepts and not has_ids


def concepts_of(annotation: Annotation) -> list[str]:
    """The concepts of a mention; several are separated by bars, commas or semicolons."""
    parts = annotation.concepts.replace(",", "|").replace(";", "|").split("|")
    return [part.strip() for part in parts if part.strip() not in _NO_CONCEPTS]


def relation_document(annotated: AnnotatedDocument, split_words: SplitWords, *, are_concepts: bool) -> RelationDocument:
    """The entities of an annotated document, without its relations."""
    alone = replace(annotated, relations=())
    return _Reading(alone, annotated.id, DataOptions(), split_words, Counter()).document(are_concepts)


def with_mentions(
    gold: RelationDocument, found: Iterable[tuple[int, int, str]], *, are_concepts: bool
) -> tuple[RelationDocument, RelationDocument]:
    """A document with other mentions in place of its own: for candidates, and for scores.

    A mention that is found exactly (words and type) stands for its entities, which keep their numbers. Others follow as
    entities of their own; where entities are concepts, those of the same text and type are one. In the first document,
    entities have the mentions that were found, perhaps none; in the second, entities of the gold data have their own.

    Args:
        found: words [first, last) and type of each mention.
    """
    of_gold: dict[tuple[int, int, str], list[int]] = {}
    for number, entity in enumerate(gold.entities):
        for first, last in entity.mentions:
            of_gold.setdefault((first, last, entity.type), []).append(number)
    right: list[list[Span]] = [[] for _ in gold.entities]
    others: dict[tuple[str, str], list[Span]] = {}
    for first, last, kind in found:
        for number in of_gold.get((first, last, kind), ()):
            right[number].append((first, last))
        if (first, last, kind) not in of_gold:
            shown = gold.shown((first, last))
            key = folded_key(shown) if are_concepts else f"{first}-{last}"
            others.setdefault((key, kind), []).append((first, last))
    new = tuple(Entity(key, kind, tuple(sorted(set(places)))) for (key, kind), places in others.items())
    own = tuple(
        replace(entity, mentions=tuple(sorted(set(places))))
        for entity, places in zip(gold.entities, right, strict=True)
    )
    return replace(gold, entities=own + new, pairs=None), replace(gold, entities=gold.entities + new, pairs=None)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A document that is read; ``name`` of the file for messages, ``ignored`` counts what is left out."""

    given: AnnotatedDocument
    name: str
    options: DataOptions
    split_words: SplitWords
    ignored: Counter[str]

    def document(self, are_concepts: bool) -> RelationDocument:
        words, sentences = words_and_sentences(self.given.text, self.split_words)
        mentions: dict[str, list[tuple[int, int]]] = {}
        types: dict[str, Counter[str]] = {}
        for number, annotation in enumerate(self.given.annotations):
            place = self._place(annotation, words)
            if place is None:
                self.ignored["mentions without a word, and their relations"] += 1
            ids = concepts_of(annotation) if are_concepts else [annotation.id or f"#{number}"]
            for id_ in ids:
                mentions.setdefault(id_, []).extend([] if place is None else [place])
                types.setdefault(id_, Counter())[annotation.type] += 1
        ids = [id_ for id_, places in mentions.items() if places]
        entities = tuple(Entity(id_, types[id_].most_common(1)[0][0], tuple(sorted(set(mentions[id_])))) for id_ in ids)
        relations = self._relations({id_: i for i, id_ in enumerate(ids)}, mentions.keys(), are_concepts)
        return RelationDocument(self.given.id, self.given.text, words, sentences, entities, relations)

    def _place(self, annotation: Annotation, words: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """The words that a mention covers, at least in part."""
        start, end = annotation.bounds if self.options.fragments == "span" else annotation.fragments[0]
        return covered(words, start, end)

    def _relations(
        self, numbers: dict[str, int], known: Iterable[str], are_concepts: bool
    ) -> tuple[tuple[int, int, str], ...]:
        found: dict[tuple[int, int], str] = {}
        what = "concept" if are_concepts else "mention"
        for relation in self.given.relations:
            if len(relation.arguments) != 2:
                self.ignored["relations with other than two arguments"] += 1
                continue
            ends = [target for _, target in sorted(relation.arguments, key=_order)]
            for target in ends:
                if target not in known:
                    raise self._refused(relation, f"is with {target!r}, and no {what} of the document has this id")
            if ends[0] == ends[1]:
                raise self._refused(relation, f"is of the {what} {ends[0]!r} with itself")
            if not relation.type:
                raise self._refused(relation, "has no type")
            if not all(target in numbers for target in ends):
                continue  # counted with its mention
            pair = numbers[ends[0]], numbers[ends[1]]
            if found.setdefault(pair, relation.type) != relation.type:
                message = f"is between {ends[0]} and {ends[1]}, which already have {found[pair]!r}"
                raise self._refused(relation, message, hint="a pair can have one relation in each direction")
        return tuple((head, tail, kind) for (head, tail), kind in found.items())

    def _refused(self, relation: Relation, problem: str, hint: str | None = None) -> DataError:
        shown = f"{relation.type} {relation.id}".strip()
        message = f"document {self.given.id}: the relation {shown!r} {problem}"
        return DataError(message, path=self.name, line=relation.line, hint=hint)


def _order(argument: tuple[str, str]) -> tuple[bool, str]:
    """The head before the tail, where roles tell them apart."""
    role = argument[0].lower()
    return bool(role) and role not in _FIRST_ROLES, role


def covered(words: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The words [first, last) that characters [start, end) cover, at least in part; None if they cover none.

    Args:
        words: characters [start, end) of each, ascending.
    """
    first = bisect_right(words, start, key=lambda word: word[1])
    last = bisect_left(words, end, key=lambda word: word[0])
    return (first, last) if first < last else None


def _of_pair(pair: MarkedPair, split_words: SplitWords) -> RelationDocument:
    """The document of one marked pair, which is one sentence."""
    words = tuple(split_words(pair.text))
    places = [covered(words, *span) for span in (pair.head, pair.tail)]
    if None in places:
        raise DataError("a marked mention has no words", path=pair.name, line=pair.line)
    entities = tuple(
        Entity(id_, kind, (place,))
        for id_, kind, place in zip(("head", "tail"), pair.types, places, strict=True)
        if place is not None
    )
    label = pair.label.strip()
    relations = () if label.lower() in _NEGATIVES else ((0, 1, label),)
    return RelationDocument(pair.doc, pair.text, words, ((0, len(words)),), entities, relations, ((0, 1),))
