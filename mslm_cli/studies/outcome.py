"""What the trials of a study came to: counts of mentions by arm, data set and seed, and what they cost."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.artifacts import load
from mslm_cli.corpus.labels import Mention
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.evaluation.arms import Runs, draw_weights
from mslm_cli.studies.plan import Made, Piece, Trial
from mslm_cli.studies.work import PROBE, Workshop
from mslm_cli.terms.tokens import folded_key

LENGTHS = ("1 word", "2 words", "3+ words")
FAMILIARITY = ("unseen in train", "rare in train (1-2)", "frequent in train")
SLICES = (*LENGTHS, *FAMILIARITY)
OUTCOMES = ("exact", "wrong boundary", "missed")
_RARE = 2


@dataclass(frozen=True)
class Scored:
    """A trial's test sentences: ids of their documents, gold and predicted mentions, and the words."""

    docs: list[str | None]
    words: list[list[str]]
    gold: list[list[Mention]]
    predicted: list[list[Mention]]

    @classmethod
    def read(cls, file: Path) -> "Scored":
        """What ``predictions.jsonl`` holds."""
        with file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        sides = ([[(s, e, k) for s, e, k in row[side]] for row in rows] for side in ("gold", "pred"))
        return cls([row.get("doc") for row in rows], [row["words"] for row in rows], *sides)

    def counts(self) -> NDArray[np.float64]:
        """Gold, predicted and correct mentions of each sentence: float64 [n_sentences, 3]."""
        return np.array(
            [(len(set(g)), len(set(p)), len(set(g) & set(p))) for g, p in zip(self.gold, self.predicted, strict=True)],
            np.float64,
        ).reshape(-1, 3)

    def outcomes(self, in_train: Counter[str]) -> NDArray[np.int64]:
        """How many gold mentions of each slice were found, found with a wrong boundary, or not: int64 [n_slices, 3]."""
        table = np.zeros((len(SLICES), len(OUTCOMES)), np.int64)
        for words, gold, predicted in zip(self.words, self.gold, self.predicted, strict=True):
            exact = set(predicted)
            for start, end, kind in gold:
                overlaps = any(s < end and start < e and k == kind for s, e, k in predicted)
                outcome = 0 if (start, end, kind) in exact else 1 if overlaps else 2
                n_seen = in_train[folded_key(" ".join(words[start:end]))]
                familiarity = 0 if not n_seen else 1 if n_seen <= _RARE else 2
                table[min(end - start, len(LENGTHS)) - 1, outcome] += 1
                table[len(LENGTHS) + familiarity, outcome] += 1
        return table


def mentions_of(train: Path, encoding: str, errors: str) -> Counter[str]:
    """How often each surface form is a mention of the training data, case folded."""
    sentences = read_labelled(train, encoding=encoding, errors=errors).sentences
    return Counter(folded_key(" ".join(s.words[start:end])) for s in sentences for start, end, _ in s.mentions)


