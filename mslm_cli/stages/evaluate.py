"""``mslm eval``: score a trained model, or predictions of any system, on gold data."""

import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mslm_cli import artifacts, console, provenance
from mslm_cli.artifacts import Artifact, ArtifactBuild, Input
from mslm_cli.config import EvalConfig
from mslm_cli.corpus.classified import read_classified
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.lines import display_name
from mslm_cli.corpus.predictions import ScoredCorpus, read_predictions, read_scored_documents
from mslm_cli.corpus.readers import gold_inputs, read_gold
from mslm_cli.corpus.relations import RelationCorpus, read_relations
from mslm_cli.corpus.scored_documents import ScoredDocuments
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE, Sketch, is_long_enough
from mslm_cli.errors import DataError, UsageError
from mslm_cli.evaluation.document_scores import METRICS, lines_with_errors, score_documents
from mslm_cli.evaluation.exact_match import STRICT_F1, match_spans
from mslm_cli.evaluation.partial_match import errors, pair
from mslm_cli.evaluation.slices import KNOWLEDGE, Slicing, by_knowledge
from mslm_cli.evaluation.spans import Spans, paired_spans, spans_from_tags
from mslm_cli.evaluation.summary import PREDICTIONS, RESULTS, RESULTS_VERSION, summarise
from mslm_cli.evaluation.tables import noun
from mslm_cli.evaluation.uncertainty import LEVEL, clusters_of
from mslm_cli.reporting import page
from mslm_cli.terms.lexicon import Term, terms_of
from mslm_cli.text.tokens import splitter

_RULES = {
    "IOB2": "strict IOB2 requires a B- at the start of each",
    "IOBES": "in IOBES each is an S-, or goes from a B- to an E-",
    "BILOU": "in BILOU each is a U-, or goes from a B- to an L-",
}
CURVES = {"ner": artifacts.METRICS, "encoder": artifacts.ENCODER_METRICS, "thresholds": artifacts.THRESHOLDS}
"""Training logs in a ner artifact, of the model and of its encoder; and precision and recall on dev by threshold."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The inputs: a ner artifact with labelled ``data``, or a file of predictions (with ``data`` if it lacks the gold
    mentions); optionally the training data and a lexicon for slices, and for relations an NER model, ``mentions``, to
    score both end to end.
    """

    ner: Path | None = None
    data: Path | None = None
    predictions: Path | None = None
    train: Path | None = None
    lexicon: Path | None = None
    mentions: Path | None = None


