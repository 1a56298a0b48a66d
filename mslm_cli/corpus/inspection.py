"""Counts of what labelled data contain and of irregularities in them, for each set and between sets."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any

from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import Mention
from mslm_cli.corpus.pairs import SCOPES, PairRules, candidates, related_types
from mslm_cli.corpus.relations import RelationCorpus
from mslm_cli.corpus.seen import is_long_enough, sentence_hash
from mslm_cli.text.tokens import folded_key

LONGEST = 5
"""Mentions of this many words or more are counted together."""

_ODD_WORDS = 400
"""A sentence of more words is probably several sentences that were not split."""


def count_corpus(corpus: LabelledCorpus) -> dict[str, Any]:
    """The counts of one set, as JSON values."""
    sentences = corpus.sentences
    lengths = [len(sentence.words) for sentence in sentences]
    mentions = [mention for sentence in sentences for mention in sentence.mentions]
    with_mentions: dict[str | None, bool] = defaultdict(bool)
    for sentence in sentences:
        with_mentions[sentence.doc] |= bool(sentence.mentions)
    documents = [doc for doc in with_mentions if doc is not None]
    return {
        "n_documents": len(documents) or None,
        "n_sentences": len(sentences),
        "n_words": sum(lengths),
        "words_per_sentence": {"median": median(lengths), "longest": max(lengths)} if lengths else None,
        "n_mentions": len(mentions),
        "types": dict(sorted(Counter(kind for _, _, kind in mentions).items())),
        "mention_lengths": _lengths(mentions),
        "scheme": None if any(sentence.offsets is not None for sentence in sentences) else corpus.scheme,
        "changes": dict(sorted(Counter(change.kind for change in corpus.changes).items())),
        "not_read": dict(corpus.n_ignored),
        "odd": {
            "documents without a mention": sum(not with_mentions[doc] for doc in documents),
            "mentions that begin with I-": corpus.n_orphans,
            "empty words": corpus.n_empty_words,
            f"sentences of more than {_ODD_WORDS} words": sum(n > _ODD_WORDS for n in lengths),
            "sentences of one word": sum(n == 1 for n in lengths),
        },
        "repeated": _repeated(sentences),
    }


def count_relations(corpus: RelationCorpus) -> dict[str, Any] | None:
    """The counts of the relations of one set, as JSON values; None if it has none.

    types: by type. between: by the types of head and tail. in_one_sentence: the fraction whose nearest mentions are.
    words_between: the median between these. candidates: how many pairs fine-tuning would learn from, by --pairs.
    Relations beyond the maximum number of candidates in a document count only in ``n``, ``types`` and ``between``.
    """
    rules = {scope: PairRules(related_types(corpus.documents), scope) for scope in SCOPES}
    kinds: Counter[str] = Counter()
    between: Counter[str] = Counter()
    nearest_mentions: list[tuple[bool, int]] = []
    n_candidates: Counter[str] = Counter()
    for document in corpus.documents:
        of_scope = {scope: candidates(document, by) for scope, by in rules.items()}
        n_candidates.update({scope: len(pairs) + n_more for scope, (pairs, n_more) in of_scope.items()})
        anywhere = {(pair.head, pair.tail): pair.instances[0] for pair in of_scope["document"][0]}
        for head, tail, kind in document.relations:
            kinds[kind] += 1
            between[f"{document.entities[head].type} to {document.entities[tail].type}"] += 1
            if (nearest := anywhere.get((head, tail))) is not None:
                sentences = {document.sentence_of(words[0]) for words in (nearest.head, nearest.tail)}
                nearest_mentions.append((len(sentences) == 1, nearest.distance))
    if not nearest_mentions:
        return None
    are_near, distances = zip(*nearest_mentions, strict=True)
    return {
        "n": kinds.total(),
        "types": dict(sorted(kinds.items())),
        "between": dict(sorted(between.items())),
        "in_one_sentence": sum(are_near) / len(are_near),
        "words_between": median(distances),
        "candidates": dict(n_candidates),
    }


def _lengths(mentions: Iterable[Mention]) -> dict[str, dict[str, int]]:
    """By type, how many mentions have 1, 2, ... words."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for start, end, kind in mentions:
        found[kind][str(end - start) if end - start < LONGEST else f"{LONGEST}+"] += 1
    names = [*map(str, range(1, LONGEST)), f"{LONGEST}+"]
    return {kind: {name: found[kind][name] for name in names} for kind in sorted(found)}


def _repeated(sentences: Sequence[LabelledSentence]) -> dict[str, int]:
    """The numbers of sentences that are repeated within one set, and of repetitions that are labelled differently."""
    first: dict[int, tuple[Mention, ...]] = {}
    n_again = n_different = 0
    for number, sentence in _long_ones(sentences):
        if number in first:
            n_again += 1
            n_different += first[number] != sentence.mentions
        else:
            first[number] = sentence.mentions
    return {"sentences": n_again, "labelled_differently": n_different}


def _long_ones(sentences: Iterable[LabelledSentence]) -> Iterable[tuple[int, LabelledSentence]]:
    """The sentences that are long enough for a repetition to mean anything, each with its hash."""
    for sentence in sentences:
        text = " ".join(sentence.words)
        if is_long_enough(text):
            yield sentence_hash(text), sentence


def shared_sentences(corpora: Mapping[str, LabelledCorpus]) -> list[dict[str, Any]]:
    """For each pair of sets with sentences in common: how many sentences of the second are in the first."""
    hashes = {name: [number for number, _ in _long_ones(corpus.sentences)] for name, corpus in corpora.items()}
    found = []
    for one, other in combinations(corpora, 2):
        known = set(hashes[one])
        n = sum(number in known for number in hashes[other])
        if n:
            found.append({"of": other, "in": one, "n": n, "n_sentences": len(corpora[other].sentences)})
    return found


def types_of_some(corpora: Mapping[str, LabelledCorpus]) -> dict[str, list[str]]:
    """The types that some labelled sets lack, each with the sets that have it."""
    having = {name: set(corpus.types) for name, corpus in corpora.items() if corpus.types}
    types = sorted(set().union(*having.values()))
    return {kind: names for kind in types if len(names := [n for n, of in having.items() if kind in of]) < len(having)}


def mixed_mentions(corpora: Iterable[LabelledCorpus]) -> list[dict[str, Any]]:
    """Texts that are mentions of several types, the most frequent first: each with its types and how often."""
    types: dict[str, Counter[str]] = defaultdict(Counter)
    shown: dict[str, str] = {}
    for corpus in corpora:
        for sentence in corpus.sentences:
            for start, end, kind in sentence.mentions:
                text = " ".join(sentence.words[start:end])
                key = folded_key(text)
                types[key][kind] += 1
                shown.setdefault(key, text)
    mixed = [(key, counts) for key, counts in types.items() if len(counts) > 1]
    mixed.sort(key=lambda item: (-item[1].total(), item[0]))
    return [{"text": shown[key], "types": dict(counts.most_common())} for key, counts in mixed]
