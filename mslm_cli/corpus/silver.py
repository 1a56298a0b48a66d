"""Sentences that models have labelled: ``silver.jsonl``, with a confidence for each sentence and mention."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import Mention, ScoredMention, tags_from_mentions
from mslm_cli.errors import ArtifactError

SILVER = "silver.jsonl"


@dataclass(frozen=True)
class SilverSentence:
    """One sentence: its document, words, mentions with probabilities, and the confidence in all of its labels."""

    doc: str
    words: tuple[str, ...]
    mentions: tuple[ScoredMention, ...]
    confidence: float


@dataclass(frozen=True)
class SilverCorpus:
    """Labelled sentences, the types that were looked for in them, and the confidence in each, from 0 to 1."""

    corpus: LabelledCorpus
    types: frozenset[str]
    confidences: tuple[float, ...]


def silver_lines(sentences: Iterable[SilverSentence]) -> Iterator[str]:
    """The lines of ``SILVER``."""
    for s in sentences:
        mentions = [[start, end, kind, round(score or 0.0, 4)] for start, end, kind, score in s.mentions]
        line = {"doc": s.doc, "words": s.words, "mentions": mentions, "confidence": round(s.confidence, 4)}
        yield json.dumps(line, ensure_ascii=False) + "\n"


def read_silver(path: Path, types: Iterable[str]) -> SilverCorpus:
    """Read ``SILVER``.

    Raises:
        ArtifactError: a line is not one of a silver artifact.
    """
    sentences, confidences = [], []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                words = tuple(map(str, found["words"]))
                mentions: tuple[Mention, ...] = tuple(
                    (int(a), int(b), str(kind)) for a, b, kind, _ in found["mentions"]
                )
                tags = tuple(tags_from_mentions(mentions, len(words)))
                confidences.append(float(found["confidence"]))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ArtifactError(f"{path}:{number}: not a labelled sentence: {error}") from error
            sentences.append(LabelledSentence(str(number), found.get("doc"), words, mentions, tags))
    annotated = tuple(sorted({kind for s in sentences for *_, kind in s.mentions}))
    corpus = LabelledCorpus(tuple(sentences), annotated, "IOB2", 0)
    return SilverCorpus(corpus, frozenset(types), tuple(confidences))
