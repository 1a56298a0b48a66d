"""``mslm compare``: compare systems on one test set, overall and in slices."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mslm_cli import artifacts, console
from mslm_cli.artifacts import Artifact
from mslm_cli.config import CompareConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.predictions import (
    ScoredCorpus,
    ScoredSentence,
    read_predictions,
    read_scored,
    read_scored_documents,
)
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.relations import read_relations
from mslm_cli.corpus.scored_documents import ScoredDocument, ScoredDocuments
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.errors import ArtifactError, DataError, UsageError
from mslm_cli.evaluation import document_scores
from mslm_cli.evaluation.comparison import ALPHA, ComparedArm, compared
from mslm_cli.evaluation.exact_match import STRICT_F1
from mslm_cli.evaluation.slices import Slicing, all_and_types, by_knowledge, by_length, count_by_cluster
from mslm_cli.evaluation.spans import Bool, Int64, Spans, paired_spans
from mslm_cli.evaluation.summary import PREDICTIONS, RESULTS, RESULTS_VERSION
from mslm_cli.evaluation.tables import SLICINGS
from mslm_cli.evaluation.uncertainty import LEVEL, Float64, clusters_of
from mslm_cli.provenance import portable_path
from mslm_cli.terms.lexicon import Term, terms_of

COMPARISON_VERSION = 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm: its path, its predictions, and the primary metric of its task, if known."""

    path: Path
    corpus: ScoredCorpus | ScoredDocuments
    metric: str | None = None


class _CountedRun(NamedTuple):
    """Counts of one run.

    counts: gold, predicted and correct mentions, float64 [n_clusters, n_groups, 3]. groups: the gold mentions in each
    group, bool [n_gold], by name; the same for all runs. found: the correctly predicted gold mentions, bool [n_gold].
    mistakes: missed and wrong mentions of each sentence, float64 [n_sentences].
    """

    counts: Float64
    groups: dict[str, Bool]
    found: Bool
    mistakes: Float64


def run(
    arguments: Sequence[str],
    config: CompareConfig,
    *,
    data: Path | None = None,
    train: Path | None = None,
    lexicon: Path | None = None,
) -> tuple[dict[str, Any], dict[str, list[Run]]]:
    """The comparison as JSON values, and the runs of each arm.

    Args:
        arguments: the arms, as ``arms_of`` reads them.
        data: a file with gold mentions, if files with predictions lack them.
        train, lexicon: the training data and lexicon for slices.

    Raises:
        UsageError: there are fewer than two arms.
        ArtifactError: a folder is not a valid eval artifact, or the lexicon is invalid.
        DataError: a file is invalid, or two runs have different test sets.
    """
    gold = None if data is None else read_labelled(data, config)
    arms = {name: [_read(path, gold, data, config) for path in paths] for name, paths in arms_of(arguments).items()}
    runs = [run for of_arm in arms.values() for run in of_arm]
    metric = _one_metric(runs)
    for other in runs[1:]:
        check_same_test_set(runs[0], other)
    known = None if train is None else _read_train(train, runs[0].corpus, config)
    terms = None if lexicon is None else terms_of(artifacts.load(lexicon, "lexicon"))

    rows = runs[0].corpus.rows
    clusters, unit = clusters_of([row.doc for row in rows])
    counted = {name: [_count(each, runs[0], clusters, known, terms) for each in arms[name]] for name in arms}
    groups = next(iter(counted.values()))[0].groups
    shown, pairs = compared(
        [ComparedArm(name, np.stack([each.counts for each in of_arm])) for name, of_arm in counted.items()],
        list(groups),
        config.replicates,
        np.random.default_rng(config.seed),
    )
    for arm in shown:
        arm["paths"] = [portable_path(each.path) for each in arms[arm["name"]]]
    found = {name: np.mean([each.found for each in of_arm], axis=0) for name, of_arm in counted.items()}
    mistakes = {name: np.mean([each.mistakes for each in of_arm], axis=0) for name, of_arm in counted.items()}
    for pair in pairs:
        _add_wins(pair, groups, found, mistakes)
    result = {
        "version": COMPARISON_VERSION,
        "primary_metric": metric,
        "n_sentences": len(rows),
        "resampled": {
            "unit": unit,
            "n": int(clusters.max()) + 1,
            "replicates": config.replicates,
            "seed": config.seed,
            "level": LEVEL,
        },
        "alpha": ALPHA,
        "arms": shown,
        "comparisons": pairs,
        "sentences": _differing_sentences([row.id for row in rows], mistakes),
    }
    return result, arms


def _read_train(train: Path, corpus: ScoredCorpus | ScoredDocuments, config: CompareConfig) -> LabelledCorpus | None:
    """The training data for slices; labels of documents have none."""
    if not isinstance(corpus, ScoredDocuments):
        return read_labelled(train, config)
    return read_relations(train, config) if corpus.kind == "relations" else None


