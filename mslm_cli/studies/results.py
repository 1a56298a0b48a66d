"""Results of a study's trials: mention counts and cost by arm, data set and seed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mslm_cli.artifacts import Artifact, load
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import ScoredCorpus, read_predictions
from mslm_cli.evaluation.comparison import ComparedArm
from mslm_cli.evaluation.slices import Slicing, by_knowledge, by_length, count_by_cluster
from mslm_cli.evaluation.spans import Spans, paired_spans
from mslm_cli.evaluation.summary import PREDICTIONS, RESULTS
from mslm_cli.evaluation.uncertainty import Float64, clusters_of
from mslm_cli.studies.plan import Trial
from mslm_cli.studies.store import PROBE, Spent, StudyStore
from mslm_cli.tasks.registry import find_task

SLICINGS = {"length": "words", "seen_in_train": "in train", "train_frequency": "train count"}
OUTCOMES = ("exact", "wrong boundary", "missed")
_LONGEST = 3


class Results:
    """The finished trials of a study, read on demand."""

    def __init__(self, trials: Sequence[Trial], store: StudyStore) -> None:
        self._store = store
        self._trials = {(t.arm.name, t.data, t.seed): t for t in trials}
        self._scored: dict[tuple[str, str, int], ScoredCorpus] = {}
        self._read_before: dict[Path, LabelledCorpus] = {}
        self._ners: dict[tuple[str, str, int], Artifact] = {}
        self.data = list(dict.fromkeys(t.data for t in trials))

    def seeds(self, arm: str, data: str) -> list[int]:
        """The seeds of the arm's trials on the data set."""
        return sorted(seed for a, d, seed in self._trials if (a, d) == (arm, data))

    def is_complete(self, arm: str) -> bool:
        """Whether the arm has a trial on every data set."""
        return all(self.seeds(arm, data) for data in self.data)

    def groups(self, data: str) -> list[str]:
        """Names of the groups in ``counts``: all mentions, then the slices."""
        slicings = self._slicings(next(key for key in self._trials if key[1] == data))
        return [f"{title}: {name}" if title else name for title, by in slicings.items() for name in by.names]

    def counts(self, arm: str, data: str) -> ComparedArm:
        """The arm's gold, predicted and correct mentions on a data set, by seed, document (or sentence) and group."""
        clusters, _ = self._clusters(data)
        runs: list[Float64] = []
        for seed in self.seeds(arm, data):
            golds, predicted = self._spans((arm, data, seed))
            slicings = self._slicings((arm, data, seed)).values()
            runs.append(np.concatenate([count_by_cluster(golds, predicted, clusters, by) for by in slicings], axis=1))
        return ComparedArm(arm, np.stack(runs))

    def unit(self, data: str) -> str:
        """The resampling unit: ``documents`` or ``sentences``."""
        return self._clusters(data)[1]

    def n_units(self, data: str) -> int:
        """The number of resampling units in the test data."""
        return int(self._clusters(data)[0].max()) + 1

    def n_sentences(self, data: str) -> int:
        """The number of test sentences."""
        return len(self._clusters(data)[0])

    @property
    def metric(self) -> str:
        """The user-facing name of the task's primary metric."""
        title: str = self.ner(*next(iter(self._trials))).manifest.run["primary_metric"]
        return title

    def dev_score(self, arm: str, data: str) -> float:
        """The mean over seeds of the primary metric on dev."""
        return float(np.mean([self.dev_score_of(arm, data, seed) for seed in self.seeds(arm, data)]))

    def dev_score_of(self, arm: str, data: str, seed: int) -> float:
        """The primary metric of one trial's model on dev."""
        return float(self.ner(arm, data, seed).manifest.run["dev_score"])

    def ner(self, arm: str, data: str, seed: int) -> Artifact:
        """The trial's model."""
        key = arm, data, seed
        if key not in self._ners:  # loading an artifact checks its every byte
            self._ners[key] = load(self._store.path(self._trials[key].ner), "ner")
        return self._ners[key]

    def n_labelled(self, arm: str, data: str) -> float:
        """The number of sentences that the arm's trials learn from and choose on, averaged over seeds."""
        trials = [self._trials[arm, data, seed] for seed in self.seeds(arm, data)]
        return float(
            np.mean([sum(len(self._labelled(t, role).sentences) for role in ("train", "dev")) for t in trials])
        )

    def seen_upstream(self, data: str) -> dict[str, int]:
        """The number of test sentences seen upstream, by what saw them; the maximum over trials."""
        found: Counter[str] = Counter()
        for (_, d, _), trial in self._trials.items():
            if d == data:
                for name, n in self._store.read(trial.result, RESULTS)["seen_upstream"].items():
                    found[name] = max(found[name], n)
        return dict(found)

    def outcomes(self, arm: str, data: str) -> dict[str, dict[str, float]]:
        """Fractions of gold mentions found exactly, found with a wrong boundary, and missed, by length in words."""
        table = np.zeros((_LONGEST, len(OUTCOMES)))
        seeds = self.seeds(arm, data)
        for seed in seeds:
            for sentence in self._read((arm, data, seed)).sentences:
                for start, end, entity_type in sentence.gold:
                    overlaps = any(s < end and start < e and t == entity_type for s, e, t in sentence.predicted)
                    outcome = 0 if (start, end, entity_type) in sentence.predicted else 1 if overlaps else 2
                    table[min(end - start, _LONGEST) - 1, outcome] += 1
        names = [*map(str, range(1, _LONGEST)), f"{_LONGEST}+"]
        return {
            name: {
                "n_gold": row.sum() / len(seeds),
                **dict(zip(OUTCOMES, (row / max(row.sum(), 1)).tolist(), strict=True)),
            }
            for name, row in zip(names, table, strict=True)
        }

    def cost(self, arm: str, data: str) -> dict[str, float]:
        """Minutes and tokens of adaptation and of fine-tuning for one trial of the arm, averaged over seeds."""
        rows = []
        for seed in self.seeds(arm, data):
            trial = self._trials[arm, data, seed]
            *adaptations, tuning = trial.trained
            adapted, tuned = sum(map(self._store.spent, adaptations), Spent()), self._store.spent(tuning)
            rows.append((adapted.minutes, adapted.n_tokens, tuned.minutes, tuned.n_tokens))
        names = ("adapt_minutes", "adapt_tokens", "finetune_minutes", "finetune_tokens")
        return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))

    def cost_in_all(self, arm: str) -> dict[str, float]:
        """Total minutes and tokens of the arm's trials; an adaptation shared by seeds or data sets counts once."""
        spent = self._store.spent_on(trial for (a, _, _), trial in self._trials.items() if a == arm)
        return {"minutes": spent.minutes, "tokens": spent.n_tokens}

    def probes(self, arm: str, data: str) -> list[dict[str, Any]]:
        """Probe results of the arm's encoders, one for each seed."""
        found = [self._trials[arm, data, seed].probe for seed in self.seeds(arm, data)]
        return [self._store.read(p, PROBE) for p in found if p is not None and self._store.has(p)]

    def _read(self, key: tuple[str, str, int]) -> ScoredCorpus:
        if key not in self._scored:
            path = self._store.path(self._trials[key].result) / PREDICTIONS
            self._scored[key] = read_predictions(path, None)
        return self._scored[key]

    def _clusters(self, data: str) -> tuple[NDArray[np.int64], str]:
        first = next(key for key in self._trials if key[1] == data)
        return clusters_of([s.doc for s in self._read(first).sentences])

    def _spans(self, key: tuple[str, str, int]) -> tuple[Spans, Spans]:
        sentences = self._read(key).sentences
        return paired_spans([s.gold for s in sentences], [s.predicted for s in sentences])

    def _slicings(self, key: tuple[str, str, int]) -> dict[str, Slicing]:
        """The slicings by title; the first, with an empty title, has all mentions in one group."""
        golds, predicted = self._spans(key)
        words = [s.words or () for s in self._read(key).sentences]
        known = by_knowledge(golds, predicted, words, self._train_of(key[1]), None)
        everything = Slicing(("all",), *(np.zeros(len(side), np.int64) for side in (golds, predicted)))
        told = {"length": by_length(golds, predicted), **{name: by for name, by in known.items() if by is not None}}
        return {"": everything, **{SLICINGS[name]: by for name, by in told.items()}}

    def _train_of(self, data: str) -> LabelledCorpus:
        """The data set's training data, without augmentation."""
        return self._labelled(
            next(t for (_, d, _), t in self._trials.items() if d == data and t.arm.kind != "augment"), "train"
        )

    def _labelled(self, trial: Trial, role: str) -> LabelledCorpus:
        """The sentences that a trial learns from (``train``) or chooses on (``dev``)."""
        path, config = self._store.dependency(trial.ner, role), trial.ner.config
        if path not in self._read_before:
            self._read_before[path] = find_task(config.model_dump()["task"]).read(path, DataOptions.of(config))
        return self._read_before[path]
