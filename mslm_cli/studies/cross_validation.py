"""``mslm finetune --folds``: scores without a test set, beside a model of all training sentences."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mslm_cli import artifacts, console
from mslm_cli.artifacts import ArtifactBuild, Input
from mslm_cli.config import EvalConfig, FinetuneConfig
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import UsageError
from mslm_cli.evaluation.summary import PREDICTIONS
from mslm_cli.stages import evaluate, finetune
from mslm_cli.stages.finetune import Target
from mslm_cli.studies.resampled_data import TEST, TRAIN, FoldConfig, fold
from mslm_cli.training import ranks
from mslm_cli.workspace import RunOptions


def run(n_folds: int, target: Target, output: Path, config: FinetuneConfig, rerun: RunOptions) -> Path:
    """Fine-tune on all folds but one, score on that one, for each; then fine-tune on all sentences.

    The model of all sentences is ``output``; OUTPUT.folds is an eval artifact with the predictions on all folds, each
    by the model that has not seen it. Whole documents are in one fold where the data mark documents. Finished folds are
    kept in OUTPUT.folds.work until the end.

    Raises:
        UsageError: silver labels are given: their teacher may have learnt from any fold; or an output exists and is
            another. Also, as ``finetune.run``.
        DataError: there are fewer documents (or runs of 10 sentences) than folds.
    """
    if target.companions.silver is not None:
        raise UsageError("--folds and --silver: the model that gave the labels may have learnt from every fold")
    scores = output.with_name(f"{output.name}.folds")
    model = finetune.recipe(target, output, config)
    about = {"folds": n_folds, "model": model.fingerprint}
    unfinished = output.with_name(f"{scores.name}.work")
    work = unfinished / f"{n_folds}-{model.fingerprint[:16]}"  # a run with other folds, data or options uses none of it
    if not ranks.from_first(partial(_is_done, model, scores, about, config, overwrite=rerun.overwrite)):
        for number in range(n_folds):
            ranks.from_first(partial(_make_fold, target.train, work / f"fold{number}", n_folds, number, config))
            console.note(f"fold {number + 1} of {n_folds}")
            train, ner = work / f"fold{number}" / TRAIN, work / f"ner{number}"
            finetune.run(train, target.dev, ner, config, companions=target.companions)
            ranks.from_first(partial(_score, ner, work / f"fold{number}" / TEST, work / f"scores{number}", config))
        ranks.from_first(partial(_pool, work, about, scores, config, overwrite=rerun.overwrite))
        finetune.run(target.train, target.dev, output, config, rerun, target.companions)
    ranks.from_first(partial(shutil.rmtree, unfinished, ignore_errors=True))
    return output


def _is_done(
    model: ArtifactBuild, scores: Path, about: Mapping[str, Any], config: FinetuneConfig, *, overwrite: bool
) -> bool:
    """Whether both outputs are already there, with notes.

    Args:
        about: what identifies the scores: the number of folds, and the model, with its data and options.

    Raises: as ``ArtifactBuild.is_done``.
    """
    has_model = model.is_done(overwrite=overwrite)
    inputs: Sequence[Input] = []
    if artifacts.kind_at(scores) == "eval" and not overwrite:
        found = artifacts.load(scores, "eval").manifest
        if any(found.run.get(name) != value for name, value in about.items()):
            hint = "choose another -o, or use --overwrite"
            raise UsageError(f"{scores} exists: made with other folds, data or options", hint=hint)
        inputs = found.inputs
    return ArtifactBuild("eval", scores, _scoring(config), inputs).is_done(overwrite=overwrite) and has_model


def _make_fold(train: Path, folder: Path, n_folds: int, number: int, config: FinetuneConfig) -> None:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fold(train, folder, FoldConfig(folds=n_folds, number=number, **dict(DataOptions.of(config))))


def _score(ner: Path, test: Path, output: Path, config: FinetuneConfig) -> None:
    evaluate.run(evaluate.Sources(ner=ner, data=test), output, _scoring(config), with_report=False)


def _pool(work: Path, about: Mapping[str, Any], output: Path, config: FinetuneConfig, *, overwrite: bool) -> None:
    """Publish the predictions on all folds, with their scores, and show the headline."""
    pooled, n_folds = work / PREDICTIONS, about["folds"]
    with pooled.open("w", encoding="utf-8") as file:
        for number in range(n_folds):
            scored = evaluate.read_scored(artifacts.load(work / f"scores{number}", "eval"))
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in _renumbered(scored.lines, number))
    sources = evaluate.Sources(predictions=pooled)
    found = evaluate.run(sources, output, _scoring(config), overwrite=overwrite, about=about).results
    match, unit = found["exact_match"], found["resampled"]["unit"]
    low, high = match["intervals"]["f1"]
    console.note(
        f"{n_folds}-fold cross-validation: strict F1 {100 * match['f1']:.2f} (95 % {100 * low:.1f} to {100 * high:.1f},"
        f" over {unit}); the scores are in {output}"
    )


def _scoring(config: FinetuneConfig) -> EvalConfig:
    return EvalConfig.build(device=config.device, threads=config.threads)


def _renumbered(lines: Iterable[dict[str, Any]], fold_number: int) -> Iterator[dict[str, Any]]:
    """Lines of predictions.jsonl with ids that are unique over all folds."""
    for line in lines:
        yield {name: value for name, value in line.items() if name != "errors"} | {"id": f"{fold_number}:{line['id']}"}