def _add_wins(
    pair: dict[str, Any], groups: Mapping[str, Bool], found: Mapping[str, Float64], mistakes: Mapping[str, Float64]
) -> None:
    """Add wins and losses, overall and by slice, and the numbers of sentences that are better and worse."""
    first, second = pair["arms"]
    pair |= _wins(found[first], found[second], groups["all"])
    for of in pair["slices"]:
        of |= _wins(found[first], found[second], groups[of["name"]])
    pair["n_sentences_better"] = int((mistakes[second] < mistakes[first]).sum())
    pair["n_sentences_worse"] = int((mistakes[second] > mistakes[first]).sum())


def _count(
    run: Run, first: Run, clusters: Int64, train: LabelledCorpus | None, terms: Sequence[Term] | None
) -> _CountedRun:
    rows = first.corpus.rows
    golds, predicted = paired_spans([row.gold for row in rows], [row.predicted for row in run.corpus.rows])
    if isinstance(first.corpus, ScoredDocuments):
        of_documents = document_scores.slicings(first.corpus, golds, predicted, train)
        named = {SLICINGS[name]: by for name, by in of_documents.items() if by is not None}
        slicings = all_and_types(golds, predicted) | named
    else:
        slicings = _slicings(golds, predicted, [row.words for row in rows], train, terms)
    groups = {label: by.gold == i for title, by in slicings.items() for i, label in enumerate(_labels(title, by))}
    blocks = [count_by_cluster(golds, predicted, clusters, by) for by in slicings.values()]
    missed, wrong = (np.bincount(side, minlength=len(rows)) for side in _mistakes(golds, predicted))
    mistakes = (missed + wrong).astype(np.float64)
    return _CountedRun(np.concatenate(blocks, axis=1), groups, golds.are_in(predicted), mistakes)


def arms_of(arguments: Iterable[str]) -> dict[str, list[Path]]:
    """The paths of each arm's runs, by name.

    An argument is ``[NAME=]PATH[,PATH...]``; a PATH may contain ``*``, ``?`` and ``[...]``. Arguments with the same
    name form one arm, so a shell's ``mslm=scores-{1,2,3}`` does too. An argument without a name is a separate arm,
    named after the last part of its path.

    Raises:
        UsageError: there are fewer than two arms, an arm has the same run twice, or a pattern matches nothing.
    """
    arms: dict[str, list[Path]] = {}
    for argument in arguments:
        name, is_named, rest = argument.partition("=")
        if Path(argument).exists() or not is_named or not name or "/" in name:
            name, rest = Path(argument).name, argument
            while name in arms:
                name += "'"
        rest = str(Path(rest).expanduser())
        patterns = [rest] if Path(rest).exists() else [part for part in rest.split(",") if part]
        arms.setdefault(name, []).extend(path for pattern in patterns for path in _matching(pattern))
    if len(arms) < 2:
        hint = (
            "name eval artifacts or files with predictions, such as `mslm compare vanilla=scores-v-* mslm=scores-m-*`"
        )
        raise UsageError("expected at least two arms to compare", hint=hint)
    for name, paths in arms.items():
        if twice := next((p for i, p in enumerate(paths) if p.resolve() in {q.resolve() for q in paths[:i]}), None):
            raise UsageError(f"{twice} is given twice in {name}: runs of an arm differ in their seeds")
    return arms


def _matching(pattern: str) -> list[Path]:
    if Path(pattern).exists() or not any(c in pattern for c in "*?["):
        return [Path(pattern)]
    anchor = Path(Path(pattern).anchor)
    found = sorted(anchor.glob(str(Path(pattern).relative_to(anchor))))
    if not found:
        raise UsageError(f"{pattern}: no such file or folder")
    return found


def _read(path: Path, gold: LabelledCorpus | None, data: Path | None, config: CompareConfig) -> Run:
    if path.is_dir():
        artifact = artifacts.load(path, "eval")
        metric = _read_metric(artifact)
        return Run(path, read_scored(artifact.file(PREDICTIONS)), metric)
    if gold is None and (documents := read_scored_documents(path)):
        return Run(path, documents, document_scores.METRICS[documents.kind])
    corpus = read_predictions(path, gold, gold_name=str(data), encoding=config.encoding, errors=config.errors)
    return Run(path, corpus)


def _one_metric(runs: Sequence[Run]) -> str:
    """The primary metric of all runs; files with predictions have none."""
    known = [run for run in runs if run.metric is not None]
    for other in known[1:]:
        if other.metric != known[0].metric:
            raise UsageError(f"{known[0].path} is scored by {known[0].metric}, {other.path} by {other.metric}")
    return (known[0].metric if known else None) or STRICT_F1


