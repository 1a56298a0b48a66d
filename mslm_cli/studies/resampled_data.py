"""Labelled data that a study makes of the user's: splits, samples, and sentences with other mentions in them."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from mslm_cli import fsio
from mslm_cli.corpus.documents import LabelledSentence
from mslm_cli.corpus.labels import Mention
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.writers import write_conll
from mslm_cli.errors import DataError
from mslm_cli.terms.lexicon import Term, read_terms
from mslm_cli.text.tokens import folded_key, tokenise

TRAIN, DEV, SAMPLE = "train.tsv", "dev.tsv", "sample.tsv"


class SplitConfig(DataOptions):
    """How dev data are cut off the training data: the last share of their sentences."""

    dev_share: float = Field(gt=0, lt=1)


class SampleConfig(DataOptions):
    """Which share of the sentences a short trial learns from, or is scored on."""

    share: float = Field(gt=0, le=1)
    seed: int = 0


class AugmentConfig(DataOptions):
    """How mentions are replaced: each with this probability, by a term of the lexicon."""

    rate: float = Field(0.5, gt=0, le=1)
    seed: int = 0


def split(train: Path, output: Path, config: SplitConfig) -> None:
    """Write ``output``, a folder with the training and the dev sentences of ``train``.

    The last sentences are for dev, so that sentences of one document stand on one side, but for one document.

    Raises:
        DataError: the data are not sound, or too few to be split.
    """
    sentences = read_labelled(train, config).sentences
    n_dev = max(1, round(len(sentences) * config.dev_share))
    if n_dev >= len(sentences):
        raise DataError(f"{len(sentences)} sentences cannot be split into train and dev", path=train)
    with fsio.staged_folder(output) as folder:
        write_conll(folder / TRAIN, sentences[:-n_dev])
        write_conll(folder / DEV, sentences[-n_dev:])


def sample(source: Path, output: Path, config: SampleConfig, *, beside: Path | None = None) -> None:
    """Write ``output``, a folder with a random share of the sentences of ``source``, in their order.

    At least one of them has a mention, and there are no more of them than ``beside`` has.

    Raises:
        DataError: the data are not sound.
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


def augment(train: Path, lexicon: Path, output: Path, config: AugmentConfig) -> None:
    """Write ``output``, a folder with the sentences of ``train``, and again with terms in the place of mentions.

    A mention's place is taken by a term of the lexicon's type that the mentions of its type most often have there
    (untyped lexicons have one type); where the lexicon knows none of them, by another mention of its type.

    Raises:
        DataError: the data are not sound.

    Source: mention replacement of Dai and Adel (2020), "An Analysis of Simple Data Augmentation for Named Entity
    Recognition"; there, mentions of the training data take the place, here terms of the lexicon.
    """
    sentences = read_labelled(train, config).sentences
    choices = _choices(sentences, read_terms(lexicon / "terms.jsonl"))
    rng = random.Random(config.seed)
    new = [replaced for s in sentences if s.mentions and (replaced := _replaced(s, choices, config.rate, rng)) is not s]
    with fsio.staged_folder(output) as folder:
        write_conll(folder / TRAIN, [*sentences, *new])


def _choices(sentences: Sequence[LabelledSentence], terms: Sequence[Term]) -> dict[str, list[tuple[str, ...]]]:
    """The words that may stand in the place of a mention, by its type."""
    surfaces: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for sentence in sentences:
        for start, end, kind in sentence.mentions:
            surfaces[kind][sentence.words[start:end]] += 1
    types = {folded_key(term.term): term.type for term in terms}
    # where a mention holds "IL-2" as one word, so do the words that take its place
    keeps_words = any(any(len(tokenise(w)) > 1 for w in words) for found in surfaces.values() for words in found)
    choices = {}
    for kind, found in surfaces.items():
        known: Counter[str | None] = Counter()
        for words, n in found.items():
            key = folded_key(" ".join(words))
            if key in types:
                known[types[key]] += n
        lexical: list[tuple[str, ...]] = []
        if known:
            wanted = known.most_common(1)[0][0]
            lexical = [tuple(t.term.split() if keeps_words else tokenise(t.term)) for t in terms if t.type == wanted]
        choices[kind] = lexical or list(found)
    return choices


def _replaced(
    sentence: LabelledSentence, choices: Mapping[str, Sequence[tuple[str, ...]]], rate: float, rng: random.Random
) -> LabelledSentence:
    """The sentence with some mentions replaced; the same object where none was."""
    words: list[str] = []
    mentions: list[Mention] = []
    position = 0
    is_new = False
    for start, end, kind in sentence.mentions:
        words += sentence.words[position:start]
        chosen = sentence.words[start:end]
        if rng.random() < rate:
            chosen = rng.choice(choices[kind])
            is_new |= chosen != sentence.words[start:end]
        mentions.append((len(words), len(words) + len(chosen), kind))
        words += chosen
        position = end
    words += sentence.words[position:]
    return replace(sentence, words=tuple(words), mentions=tuple(mentions)) if is_new else sentence
