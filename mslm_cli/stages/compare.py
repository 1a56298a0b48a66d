"""``mslm compare``: which of several systems is better on one test set, and where."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mslm_cli import artifacts, console
from mslm_cli.artifacts import Artifact
from mslm_cli.config import CompareConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.predictions import ScoredCorpus, ScoredSentence, read_predictions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.errors import ArtifactError, DataError, UsageError
from mslm_cli.evaluation.comparison import ALPHA, ComparedArm, compared
from mslm_cli.evaluation.exact_match import STRICT_F1
from mslm_cli.evaluation.slices import Slicing, by_knowledge, by_length, count_by_cluster
from mslm_cli.evaluation.spans import Bool, Spans, paired_spans
from mslm_cli.evaluation.tables import SLICINGS
from mslm_cli.evaluation.uncertainty import LEVEL, Float64, clusters_of
from mslm_cli.provenance import portable_path
from mslm_cli.terms.lexicon import Term, read_terms

COMPARISON_VERSION = 1
RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"
RESULTS_VERSION = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm: where it is from, its predictions, and the primary metric of its task, if that is known."""

    path: Path
    corpus: ScoredCorpus
    metric: str | None = None


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
        data: the gold mentions, where files with predictions do not hold them.
        train, lexicon: what slices are told by.

    Raises:
        UsageError: there are not two arms.
        ArtifactError: a folder is no sound eval artifact, or the lexicon is not sound.
        DataError: a file is not sound, or two runs are not of the same test set.
    """
    gold = None if data is None else read_labelled(data, config)
    arms = {name: [_read(path, gold, data, config) for path in paths] for name, paths in arms_of(arguments).items()}
    runs = [run for of_arm in arms.values() for run in of_arm]
    metric = _one_metric(runs)
    for other in runs[1:]:
        refuse_other_test_set(runs[0], other)
    known = None if train is None else read_labelled(train, config)
    terms = None if lexicon is None else read_terms(artifacts.load(lexicon, "lexicon").path / "terms.jsonl")

    sentences = runs[0].corpus.sentences
    clusters, unit = clusters_of([s.doc for s in sentences])
    counts: dict[str, list[Float64]] = {name: [] for name in arms}
    found: dict[str, list[Bool]] = {name: [] for name in arms}
    wrong: dict[str, list[Float64]] = {name: [] for name in arms}
    groups: dict[str, Bool] = {}
    for name, of_arm in arms.items():
        for each in of_arm:
            golds, predicted = paired_spans([s.gold for s in sentences], [s.predicted for s in each.corpus.sentences])
            slicings = _slicings(golds, predicted, [s.words for s in sentences], known, terms)
            groups = {
                label: by.gold == i for title, by in slicings.items() for i, label in enumerate(_labels(title, by))
            }
            blocks = [count_by_cluster(golds, predicted, clusters, by) for by in slicings.values()]
            counts[name].append(np.concatenate(blocks, axis=1))
            found[name].append(golds.are_in(predicted))
            n_wrong = [np.bincount(side, minlength=len(sentences)) for side in _mistakes(golds, predicted)]
            wrong[name].append((n_wrong[0] + n_wrong[1]).astype(np.float64))
    shown, pairs = compared(
        [ComparedArm(name, np.stack(of_runs)) for name, of_runs in counts.items()],
        list(groups),
        config.replicates,
        np.random.default_rng(config.seed),
    )
    for arm in shown:
        arm["paths"] = [portable_path(each.path) for each in arms[arm["name"]]]
    for pair in pairs:
        rates = [np.mean(found[name], axis=0) for name in pair["arms"]]
        errors = [np.mean(wrong[name], axis=0) for name in pair["arms"]]
        pair |= _wins(rates[0], rates[1], groups["all"])
        for of in pair["slices"]:
            of |= _wins(rates[0], rates[1], groups[of["name"]])
        pair["n_sentences_better"] = int((errors[1] < errors[0]).sum())
        pair["n_sentences_worse"] = int((errors[1] > errors[0]).sum())
    result = {
        "version": COMPARISON_VERSION,
        "primary_metric": metric,
        "n_sentences": len(sentences),
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
        "sentences": _different([s.id for s in sentences], {name: np.mean(w, axis=0) for name, w in wrong.items()}),
    }
    return result, arms


def arms_of(arguments: Iterable[str]) -> dict[str, list[Path]]:
    """The paths of each arm's runs, by its name.

    An argument is ``[NAME=]PATH[,PATH...]``; a PATH may hold ``*``, ``?`` and ``[...]``. Arguments of one name are one
    arm, so that a shell's ``mslm=scores-{1,2,3}`` is one too; without a name each is an arm of its own, which is called
    what the last part of its path is.

    Raises:
        UsageError: there are not two arms, a run is given twice in one, or a pattern matches nothing.
    """
    arms: dict[str, list[Path]] = {}
    for argument in arguments:
        name, is_named, rest = argument.partition("=")
        if Path(argument).exists() or not is_named or not name or "/" in name:
            name, rest = Path(argument).name, argument
            while name in arms:
                name += "'"
        patterns = [rest] if Path(rest).exists() else [part for part in rest.split(",") if part]
        arms.setdefault(name, []).extend(path for pattern in patterns for path in _matching(pattern))
    if len(arms) < 2:
        hint = (
            "name eval artifacts or files with predictions, such as `mslm compare vanilla=scores-v-* mslm=scores-m-*`"
        )
        raise UsageError("expected two arms or more to compare", hint=hint)
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
        return Run(path, read_predictions(artifact.path / PREDICTIONS, None), metric)
    corpus = read_predictions(path, gold, gold_name=str(data), encoding=config.encoding, errors=config.errors)
    return Run(path, corpus)


def _one_metric(runs: Sequence[Run]) -> str:
    """The primary metric that all runs have in common; files with predictions name none."""
    known = [run for run in runs if run.metric is not None]
    for other in known[1:]:
        if other.metric != known[0].metric:
            raise UsageError(f"{known[0].path} is scored by {known[0].metric}, {other.path} by {other.metric}")
    return (known[0].metric if known else None) or STRICT_F1


def _read_metric(scores: Artifact) -> str:
    """The primary metric of an eval artifact; warns of a leak."""
    results = json.loads((scores.path / RESULTS).read_bytes())
    if results["version"] != RESULTS_VERSION:
        message = f"{scores.path}: expected version {RESULTS_VERSION} of {RESULTS}, found {results['version']}"
        raise ArtifactError(message, hint="make it again with `mslm eval ... --overwrite`")
    n_seen, n = results["n_seen_upstream"], results["n_sentences"]
    if n_seen > n * WARN_ABOVE_SHARE:
        console.warn(f"{scores.path}: {n_seen:,} of {n:,} sentences were seen upstream: it has an unfair lead")
    metric: str = results.get("primary_metric", STRICT_F1)
    return metric


def refuse_other_test_set(one: Run, other: Run) -> None:
    """Check that two runs hold the same sentences with the same gold mentions.

    Raises:
        DataError: they do not; the first difference is named.
    """
    first, second = one.corpus.sentences, other.corpus.sentences
    for number, (a, b) in enumerate(zip(first, second, strict=False), 1):
        if difference := _difference(a, b, one.path, other.path):
            message = f"another test set than {one.path}: sentence {number} ({a.id}) {difference}"
            raise DataError(message, path=other.path)
    if len(first) != len(second):
        message = f"another test set than {one.path}: {len(second):,} sentences, {len(first):,} there"
        raise DataError(message, path=other.path)


def _difference(a: ScoredSentence, b: ScoredSentence, one: Path, other: Path) -> str:
    """How the second of two sentences differs from the first; empty if it does not."""
    if a.n_words != b.n_words:
        return f"has {b.n_words} words, {a.n_words} there"
    if a.words is not None and b.words is not None and a.words != b.words:
        i = next(i for i, (x, y) in enumerate(zip(a.words, b.words, strict=True)) if x != y)
        return f"has {b.words[i]!r} for its word {i + 1}, {a.words[i]!r} there"
    if a.digest != b.digest:
        return "is another text"
    if a.gold != b.gold:
        odd = sorted(set(a.gold) ^ set(b.gold))[0]
        return f"has {'' if odd in b.gold else 'no '}gold mention [{odd[0]}, {odd[1]}) {odd[2]}, unlike there"
    return ""


def _slicings(
    gold: Spans,
    predicted: Spans,
    words: Sequence[Sequence[str] | None],
    train: LabelledCorpus | None,
    terms: Sequence[Term] | None,
) -> dict[str, Slicing]:
    """All mentions, each type of the gold mentions, lengths, and what --train and --lexicon tell apart."""
    everything = Slicing(("all",), *(np.zeros(len(side), np.int64) for side in (gold, predicted)))
    present = sorted(set(gold.type_ids.tolist()))
    place = np.full(len(gold.types) + 1, len(present))
    place[present] = np.arange(len(present))
    # types that no gold mention has share the last slice, which every run has so
    of_types = Slicing((*(gold.types[k] for k in present), "others"), place[gold.type_ids], place[predicted.type_ids])
    found = {"": everything, "type": of_types, SLICINGS["length"]: by_length(gold, predicted)}
    with_text = [w for w in words if w is not None]
    if len(with_text) == len(words):
        known = by_knowledge(gold, predicted, with_text, train, terms)
        found |= {SLICINGS[name]: by for name, by in known.items() if by is not None}
    return found


def _labels(title: str, by: Slicing) -> list[str]:
    return [f"{title}: {name}" if title else name for name in by.names]


def _mistakes(gold: Spans, predicted: Spans) -> tuple[Any, Any]:
    """The sentences of missed gold mentions and of wrong predicted ones, int64 each."""
    return gold.sentence[~gold.are_in(predicted)], predicted.sentence[~predicted.are_in(gold)]


def _wins(one: Float64, other: Float64, group: Bool) -> dict[str, int]:
    """Gold mentions of a group, and how many of them the second arm finds in more, and in fewer, of its runs."""
    return {
        "gold": int(group.sum()),
        "wins": int((group & (other > one)).sum()),
        "losses": int((group & (other < one)).sum()),
    }


def _different(ids: Sequence[str], wrong: Mapping[str, Float64]) -> list[dict[str, Any]]:
    """The sentences in which not all arms make as many mistakes (missed and wrong mentions, means over runs)."""
    table = np.stack(list(wrong.values()))
    spread = table.max(axis=0) - table.min(axis=0)
    order = np.argsort(-spread, kind="stable")
    return [
        {"id": ids[i], "number": int(i) + 1, "mistakes": dict(zip(wrong, table[:, i].tolist(), strict=True))}
        for i in order[: int((spread > 0).sum())]
    ]
