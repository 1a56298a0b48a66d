"""Labelled data derived from the user's: splits, folds, subsets, samples, other types, augmented training data."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from mslm_cli import fsio
from mslm_cli.corpus.documents import LabelledSentence, check_renamed, renamed
from mslm_cli.corpus.labels import Mention
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.writers import write_conll
from mslm_cli.errors import DataError
from mslm_cli.evaluation.uncertainty import clusters_of
from mslm_cli.terms.lexicon import TERMS, Term, read_terms
from mslm_cli.text.tokens import folded_key, tokenise

TRAIN, DEV, TEST = "train.tsv", "dev.tsv", "test.tsv"
SAMPLE, SUBSET, RENAMED = "sample.tsv", "subset.tsv", "renamed.tsv"

_RUN_SENTENCES = 10
"""Adjacent sentences that a subset keeps together where no documents are marked: they may be of one document."""


class SplitConfig(DataOptions):
    """The fraction of training sentences, taken from the end, that becomes dev data."""

    dev_share: float = Field(gt=0, lt=1)


class FoldConfig(DataOptions):
    """One fold of a cross-validation: its number, from 0."""

    folds: int = Field(ge=2)
    number: int = Field(ge=0)


class SubsetConfig(DataOptions):
    """The share of the sentences that are labelled, at least ``least`` of them, and the seed that draws them."""

    share: float = Field(gt=0, le=1)
    least: int = Field(0, ge=0)
    seed: int = 0


class SampleConfig(DataOptions):
    """The fraction of sentences for a short trial, in training or on dev."""

    share: float = Field(gt=0, le=1)
    seed: int = 0


class RenameConfig(DataOptions):
    """New names of mention types, by their names in the file."""

    names: dict[str, str]


class AugmentConfig(DataOptions):
    """Replacement of mentions: each with probability ``rate``, by a term of the lexicon."""

    rate: float = Field(0.5, gt=0, le=1)
    seed: int = 0


def split(train: Path, output: Path, config: SplitConfig) -> None:
    """Split ``train`` into training and dev sentences, written to the folder ``output``.

    The last sentences become dev, so at most one document is divided between the two.

    Raises:
        DataError: the data are invalid, or too few to split.
    """
    sentences = read_labelled(train, config).sentences
    n_dev = max(1, round(len(sentences) * config.dev_share))
    if n_dev >= len(sentences):
        raise DataError(f"{len(sentences)} sentences cannot be split into train and dev", path=train)
    with fsio.staged_folder(output) as folder:
        write_conll(folder / TRAIN, sentences[:-n_dev])
        write_conll(folder / DEV, sentences[-n_dev:])


def fold(train: Path, output: Path, config: FoldConfig) -> None:
    """Split ``train`` into the test sentences of a fold and the others, written to the folder ``output``.

    Whole documents are dealt, or, if fewer than two are marked, runs of 10 sentences, in random order, each to the fold
    with the fewest sentences so far. Each sentence is a test sentence of exactly one fold.

    Raises:
        DataError: the data are invalid, or have fewer documents (or runs) than folds.
    """
    sentences = read_labelled(train, config).sentences
    units = _shuffled_units(sentences, 0)
    if len(units) < config.folds:
        raise DataError(f"{len(units)} documents (or runs of 10 sentences) make no {config.folds} folds", path=train)
    dealt: list[list[int]] = [[] for _ in range(config.folds)]
    for unit in units:
        min(dealt, key=len).extend(unit)
    held_out = set(dealt[config.number])
    with fsio.staged_folder(output) as folder:
        write_conll(folder / TRAIN, [s for i, s in enumerate(sentences) if i not in held_out])
        write_conll(folder / TEST, [s for i, s in enumerate(sentences) if i in held_out])


def subset(source: Path, output: Path, config: SubsetConfig) -> None:
    """Write a share of the sentences of ``source``, in their order, to the folder ``output``.

    Whole documents are drawn, or, if fewer than two are marked, runs of 10 sentences, until the share is reached and
    a mention is among them. With the same seed, a larger share contains a smaller one.

    Raises:
        DataError: the data are invalid.
    """
    sentences = read_labelled(source, config).sentences
    wanted = max(config.least, round(config.share * len(sentences)), 1)
    has_mentions = any(sentence.mentions for sentence in sentences)
    chosen: list[int] = []
    for unit in _shuffled_units(sentences, config.seed):
        if len(chosen) >= wanted and (not has_mentions or any(sentences[i].mentions for i in chosen)):
            break
        chosen += unit
    with fsio.staged_folder(output) as folder:
        write_conll(folder / SUBSET, [sentences[i] for i in sorted(chosen)])


def _shuffled_units(sentences: Sequence[LabelledSentence], seed: int) -> list[list[int]]:
    """The sentence numbers of each document (or run of sentences), in random order."""
    clusters, unit = clusters_of([sentence.doc for sentence in sentences])
    of_unit: dict[int, list[int]] = defaultdict(list)
    for i, cluster in enumerate(clusters.tolist()):
        of_unit[cluster if unit == "documents" else i // _RUN_SENTENCES].append(i)
    units = list(of_unit.values())
    random.Random(seed).shuffle(units)
    return units


def sample(source: Path, output: Path, config: SampleConfig, *, beside: Path | None = None) -> None:
    """Write a random fraction of the sentences of ``source``, in their order, to the folder ``output``.

    At least one has a mention, if any does, and there are no more than in ``beside``.

    Raises:
        DataError: the data are invalid.
    """
    sentences = read_labelled(source, config).sentences
    order = random.Random(config.seed).sample(range(len(sentences)), len(sentences))
    n = max(1, round(len(sentences) * config.share))
    if beside is not None:
        n = min(n, len(read_labelled(beside, config).sentences))
    chosen = set(order[:n])
    if not any(sentences[i].mentions for i in chosen):
        chosen |= {next((i for i in order if sentences[i].mentions), order[0])}
    with fsio.staged_folder(output) as folder:
        write_conll(folder / SAMPLE, [sentences[i] for i in sorted(chosen)])


def rename_types(source: Path, output: Path, config: RenameConfig) -> None:
    """Write the sentences of ``source``, with other names of mention types, to the folder ``output``.

    Raises:
        DataError: the data are invalid.
        UsageError: they have no mention of one of the types.
    """
    corpus = read_labelled(source, config)
    check_renamed(config.names, corpus.types, str(source))
    with fsio.staged_folder(output) as folder:
        write_conll(folder / RENAMED, renamed(corpus, config.names).sentences)


def augment(train: Path, lexicon: Path, output: Path, config: AugmentConfig) -> None:
    """Write the sentences of ``train``, followed by copies with mentions replaced, to the folder ``output``.

    A mention of type T is replaced by a lexicon term. Its lexicon type is the one that mentions of type T most often
    have in the lexicon (an untyped lexicon has a single type). If the lexicon has none of these mentions, another
    mention of type T is used.

    Raises:
        DataError: the data are invalid.

    Source: mention replacement of Dai and Adel (2020), "An Analysis of Simple Data Augmentation for Named Entity
    Recognition"; they replace mentions by others of the training data, we by terms of the lexicon.
    """
    sentences = read_labelled(train, config).sentences
    choices = _choices(sentences, read_terms(lexicon / TERMS))
    rng = random.Random(config.seed)
    new = [replaced for s in sentences if s.mentions and (replaced := _replaced(s, choices, config.rate, rng)) is not s]
    with fsio.staged_folder(output) as folder:
        write_conll(folder / TRAIN, [*sentences, *new])


def _choices(sentences: Sequence[LabelledSentence], terms: Sequence[Term]) -> dict[str, list[tuple[str, ...]]]:
    """Candidate replacements (as words), by type of the mention."""
    surfaces: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for sentence in sentences:
        for start, end, entity_type in sentence.mentions:
            surfaces[entity_type][sentence.words[start:end]] += 1
    types = {folded_key(term.term): term.type for term in terms}
    # if mentions keep "IL-2" as one word, so must the replacements
    keeps_words = any(any(len(tokenise(w)) > 1 for w in words) for found in surfaces.values() for words in found)
    choices = {}
    for entity_type, found in surfaces.items():
        known: Counter[str | None] = Counter()
        for words, n in found.items():
            key = folded_key(" ".join(words))
            if key in types:
                known[types[key]] += n
        lexical: list[tuple[str, ...]] = []
        if known:
            wanted = known.most_common(1)[0][0]
            lexical = [tuple(t.term.split() if keeps_words else tokenise(t.term)) for t in terms if t.type == wanted]
        choices[entity_type] = lexical or list(found)
    return choices


def _replaced(
    sentence: LabelledSentence, choices: Mapping[str, Sequence[tuple[str, ...]]], rate: float, rng: random.Random
) -> LabelledSentence:
    """The sentence with some mentions replaced; the same object if none was."""
    words: list[str] = []
    mentions: list[Mention] = []
    position = 0
    is_new = False
    for start, end, entity_type in sentence.mentions:
        words += sentence.words[position:start]
        chosen = sentence.words[start:end]
        if rng.random() < rate:
            chosen = rng.choice(choices[entity_type])
            is_new |= chosen != sentence.words[start:end]
        mentions.append((len(words), len(words) + len(chosen), entity_type))
        words += chosen
        position = end
    words += sentence.words[position:]
    return replace(sentence, words=tuple(words), mentions=tuple(mentions)) if is_new else sentence
