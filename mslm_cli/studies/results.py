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
from mslm_cli.corpus.predictions import ScoredCorpus, read_scored
from mslm_cli.corpus.scored_documents import ScoredDocuments
from mslm_cli.evaluation import document_scores
from mslm_cli.evaluation.comparison import ComparedArm
from mslm_cli.evaluation.label_efficiency import Labelled
from mslm_cli.evaluation.slices import Slicing, by_knowledge, by_length, count_by_cluster, everything
from mslm_cli.evaluation.spans import Spans, paired_spans
from mslm_cli.evaluation.summary import PREDICTIONS, RESULTS
from mslm_cli.evaluation.tables import SLICINGS as TITLES
from mslm_cli.evaluation.uncertainty import Float64, clusters_of
from mslm_cli.studies.nodes import Trial
from mslm_cli.studies.store import PROBE, Spent, StudyStore
from mslm_cli.tasks.registry import find_task

SLICINGS = {"length": "words", "seen_in_train": "in train", "train_frequency": "train count"}
OUTCOMES = ("exact", "wrong boundary", "missed")
_LONGEST = 3


Key = tuple[str, str, int]
"""Arm, data set and seed."""


class Results:
    """The finished trials of a study, read on demand; folds of a cross-validation count together, once all are done."""

    def __init__(self, trials: Sequence[Trial], store: StudyStore) -> None:
        self._store = store
        by_key: dict[Key, list[Trial]] = {}
        for trial in sorted(trials, key=lambda t: t.fold):
            by_key.setdefault((trial.arm.name, trial.data, trial.seed), []).append(trial)
        self._trials = {key: folds for key, folds in by_key.items() if len(folds) == folds[0].n_folds}
        self._scored: dict[str, ScoredCorpus | ScoredDocuments] = {}
        self._read_before: dict[tuple[str, Path], LabelledCorpus] = {}
        self._ners: dict[str, Artifact] = {}
        self.data = list(dict.fromkeys(t.data for t in trials))

    def seeds(self, arm: str, data: str) -> list[int]:
        """The seeds of the arm's trials on the data set."""
        return sorted(seed for a, d, seed in self._trials if (a, d) == (arm, data))

    def is_complete(self, arm: str) -> bool:
        """Whether the arm has a trial on every data set."""
        return all(self.seeds(arm, data) for data in self.data)

    def groups(self, data: str) -> list[str]:
        """Names of the groups in ``counts``: all mentions, then the slices."""
        slicings = self._slicings(self._first(data)[0])
        return [f"{title}: {name}" if title else name for title, by in slicings.items() for name in by.names]

    def counts(self, arm: str, data: str) -> ComparedArm:
        """The arm's gold, predicted and correct mentions on a data set, by seed, document (or sentence) and group."""
        runs = [
            np.concatenate([self._counts(trial) for trial in self._trials[arm, data, seed]])
            for seed in self.seeds(arm, data)
        ]
        return ComparedArm(arm, np.stack(runs))

    def _counts(self, trial: Trial) -> Float64:
        golds, predicted = self._spans(trial)
        clusters, _ = self._clusters(trial)
        slicings = self._slicings(trial).values()
        return np.concatenate([count_by_cluster(golds, predicted, clusters, by) for by in slicings], axis=1)

    def unit(self, data: str) -> str:
        """The resampling unit: ``documents`` or ``sentences``."""
        return self._clusters(self._first(data)[0])[1]

    def n_units(self, data: str) -> int:
        """The number of resampling units in the test data."""
        return sum(int(self._clusters(trial)[0].max()) + 1 for trial in self._first(data))

    def n_sentences(self, data: str) -> int:
        """The number of test sentences."""
        return sum(
            sum(document.n_sentences for document in scored.documents)
            if isinstance(scored, ScoredDocuments)
            else len(scored.rows)
            for scored in map(self._read, self._first(data))
        )

    def metric(self, data: str) -> str:
        """The user-facing name of the primary metric of the task on a data set."""
        title: str = self._ner(self._first(data)[0]).manifest.run["primary_metric"]
        return title

    def dev_score(self, arm: str, data: str) -> float:
        """The mean over seeds of the primary metric on dev."""
        return float(np.mean([self.dev_score_of(arm, data, seed) for seed in self.seeds(arm, data)]))

    def dev_score_of(self, arm: str, data: str, seed: int) -> float:
        """The primary metric on dev of one seed's model, or the mean over its folds."""
        return float(np.mean([_dev_score(self._ner(trial)) for trial in self._trials[arm, data, seed]]))

    def ner(self, arm: str, data: str, seed: int) -> Artifact:
        """The model of one seed; of its folds, the one that is best on dev."""
        return max(map(self._ner, self._trials[arm, data, seed]), key=_dev_score)

    def _ner(self, trial: Trial) -> Artifact:
        if trial.key not in self._ners:  # loading an artifact checks its every byte
            self._ners[trial.key] = load(self._store.path(trial.ner), "ner")
        return self._ners[trial.key]

    def n_labelled(self, arm: str, data: str) -> Labelled:
        """The numbers of sentences that the arm's trials learn from and choose on, averaged over seeds and folds."""
        trials = [trial for seed in self.seeds(arm, data) for trial in self._trials[arm, data, seed]]
        train, dev = (
            float(np.mean([len(self._labelled(trial, role).sentences) for trial in trials]))
            for role in ("train", "dev")
        )
        return Labelled(train, dev)

    def seen_upstream(self, data: str) -> dict[str, int]:
        """The number of test sentences seen upstream, by what saw them; the maximum over trials."""
        found: Counter[str] = Counter()
        for (_, d, _), trials in self._trials.items():
            if d == data:
                seen: Counter[str] = Counter()
                for trial in trials:
                    seen.update(self._store.read(trial.result, RESULTS)["seen_upstream"])
                found |= seen
        return dict(found)

    def outcomes(self, arm: str, data: str) -> dict[str, dict[str, float]]:
        """Fractions of gold mentions found exactly, found with a wrong boundary, and missed, by length in words.

        Empty for tasks of documents.
        """
        if isinstance(self._read(self._first(data)[0]), ScoredDocuments):
            return {}
        table = np.zeros((_LONGEST, len(OUTCOMES)))
        seeds = self.seeds(arm, data)
        trials = [trial for seed in seeds for trial in self._trials[arm, data, seed]]
        for sentence in (sentence for trial in trials for sentence in self._read(trial).rows):
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
        """Minutes and tokens of adaptation and of fine-tuning for one seed of the arm, averaged over seeds."""
        rows = []
        for seed in self.seeds(arm, data):
            trials = self._trials[arm, data, seed]
            before = {node.key: node for trial in trials for node in trial.trained[:-1]}
            adapted, tuned = (
                sum(map(self._store.spent, nodes), Spent()) for nodes in (before.values(), [t.ner for t in trials])
            )
            rows.append((adapted.minutes, adapted.n_tokens, tuned.minutes, tuned.n_tokens))
        names = ("adapt_minutes", "adapt_tokens", "finetune_minutes", "finetune_tokens")
        return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))

    def cost_in_all(self, arm: str) -> dict[str, float]:
        """Total minutes and tokens of the arm's trials; an adaptation shared by seeds or data sets counts once."""
        spent = self._store.spent_on(trial for (a, _, _), folds in self._trials.items() if a == arm for trial in folds)
        return {"minutes": spent.minutes, "tokens": spent.n_tokens}

    def probes(self, arm: str, data: str) -> list[dict[str, Any]]:
        """Probe results of the arm's encoders, one for each seed."""
        found = [trial.probe for seed in self.seeds(arm, data) for trial in self._trials[arm, data, seed]]
        return [self._store.read(p, PROBE) for p in found if p is not None and self._store.has(p)]

    def _first(self, data: str) -> list[Trial]:
        """The trials of any arm and seed, which together score the whole test data."""
        return next(trials for (_, d, _), trials in self._trials.items() if d == data)

    def _read(self, trial: Trial) -> ScoredCorpus | ScoredDocuments:
        if trial.key not in self._scored:
            self._scored[trial.key] = read_scored(self._store.path(trial.result) / PREDICTIONS)
        return self._scored[trial.key]

    def _clusters(self, trial: Trial) -> tuple[NDArray[np.int64], str]:
        return clusters_of([row.doc for row in self._read(trial).rows])

    def _spans(self, trial: Trial) -> tuple[Spans, Spans]:
        rows = self._read(trial).rows
        return paired_spans([row.gold for row in rows], [row.predicted for row in rows])

    def _slicings(self, trial: Trial) -> dict[str, Slicing]:
        """The slicings by title; the first, with an empty title, has all mentions in one group."""
        golds, predicted = self._spans(trial)
        scored = self._read(trial)
        if isinstance(scored, ScoredDocuments):
            of_documents = document_scores.slicings(scored, golds, predicted, self._train_of(trial))
            named = {TITLES[name]: by for name, by in of_documents.items() if by is not None}
            return {"": everything(golds, predicted), **named}
        words = [s.words or () for s in scored.sentences]
        known = by_knowledge(golds, predicted, words, self._train_of(trial), None)
        told = {"length": by_length(golds, predicted), **{name: by for name, by in known.items() if by is not None}}
        return {"": everything(golds, predicted), **{SLICINGS[name]: by for name, by in told.items()}}

    def _train_of(self, trial: Trial) -> LabelledCorpus:
        """The training data of a trial, without augmentation."""
        return self._labelled_in(self._store.dependency(trial.result, "train"), trial.ner.config)

    def _labelled(self, trial: Trial, role: str) -> LabelledCorpus:
        """The sentences that a trial learns from (``train``) or chooses on (``dev``)."""
        return self._labelled_in(self._store.dependency(trial.ner, role), trial.ner.config)

    def _labelled_in(self, path: Path, config: Any) -> LabelledCorpus:
        key = config.task, path  # a file can be data of several tasks
        if key not in self._read_before:
            self._read_before[key] = find_task(config.task).read(path, DataOptions.of(config))
        return self._read_before[key]


def _dev_score(ner: Artifact) -> float:
    return float(ner.manifest.run["dev_score"])
