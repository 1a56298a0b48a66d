"""``mslm label``: sentences of unlabelled text with the labels that trained models give them."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mslm_cli import artifacts, console
from mslm_cli.artifacts import SKETCHES, STATS, Artifact, ArtifactBuild
from mslm_cli.config import LabelConfig
from mslm_cli.corpus.documents import EMPTY_WORD
from mslm_cli.corpus.files import source_files, total_bytes
from mslm_cli.corpus.labels import ScoredMention
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.readers import read_documents
from mslm_cli.corpus.seen import Sketch, is_long_enough
from mslm_cli.corpus.segmentation import segmented
from mslm_cli.corpus.silver import SILVER, SilverSentence, silver_lines
from mslm_cli.errors import DataError, UsageError
from mslm_cli.masking.random import child, named_stream, uniforms
from mslm_cli.tasks.trained import load_trained, task_of
from mslm_cli.text.tokens import splitter

_STREAM = named_stream("sentences to label")


class _Sentence(NamedTuple):
    """A sentence of the text: its number, its document, and its words."""

    number: int
    doc: str
    words: tuple[str, ...]


def run(texts: Sequence[Path], models: Sequence[Path], output: Path, config: LabelConfig, *, overwrite: bool) -> Path:
    """Draw sentences from ``texts``, label them with ``models``, and publish them as a silver artifact.

    Raises:
        ArtifactError: a model is not a valid ner artifact.
        UsageError: it is one for a task other than mentions.
        DataError: the text is unreadable, or no sentence is left.
    """
    teachers = [artifacts.load(path, "ner") for path in models]
    for path, teacher in zip(models, teachers, strict=True):
        if (task := task_of(teacher)).kind != "spans":
            raise UsageError(f"{path} finds no mentions: it is a model for --task {task.name}")
    files = source_files(texts)
    inputs = [artifacts.file_input("text", path) for path in texts]
    build = ArtifactBuild("silver", output, config, [*(t.as_input("model") for t in teachers), *inputs])
    if build.is_done(overwrite=overwrite):
        return output
    drawn = _draw(files, teachers[0], config)
    voted, types = _label(drawn, teachers, config)
    kept = _select(drawn, voted, config)
    if not kept:
        raise DataError(
            f"no sentence of {len(drawn):,} has a confidence of at least {config.min_confidence:g}",
            path=texts[0],
            hint="lower --min-confidence, or give more text",
        )
    with build.publish() as staged:
        with (staged.path / SILVER).open("w", encoding="utf-8") as file:
            file.writelines(silver_lines(kept))
        stats = _stats(kept, len(drawn), types)
        (staged.path / STATS).write_text(json.dumps(stats, indent=2) + "\n", encoding="utf-8")
        for number, teacher in enumerate(teachers, 1):
            artifacts.pass_on_sketches([teacher], staged.path, prefix=f"teacher{number}-")
        Sketch.of(" ".join(s.words) for s in kept).save(staged.path / SKETCHES / "label.u64")
        staged.seeds["sentences"] = config.seed
        staged.run |= {"types": sorted(types), "n_sentences": len(kept)}
    _report(stats)
    return output


def _draw(files: Sequence[Path], teacher: Artifact, config: LabelConfig) -> list[_Sentence]:
    """``config.sentences`` sentences, drawn evenly from the whole text, in its order."""
    words_of = splitter(teacher.manifest.run.get("words", "punctuation"))
    key = np.full(1, child(child(config.seed, 0), _STREAM), dtype=np.uint64)
    heap: list[tuple[float, _Sentence]] = []
    number = 0
    n_bytes = total_bytes(files)
    with console.progress("read", n_bytes or None, unit="bytes") as bar:
        for document in read_documents(files, config, bar.advance):
            parts = segmented(document, words_of)
            priorities = uniforms(key, number + np.arange(len(parts.sentences)))
            for i, priority in enumerate(priorities.tolist()):
                words = tuple(word or EMPTY_WORD for word in parts.words(i))
                if not is_long_enough(" ".join(words)):
                    continue
                # a heap of the lowest priorities, the highest of them first
                entry = (-priority, _Sentence(number + i, document.id, words))
                (heapq.heappush if len(heap) < config.sentences else heapq.heappushpop)(heap, entry)
            number += len(parts.sentences)
    return sorted(sentence for _, sentence in heap)


def _label(
    drawn: Sequence[_Sentence], teachers: Sequence[Artifact], config: LabelConfig
) -> tuple[list[PredictedSentence], frozenset[str]]:
    """The vote of all models on each sentence, and the types that they know."""
    votes: list[list[PredictedSentence]] = [[] for _ in drawn]
    types: set[str] = set()
    with console.progress("label", len(drawn) * len(teachers)) as bar:
        for teacher in teachers:
            model = load_trained(teacher, config)
            types |= model.types
            for first, sentences in _rounds(drawn):
                found = model.predict([s.words for s in sentences])
                for votes_of, one in zip(votes[first:], found, strict=False):
                    votes_of.append(one)
                bar.advance(len(sentences))
    return [vote(of_sentence) for of_sentence in votes], frozenset(types)


def _rounds(drawn: Sequence[_Sentence], size: int = 256) -> Iterator[tuple[int, Sequence[_Sentence]]]:
    return ((first, drawn[first : first + size]) for first in range(0, len(drawn), size))


def vote(found: Sequence[PredictedSentence]) -> PredictedSentence:
    """What most models say of one sentence.

    A mention is kept if more than half of the models found exactly it; its probability is the mean over all models, 0
    for those that did not find it. The confidence is the mean over the models, 0 for those that found other mentions.
    """
    scores: dict[tuple[int, int, str], float] = {}
    counts: Counter[tuple[int, int, str]] = Counter()
    for one in found:
        for mention in one.mentions:
            counts[mention.mention] += 1
            scores[mention.mention] = scores.get(mention.mention, 0.0) + (mention.score or 0.0)
    # what more than half found cannot overlap: some model found both
    kept = sorted(mention for mention, n in counts.items() if 2 * n > len(found))
    mentions = [ScoredMention(*mention, scores[mention] / len(found)) for mention in kept]
    agreeing = [one for one in found if sorted(m.mention for m in one.mentions) == kept]
    confidence = sum(one.confidence or 0.0 for one in agreeing) / len(found)
    return PredictedSentence(found[0].tags, mentions, confidence)


def _select(
    drawn: Sequence[_Sentence], voted: Sequence[PredictedSentence], config: LabelConfig
) -> list[SilverSentence]:
    """Sentences of enough confidence; of those without mentions, at most as many as with, the first ones drawn."""
    sure = [(s, v) for s, v in zip(drawn, voted, strict=True) if (v.confidence or 0.0) >= config.min_confidence]
    n_empty_left = sum(bool(v.mentions) for _, v in sure)
    kept = []
    for sentence, found in sure:
        n_empty_left -= not found.mentions
        if found.mentions or n_empty_left >= 0:
            kept.append(SilverSentence(sentence.doc, sentence.words, tuple(found.mentions), found.confidence or 0.0))
    return kept


def _stats(kept: Sequence[SilverSentence], n_drawn: int, types: frozenset[str]) -> dict[str, Any]:
    by_type = Counter(kind for s in kept for _, _, kind, _ in s.mentions)
    return {
        "n_drawn": n_drawn,
        "n_sentences": len(kept),
        "n_with_mentions": sum(bool(s.mentions) for s in kept),
        "n_mentions": {kind: by_type[kind] for kind in sorted(types)},
        "mean_confidence": round(float(np.mean([s.confidence for s in kept])), 4),
    }


def _report(stats: dict[str, Any]) -> None:
    console.note(
        f"{stats['n_sentences']:,} of {stats['n_drawn']:,} sentences kept, {stats['n_with_mentions']:,} of them with"
        f" mentions; mean confidence {stats['mean_confidence']:.2f}"
    )