def _read_metric(scores: Artifact) -> str:
    """The primary metric of an eval artifact; warns about a leak."""
    results = json.loads(scores.file(RESULTS).read_bytes())
    if results["version"] != RESULTS_VERSION:
        message = f"{scores.path}: expected version {RESULTS_VERSION} of {RESULTS}, found {results['version']}"
        raise ArtifactError(message, hint=artifacts.remaking("eval"))
    n_seen, n = results["n_seen_upstream"], results["n_sentences"]
    if n_seen > n * WARN_ABOVE_SHARE:
        console.warn(f"{scores.path}: {n_seen:,} of {n:,} sentences were seen upstream: it has an unfair advantage")
    metric: str = results.get("primary_metric", STRICT_F1)
    return metric


def check_same_test_set(one: Run, other: Run) -> None:
    """Check that two runs have the same sentences with the same gold mentions.

    Raises:
        DataError: they differ; the message names the first difference.
    """
    first: Sequence[ScoredSentence | ScoredDocument] = one.corpus.rows
    second: Sequence[ScoredSentence | ScoredDocument] = other.corpus.rows
    kinds = [isinstance(each.corpus, ScoredDocuments) for each in (one, other)]
    if kinds[0] != kinds[1]:
        message = f"not the test set of {one.path}: one scores documents, the other mentions in sentences"
        raise DataError(message, path=other.path)
    unit = "document" if kinds[0] else "sentence"
    for number, (a, b) in enumerate(zip(first, second, strict=False), 1):
        if difference := _difference(a, b):
            message = f"not the test set of {one.path}: {unit} {number} ({a.id}) {difference}"
            raise DataError(message, path=other.path)
    if len(first) != len(second):
        message = f"not the test set of {one.path}: {len(second):,} {unit}s instead of {len(first):,}"
        raise DataError(message, path=other.path)


def _difference(a: ScoredSentence | ScoredDocument, b: ScoredSentence | ScoredDocument) -> str:
    """How sentence or document ``b`` differs from ``a``; empty if it does not."""
    if a.n_words != b.n_words:
        return f"has {b.n_words} words instead of {a.n_words}"
    if a.words is not None and b.words is not None and a.words != b.words:
        i = next(i for i, (x, y) in enumerate(zip(a.words, b.words, strict=True)) if x != y)
        return f"has {b.words[i]!r} instead of {a.words[i]!r} as word {i + 1}"
    if a.digest != b.digest:
        return "has a different text"
    if a.gold != b.gold:
        what = "item" if isinstance(a, ScoredDocument) else "mention"
        odd = sorted(set(a.gold) ^ set(b.gold))[0]
        return f"{'has an extra' if odd in b.gold else 'lacks the'} gold {what} [{odd[0]}, {odd[1]}) {odd[2]}"
    return ""


def _slicings(
    gold: Spans,
    predicted: Spans,
    words: Sequence[Sequence[str] | None],
    train: LabelledCorpus | None,
    terms: Sequence[Term] | None,
) -> dict[str, Slicing]:
    """Slicings by title: all mentions, gold types, length, and those from --train and --lexicon."""
    found = {**all_and_types(gold, predicted), SLICINGS["length"]: by_length(gold, predicted)}
    with_text = [w for w in words if w is not None]
    if len(with_text) == len(words):
        known = by_knowledge(gold, predicted, with_text, train, terms)
        found |= {SLICINGS[name]: by for name, by in known.items() if by is not None}
    return found


def _labels(title: str, by: Slicing) -> list[str]:
    return [f"{title}: {name}" if title else name for name in by.names]


def _mistakes(gold: Spans, predicted: Spans) -> tuple[Any, Any]:
    """The sentences of missed gold mentions and of wrong predicted mentions, int64 each."""
    return gold.sentence[~gold.are_in(predicted)], predicted.sentence[~predicted.are_in(gold)]


def _wins(one: Float64, other: Float64, group: Bool) -> dict[str, int]:
    """Gold mentions in a group, and those the second arm finds in more, or in fewer, of its runs."""
    return {
        "gold": int(group.sum()),
        "wins": int((group & (other > one)).sum()),
        "losses": int((group & (other < one)).sum()),
    }


def _differing_sentences(ids: Sequence[str], wrong: Mapping[str, Float64]) -> list[dict[str, Any]]:
    """Sentences where arms differ in their number of mistakes (missed and wrong mentions, averaged over runs)."""
    table = np.stack(list(wrong.values()))
    spread = table.max(axis=0) - table.min(axis=0)
    order = np.argsort(-spread, kind="stable")
    return [
        {"id": ids[i], "number": int(i) + 1, "mistakes": dict(zip(wrong, table[:, i].tolist(), strict=True))}
        for i in order[: int((spread > 0).sum())]
    ]