class Results:
    """The finished trials of a study, read when they are asked for."""

    def __init__(self, trials: Sequence[Trial], workshop: Workshop) -> None:
        self._workshop = workshop
        self._trials = {(t.arm.name, t.data, t.seed): t for t in trials if t.score is not None}
        self.data = list(dict.fromkeys(t.data for t in trials))
        self._scored: dict[tuple[str, str, int], Scored] = {}
        self._weights: dict[str, NDArray[np.float64]] = {}
        self._mentions: dict[Path, Counter[str]] = {}

    def trial(self, arm: str, data: str, seed: int) -> Trial:
        """The trial."""
        return self._trials[arm, data, seed]

    def seeds(self, arm: str, data: str) -> list[int]:
        """The seeds with which the arm was trained on the data set."""
        return sorted(seed for a, d, seed in self._trials if (a, d) == (arm, data))

    def is_complete(self, arm: str) -> bool:
        """Whether the arm has a trial on every data set."""
        return all(self.seeds(arm, data) for data in self.data)

    def scored(self, arm: str, data: str, seed: int) -> Scored:
        """What the trial's model predicted."""
        key = arm, data, seed
        if key not in self._scored:
            score = self._trials[key].score
            assert score is not None
            self._scored[key] = Scored.read(self._workshop.path(score) / "predictions.jsonl")
        return self._scored[key]

    def runs(self, arm: str, data: str, seeds: Sequence[int]) -> Runs:
        """The arm's counts on a data set, by seed and by document (by sentence where there are none)."""
        clusters = self._clusters(data)
        n = int(clusters.max()) + 1
        if data not in self._weights:
            self._weights[data] = draw_weights(n, seed=0)

        def by_cluster(seed: int) -> NDArray[np.float64]:
            columns = self.scored(arm, data, seed).counts().T
            return np.stack([np.bincount(clusters, column, minlength=n) for column in columns], axis=1)

        return Runs(np.stack([by_cluster(seed) for seed in seeds]), self._weights[data])

    def unit(self, data: str) -> str:
        """What is resampled as one: ``documents`` or ``sentences``."""
        clusters = self._clusters(data)
        return "sentences" if int(clusters.max()) + 1 == len(clusters) else "documents"

    def _clusters(self, data: str) -> NDArray[np.int64]:
        arm, _, seed = next(key for key in self._trials if key[1] == data)
        docs = self.scored(arm, data, seed).docs
        numbers = {doc: i for i, doc in enumerate(dict.fromkeys(docs))}
        return np.arange(len(docs)) if len(numbers) < 2 else np.array([numbers[doc] for doc in docs], np.int64)

    def dev_f1(self, arm: str, data: str) -> float:
        """Mean strict F1 on dev over seeds."""
        found = [self.ner(arm, data, seed).manifest.run["dev_f1"] for seed in self.seeds(arm, data)]
        return float(np.mean(found))

    def ner(self, arm: str, data: str, seed: int) -> Any:
        """The trial's model."""
        return load(self._workshop.path(self._trials[arm, data, seed].ner), "ner")

    def seen_upstream(self, data: str) -> dict[str, int]:
        """The most test sentences that anything upstream of any trial has seen, by what saw them."""
        found: Counter[str] = Counter()
        for (_, d, _), trial in self._trials.items():
            if d == data and trial.score is not None:
                for name, n in self._workshop.read(trial.score, "results.json")["seen_upstream"].items():
                    found[name] = max(found[name], n)
        return dict(found)

    def outcomes(self, arm: str, data: str) -> NDArray[np.int64]:
        """Gold mentions by slice and outcome, summed over seeds: int64 [n_slices, 3]."""
        in_train = self._in_train(data)
        tables = [self.scored(arm, data, seed).outcomes(in_train) for seed in self.seeds(arm, data)]
        total: NDArray[np.int64] = np.sum(tables, axis=0)
        return total

    def _in_train(self, data: str) -> Counter[str]:
        # of vanilla, whose training data are not augmented
        trial = next(t for (_, d, _), t in self._trials.items() if d == data and t.arm.kind != "augment")
        material = dict(trial.ner.inputs)["train"]
        path = self._workshop.path(material.piece) / material.name if isinstance(material, Made) else material
        if path not in self._mentions:
            options = trial.ner.config.model_dump()
            self._mentions[path] = mentions_of(path, options["encoding"], options["errors"])
        return self._mentions[path]

    def cost(self, arm: str, data: str) -> dict[str, float]:
        """What one trial of the arm took: minutes and tokens of adaptation and of fine-tuning, means over seeds."""
        rows = []
        for seed in self.seeds(arm, data):
            trial = self._trials[arm, data, seed]
            encoder = next((p for p in trial.ner.needs() if p.stage == "encoder"), None)
            adapted = (0.0, 0) if encoder is None else self._spent(encoder, "encoder")
            tuned = self._spent(trial.ner, "ner")
            rows.append((adapted[0] / 60, adapted[1], tuned[0] / 60, tuned[1]))
        names = ("adapt_minutes", "adapt_tokens", "finetune_minutes", "finetune_tokens")
        return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))

    def _spent(self, piece: Piece, kind: Any) -> tuple[float, int]:
        """Seconds and tokens of a training run, from its log, so that what was resumed counts too."""
        seconds = tokens = 0.0
        with (self._workshop.path(piece) / "metrics.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if "tokens_per_s" in record:
                    tokens += record["n_tokens"]
                    seconds += record["n_tokens"] / max(record["tokens_per_s"], 1e-9)
        return seconds, int(tokens)

    def probes(self, arm: str, data: str) -> list[dict[str, Any]]:
        """What the probes of the arm's encoders found, one a seed."""
        found = [self._trials[arm, data, seed].probe for seed in self.seeds(arm, data)]
        return [self._workshop.read(p, PROBE) for p in found if p is not None and self._workshop.has(p)]
