"""Predicted relations in annotated documents, and between predicted mentions."""

from collections.abc import Sequence
from dataclasses import replace

from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.pairs import words_between
from mslm_cli.corpus.relations import RelationCorpus, covered, relation_corpus, relation_document, with_mentions
from mslm_cli.corpus.scored_documents import ScoredDocuments
from mslm_cli.corpus.segmentation import segmented
from mslm_cli.corpus.standoff import AnnotatedDocument, Relation, SplitWords
from mslm_cli.errors import UsageError
from mslm_cli.tasks.mentions import find_mentions
from mslm_cli.tasks.relations import are_concepts, recorded_rules
from mslm_cli.tasks.trained import TrainedModel


def check_mention_types(relations: TrainedModel, ner: TrainedModel) -> None:
    """Check that an NER model finds mentions of types that a relation model relates.

    Raises:
        UsageError: it does not, or is no NER model.
    """
    if ner.task.kind != "spans":
        raise UsageError(f"--ner: expected a model that finds mentions, not one for --task {ner.task.name}")
    types = recorded_rules(relations.model).types
    if not any(head in ner.types and tail in ner.types for head, tail in types):
        pairs = ", ".join(sorted(f"{head} with {tail}" for head, tail in types))
        found = ", ".join(sorted(ner.types))
        raise UsageError(f"--ner finds {found}, but the model relates {pairs}", hint="their types must be the same")


def relate(
    model: TrainedModel,
    documents: Sequence[AnnotatedDocument],
    split_words: SplitWords,
    *,
    names_concepts: bool = False,
) -> list[AnnotatedDocument]:
    """The documents with predicted relations between their mentions, which get ids if they have none.

    A relation of concepts is given between their nearest mentions.

    Args:
        names_concepts: let relations name concepts instead; those of single mentions are the mentions' ids.
    """
    of_concepts = are_concepts(model.model)
    named = [_with_ids(document) for document in documents]
    read = [relation_document(document, split_words, are_concepts=of_concepts) for document in named]
    results = []
    found = model.label(relation_corpus(read, are_concepts=of_concepts))
    for document, entities, relations in zip(named, read, found, strict=True):
        ids: dict[tuple[int, int] | None, str] = {}
        for annotation in document.annotations:
            ids.setdefault(covered(entities.words, *annotation.bounds), annotation.id)
        made = []
        for number, relation in enumerate(relations, 1):
            head, tail = entities.entities[relation.head], entities.entities[relation.tail]
            ends = (head.id, tail.id)
            if of_concepts and not names_concepts:
                _, one, other = min((words_between(a, b), a, b) for a in head.mentions for b in tail.mentions)
                ends = (ids[one], ids[other])
            roles = (("Arg1", ends[0]), ("Arg2", ends[1]))
            made.append(Relation(relation.type, roles, f"R{number}", score=relation.score))
        annotations = document.annotations
        if names_concepts and not of_concepts:
            annotations = tuple(replace(each, concepts=each.id) for each in annotations)
        results.append(replace(document, annotations=annotations, relations=tuple(made)))
    return results


def _with_ids(document: AnnotatedDocument) -> AnnotatedDocument:
    if all(annotation.id for annotation in document.annotations):
        return document
    numbered = enumerate(document.annotations, 1)
    return replace(document, annotations=tuple(replace(each, id=f"T{number}") for number, each in numbered))


def end_to_end(
    relations: TrainedModel, ner: TrainedModel, gold: RelationCorpus, split_words: SplitWords
) -> ScoredDocuments:
    """Gold relations and those predicted between predicted mentions; see ``corpus.relations.with_mentions``.

    Args:
        split_words: splits text into words as the NER model expects them.
    """
    texts = [segmented(Document(d.id, d.text, None, True), split_words) for d in gold.documents]
    both = []
    for document, found in zip(gold.documents, find_mentions(ner, texts), strict=True):
        places = ((covered(document.words, span.start, span.end), span.type) for span in found.spans)
        mentions = ((*place, kind) for place, kind in places if place is not None)
        both.append(with_mentions(document, mentions, are_concepts=gold.are_concepts))
    predicted = relations.label(relation_corpus([found for found, _ in both], are_concepts=gold.are_concepts))
    scored = relations.task.scored(relation_corpus([own for _, own in both], are_concepts=gold.are_concepts), predicted)
    assert isinstance(scored, ScoredDocuments)
    return scored