class Scored(NamedTuple):
    """The content of results.json, and the lines of predictions.jsonl, which can be asked for again."""

    results: dict[str, Any]
    lines: Iterable[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of predictions.jsonl, made as they are asked for."""

    corpus: ScoredCorpus | ScoredDocuments

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if isinstance(self.corpus, ScoredDocuments):
            return lines_with_errors(self.corpus)
        return with_errors(self.corpus)


def run(
    sources: Sources,
    output: Path | None,
    config: EvalConfig,
    *,
    overwrite: bool = False,
    with_report: bool = True,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> Scored:
    """Compute all scores and, if ``output`` is given, publish them as an eval artifact.

    Args:
        about: entries of the manifest's ``run``.

    Raises:
        UsageError: neither or both of a model and predictions are given.
        ArtifactError: the ner artifact or the lexicon is invalid.
        DataError: a file is invalid, or the predictions do not match the data.
    """
    if (sources.ner is None) == (sources.predictions is None) or (sources.ner and not sources.data):
        raise UsageError("expected a NER model and --data FILE, or --predictions FILE", hint="see `mslm eval --help`")
    ner = None if sources.ner is None else artifacts.load(sources.ner, "ner")
    finder = None if sources.mentions is None else artifacts.load(sources.mentions, "ner")
    lexicon = None if sources.lexicon is None else artifacts.load(sources.lexicon, "lexicon")
    inputs = [ner.as_input("ner")] if ner else []
    files = {"data": sources.data, "predictions": sources.predictions, "train": sources.train}
    inputs += [one for role, path in files.items() if path is not None for one in gold_inputs(role, path)]
    inputs += [lexicon.as_input("lexicon")] if lexicon else []
    inputs += [finder.as_input("mentions")] if finder else []
    build = None if output is None else ArtifactBuild("eval", output, config, inputs)
    if build and build.is_done(overwrite=overwrite):
        scored = read_scored(artifacts.load(build.output, "eval"))
        _print_warnings(scored.results)
        return scored

    corpus, unknown = _corpus(sources, ner, config)
    train = None if sources.train is None else _read(sources.train, config, ner, corpus)
    terms = None if lexicon is None else terms_of(lexicon)
    results = {
        **_identity(ner, inputs, corpus),
        "types_unknown_to_model": unknown,
        **score(corpus, config, train=train, terms=terms),
        **count_seen(corpus, _sketches(ner, train)),
        **({} if finder is None else {"end_to_end": _end_to_end(sources, ner, finder, config)}),
    }
    scored = Scored(results, _Lines(corpus.without_text() if config.no_text else corpus))
    if build:
        _publish(build, scored, ner, config, about, with_report=with_report)
    _print_warnings(results)
    return scored


def _end_to_end(sources: Sources, ner: Artifact | None, finder: Artifact, config: EvalConfig) -> dict[str, Any]:
    """The scores of relations between the mentions that the NER model ``finder`` finds."""
    from mslm_cli.tasks.related import check_mention_types, end_to_end
    from mslm_cli.tasks.trained import load_trained

    model = None if ner is None else load_trained(ner, config, config.threshold)
    if model is None or model.task.kind != "relations" or sources.data is None:
        raise UsageError("--ner needs a model of relations and --data FILE")
    gold = _read(sources.data, config, ner)
    assert isinstance(gold, RelationCorpus)
    ner_model = load_trained(finder, config)
    check_mention_types(model, ner_model)
    corpus = end_to_end(model, ner_model, gold, splitter(finder.manifest.run.get("words", "punctuation")))
    scored = score_documents(corpus, None, n_replicates=config.replicates, seed=config.seed, n_examples=0)
    return {"exact_match": scored["exact_match"]}


def _corpus(
    sources: Sources, ner: Artifact | None, config: EvalConfig
) -> tuple[ScoredCorpus | ScoredDocuments, list[str]]:
    """Gold and predictions, and the gold types that are never predicted."""
    if sources.predictions is not None and sources.data is None and sources.predictions.is_file():
        corpus: ScoredCorpus | ScoredDocuments | None = read_scored_documents(sources.predictions)
        if corpus is not None:
            return corpus, sorted(corpus.gold_types - corpus.predicted_types)
    gold = None if sources.data is None else _read(sources.data, config, ner)
    if isinstance(gold, RelationCorpus) and not gold.n_gold:
        raise DataError("no relations, so there is nothing to score", path=sources.data)
    if ner and gold:
        corpus, types = predict(ner, gold, config)
        return corpus, sorted(set(gold.types) - types)
    corpus = _read_predictions(sources, gold, config)
    return corpus, sorted(corpus.gold_types - corpus.predicted_types)


def _identity(ner: Artifact | None, inputs: Sequence[Input], corpus: ScoredCorpus | ScoredDocuments) -> dict[str, Any]:
    """The entries of results.json that identify the system, its primary metric and the data."""
    of_role = {entry.role: {"name": entry.path, "fingerprint": entry.fingerprint} for entry in inputs}
    system = "ner" if ner else "predictions"
    metric = METRICS[corpus.kind] if isinstance(corpus, ScoredDocuments) else STRICT_F1
    return {
        "version": RESULTS_VERSION,
        "system": {"kind": system, **of_role[system], **({"task": ner.manifest.run.get("task", "ner")} if ner else {})},
        "primary_metric": ner.manifest.run.get("primary_metric", metric) if ner else metric,
        "data": of_role.get("data"),
    }


def _publish(
    build: ArtifactBuild,
    scored: Scored,
    ner: Artifact | None,
    config: EvalConfig,
    about: Mapping[str, Any],
    *,
    with_report: bool,
) -> None:
    """Write the eval artifact, with its report if wanted."""
    with build.publish() as staged:
        (staged.path / RESULTS).write_text(json.dumps(scored.results, indent=2) + "\n", encoding="utf-8")
        wrong = []
        with (staged.path / PREDICTIONS).open("w", encoding="utf-8", newline="\n") as file:
            for line in scored.lines:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                if "errors" in line:
                    wrong.append(line)
        if with_report:
            known = {name: file for name, file in CURVES.items() if ner and ner.has(file)}
            curves = {name: page.read_curve(ner.file(file)) for name, file in known.items()} if ner else {}
            made_by = {"fingerprint": build.fingerprint, **_provenance(ner, build.inputs, config)}
            page.write_report(staged.path, scored.results, wrong, made_by, curves)
        staged.seeds["bootstrap"] = config.seed
        staged.run |= about


def _provenance(ner: Artifact | None, inputs: Sequence[Input], config: EvalConfig) -> dict[str, Any]:
    """The provenance of the numbers, for the report."""
    found: dict[str, Any] = {f"{one.role}": {one.path: one.fingerprint} for one in inputs}
    found["options of eval"] = _shown(config.model_dump(mode="json"))
    if ner:
        found["options of finetune"] = _shown(ner.manifest.config)
        found |= {f"finetune {one.role}": {one.path: one.fingerprint} for one in ner.manifest.inputs}
        found["NER model made with"] = {**ner.manifest.code, **ner.manifest.environment}
    found["scored with"] = {**provenance.code_version(), **provenance.environment()}
    return found


def _shown(options: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def read_scored(artifact: Artifact) -> Scored:
    """Read an eval artifact."""
    with artifact.file(PREDICTIONS).open(encoding="utf-8") as file:
        return Scored(json.loads(artifact.file(RESULTS).read_bytes()), [json.loads(line) for line in file])


def _read(
    file: Path, config: EvalConfig, ner: Artifact | None, scored: ScoredCorpus | ScoredDocuments | None = None
) -> LabelledCorpus:
    """Read labelled data as the model's task does; without a model as ``scored``, which they belong to, has it."""
    if ner:
        # torch is imported only to run a model, not to read predictions
        from mslm_cli.tasks.trained import task_of

        return task_of(ner).read(file, config, splitter(ner.manifest.run.get("words", "")))
    if isinstance(scored, ScoredDocuments):
        return (read_relations if scored.kind == "relations" else read_classified)(file, config)
    return read_gold(file, config)


def predict(
    ner: Artifact, corpus: LabelledCorpus, config: EvalConfig
) -> tuple[ScoredCorpus | ScoredDocuments, set[str]]:
    """``corpus`` with the model's predictions, and the types that the model knows.

    Types that the model learnt only from companions of its training data, and that ``corpus`` does not have, are left
    out: what is not annotated cannot be right.
    """
    from mslm_cli.tasks.trained import load_trained

    model = load_trained(ner, config, config.threshold)
    task, found = model.task, model.label(corpus)
    if foreign := frozenset(ner.manifest.run.get("other_types", ())) - set(corpus.types):
        n_before = sum(len(sentence.mentions) for sentence in found)
        found = task.without(found, foreign)
        n_dropped = n_before - sum(len(sentence.mentions) for sentence in found)
        console.note(
            f"{console.count(n_dropped, 'predicted mention')} of {', '.join(sorted(foreign))} left out: the model"
            " learnt these types from other data, and the test set does not annotate them"
        )
    return task.scored(corpus, found), model.types


def _read_predictions(sources: Sources, gold: LabelledCorpus | None, config: EvalConfig) -> ScoredCorpus:
    assert sources.predictions is not None
    name = display_name(sources.predictions)
    corpus = read_predictions(
        sources.predictions, gold, gold_name=str(sources.data), encoding=config.encoding, errors=config.errors
    )
    if gold is None and corpus.n_orphans:
        console.warn(
            f"{name}: {corpus.n_orphans} gold mentions start with I- instead of B-; they are counted as mentions"
        )
    if corpus.n_predicted_orphans:
        scheme = corpus.predicted_scheme
        what = "I- tags continue no mention" if scheme == "IOB2" else f"tags make no mention in {scheme}"
        message = f"{name}: {corpus.n_predicted_orphans} predicted {what} and are ignored"
        if corpus.predicted_types:
            console.note(message)
        else:
            console.warn(f"{message}, which leaves no mentions; {_RULES[scheme]}")
    if unknown := sorted(corpus.predicted_types - corpus.gold_types):
        console.warn(f"{name}: predicted types without gold mentions, always wrong: {', '.join(unknown)}")
    return corpus


def score(
    corpus: ScoredCorpus | ScoredDocuments,
    config: EvalConfig,
    *,
    train: LabelledCorpus | None = None,
    terms: Sequence[Term] | None = None,
) -> dict[str, Any]:
    """All scores of ``corpus`` for results.json."""
    if isinstance(corpus, ScoredDocuments):
        return score_documents(
            corpus, train, n_replicates=config.replicates, seed=config.seed, n_examples=config.examples
        )
    sentences = corpus.sentences
    gold, predicted = paired_spans([s.gold for s in sentences], [s.predicted for s in sentences])
    clusters, unit = clusters_of([s.doc for s in sentences])
    with_scores = len(predicted) > 0 and all(s.scores is not None for s in sentences if s.predicted)
    scores = np.array([p for s in sentences for p in s.scores or ()]) if with_scores else None
    return {
        "n_sentences": len(sentences),
        "n_words": sum(s.n_words for s in sentences),
        "n_documents": int(clusters.max()) + 1 if unit == "documents" else None,
        "tag_scheme": corpus.scheme,
        "predicted_tag_scheme": corpus.predicted_scheme,
        "n_orphan_tags": corpus.n_orphans,
        "n_predicted_orphan_tags": corpus.n_predicted_orphans,
        "n_off_boundary_mentions": corpus.n_off_boundary,
        "resampled": {
            "unit": unit,
            "n": int(clusters.max()) + 1,
            "replicates": config.replicates,
            "seed": config.seed,
            "level": LEVEL,
        },
        **summarise(
            gold,
            predicted,
            clusters,
            slicings=_slicings(corpus, gold, predicted, train, terms),
            scores=scores,
            n_replicates=config.replicates,
            seed=config.seed,
        ),
        **other_scorers(corpus),
        "errors": {
            error: {
                "n": len(golds),
                "examples": [
                    {
                        "sentence": sentences[(gold.sentence[g] if g >= 0 else predicted.sentence[p])].id,
                        "gold": _mention(gold, g),
                        "predicted": _mention(predicted, p),
                    }
                    for g, p in zip(golds[: config.examples].tolist(), found[: config.examples].tolist(), strict=True)
                ],
            }
            for error, (golds, found) in errors(gold, predicted, pair(gold, predicted)).items()
        },
    }


def _slicings(
    corpus: ScoredCorpus, gold: Spans, predicted: Spans, train: LabelledCorpus | None, terms: Sequence[Term] | None
) -> dict[str, Slicing | None]:
    words = [s.words for s in corpus.sentences if s.words is not None]
    if len(words) == len(corpus.sentences):
        return by_knowledge(gold, predicted, words, train, terms)
    if train is not None or terms is not None:
        console.warn("the predictions have no text, so mentions cannot be looked up in --train or --lexicon")
    return dict.fromkeys(KNOWLEDGE)


def other_scorers(corpus: ScoredCorpus) -> dict[str, Any]:
    """``seqeval`` and ``conlleval`` in results.json, from the tags."""
    gold, predicted = zip(*(s.both_tags() for s in corpus.sentences), strict=True)
    modes = {
        mode: match_spans(*spans_from_tags(gold, predicted, mode, corpus.tag_schemes)).to_json()
        for mode in ("strict", "default")
    }
    n_words = sum(map(len, gold))
    n_right = sum(map(operator.eq, chain.from_iterable(gold), chain.from_iterable(predicted)))
    without_means = {k: v for k, v in modes["default"].items() if k not in ("macro", "weighted")}
    return {"seqeval": modes, "conlleval": {"n_words": n_words, "accuracy": n_right / n_words, **without_means}}


def _mention(spans: Spans, i: int) -> list[Any] | None:
    return None if i < 0 else [int(spans.start[i]), int(spans.end[i]), spans.types[spans.type_ids[i]]]


def with_errors(corpus: ScoredCorpus) -> Iterator[dict[str, Any]]:
    """The lines of predictions.jsonl."""
    gold, predicted = paired_spans([s.gold for s in corpus.sentences], [s.predicted for s in corpus.sentences])
    firsts = [np.searchsorted(side.sentence, np.arange(len(corpus.sentences))) for side in (gold, predicted)]
    found: dict[int, list[dict[str, Any]]] = {}
    for error, (golds, others) in errors(gold, predicted, pair(gold, predicted)).items():
        for g, p in zip(golds.tolist(), others.tolist(), strict=True):
            row = int(gold.sentence[g] if g >= 0 else predicted.sentence[p])
            numbers = {"gold": g - int(firsts[0][row])} if g >= 0 else {}
            numbers |= {"pred": p - int(firsts[1][row])} if p >= 0 else {}
            found.setdefault(row, []).append({"kind": error, **numbers})
    for row, sentence in enumerate(corpus.sentences):
        yield sentence.to_json() | ({"errors": found[row]} if row in found else {})


def _sketches(ner: Artifact | None, train: LabelledCorpus | None) -> dict[str, Sketch]:
    """Sketches of the sentences seen upstream: by each upstream artifact, and in the training data given."""
    paths = ner.sketches() if ner else []
    sketches = {path.stem: Sketch.load(path) for path in paths}
    if train is not None:
        sketches["train"] = Sketch.of(" ".join(sentence.words) for sentence in train.sentences)
    return sketches


def count_seen(corpus: ScoredCorpus | ScoredDocuments, sketches: Mapping[str, Sketch]) -> dict[str, Any]:
    """The numbers of sentences checked, found in each sketch, and found in at least one."""
    if isinstance(corpus, ScoredDocuments):
        hashes = np.array([int(digest, 16) for d in corpus.documents for digest in d.hashes], np.uint64)
        is_checked = np.ones(len(hashes), np.bool_)
    else:
        hashes = np.array([int(s.digest, 16) for s in corpus.sentences], np.uint64)
        is_checked = np.array([s.words is None or is_long_enough(" ".join(s.words)) for s in corpus.sentences])
    held = {name: is_checked & sketch.contains(hashes) for name, sketch in sketches.items()}
    any_holds: NDArray[np.bool_] = np.logical_or.reduce([*held.values(), np.zeros(len(hashes), np.bool_)])
    return {
        "n_sentences_checked": int(is_checked.sum()),
        "seen_upstream": {name: int(which.sum()) for name, which in held.items()},
        "n_seen_upstream": int(any_holds.sum()),
    }


def _print_warnings(results: dict[str, Any]) -> None:
    """Print warnings and notes about the scores."""
    match, n = results["exact_match"], results["n_sentences"]
    nouns = f"{noun(results)}s"
    if not match["gold"]:
        console.warn(f"the test set has no {nouns}; precision, recall and F1 are 0 by convention")
    elif not match["predicted"]:
        console.warn(f"no {nouns} were predicted; precision is 0 by convention")
    if results.get("n_off_boundary_mentions"):
        off = results["n_off_boundary_mentions"]
        console.note(
            f"{off:,} of {match['gold']:,} gold mentions are not aligned with word boundaries and count as missed"
        )
    if results["types_unknown_to_model"]:
        console.warn(f"types that are never predicted: {', '.join(results['types_unknown_to_model'])}")
    for name, count in results["seen_upstream"].items():
        message = f"{count:,} of {n:,} sentences were seen by `{name}`"
        if count > n * WARN_ABOVE_SHARE:
            console.warn(f"{message}: the scores are likely inflated")
        elif count:
            console.note(message)
    if not results["n_seen_upstream"]:
        names = ", ".join(results["seen_upstream"])
        if names:
            console.note(f"none of {results['n_sentences_checked']:,} sentences was seen upstream ({names})")
        else:
            console.note("the system's training data are unknown; give --train FILE to check them for test sentences")
