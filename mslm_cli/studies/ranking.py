"""``mslm finetune --rank-sources``: which other corpus, if any, an encoder should learn first.

Each candidate is tried cheaply: the encoder learns a part of it, then the training data for a fraction of the usual
epochs, and is scored on dev. "none" is a candidate too. Whether a source helps depends on its guidelines more than on
its types, so it is measured rather than guessed.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mslm_cli import artifacts, console, fsio, models
from mslm_cli.artifacts import ArtifactBuild
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import gold_inputs, read_labelled
from mslm_cli.errors import UsageError
from mslm_cli.stages import finetune
from mslm_cli.stages.finetune import Target
from mslm_cli.studies.cost import count_train_tokens
from mslm_cli.studies.resampled_data import DEV, SAMPLE, TRAIN, SampleConfig, SplitConfig, sample, split
from mslm_cli.training import ranks
from mslm_cli.training.schedule import choose_schedule
from mslm_cli.workspace import RunOptions

_SOURCE_EPOCHS = 2
_DEV_SHARE = 0.05
_TRIAL_SENTENCES = 2_000
_TRIAL_EPOCHS = 1 / 3
"""Of the epochs that the training data would get."""


@dataclass(frozen=True)
class Ranked:
    """A candidate, or None for no other corpus, and its score on dev in a short trial, a fraction."""

    source: Path | None
    score: float

    @property
    def name(self) -> str:
        """What to call it."""
        return "none" if self.source is None else str(self.source)


def run(sources: Sequence[Path], target: Target, output: Path, config: FinetuneConfig, rerun: RunOptions) -> Path:
    """Rank ``sources``, learn the best one first unless it is "none", then the target, and publish the ner artifact.

    Finished trials are kept in OUTPUT.sources until the end, so that a run that was killed goes on from them.

    Raises:
        UsageError: a source is named twice, or the output exists and is another. Also, as ``finetune.run``.
    """
    if len(set(sources)) < len(sources):
        raise UsageError("--rank-sources: a source is named twice")
    build = _recipe(sources, target, output, config)
    unfinished = output.with_name(f"{output.name}.sources")
    if not ranks.from_first(partial(_is_done, build, overwrite=rerun.overwrite)):
        work = unfinished / build.fingerprint[:16]  # a run with other sources, data or options uses none of it
        ranking = rank(sources, target, work, config)
        best = ranking[0]
        start = config
        if best.source is not None:
            learnt = _learn(best.source, work / "best", config, sentences=None)
            start = config.model_copy(update={"model": str(learnt)})
        scores = {ranked.name: round(ranked.score, 4) for ranked in ranking}
        about = {"sources": scores, "ranking": build.fingerprint}
        finetune.run(target.train, target.dev, output, start, rerun, target.companions, about=about)
    ranks.from_first(partial(shutil.rmtree, unfinished, ignore_errors=True))
    return output


def _recipe(sources: Sequence[Path], target: Target, output: Path, config: FinetuneConfig) -> ArtifactBuild:
    """What identifies the whole run; the artifact itself is made from one of the sources, or none."""
    build = finetune.recipe(target, output, config)
    return replace(build, inputs=[*build.inputs, *(one for path in sources for one in gold_inputs("source", path))])


def _is_done(build: ArtifactBuild, *, overwrite: bool) -> bool:
    """Whether the output was already made by this run, with a note; raises as ``ArtifactBuild.is_done``."""
    output = build.output
    fsio.recover(output)
    if overwrite or artifacts.kind_at(output) != "ner":
        return build.is_done(overwrite=overwrite)
    if artifacts.load(output, "ner").manifest.run.get("ranking") != build.fingerprint:
        raise UsageError(
            f"{output} exists: made from other data, with other options or by other code",
            hint="choose another -o, or use --overwrite",
        )
    console.note(f"{output} is up to date (use --overwrite to make it again)")
    return True


def rank(sources: Sequence[Path], target: Target, work: Path, config: FinetuneConfig) -> list[Ranked]:
    """All candidates, and "none", by score on dev, the best first; "none" is before others of its score."""
    epochs = _trial_epochs(target.train, config)
    found = [Ranked(None, _try(target, work / "none", config, epochs))]
    for number, source in enumerate(sources, 1):
        start = _learn(source, work / f"source{number}", config, sentences=_TRIAL_SENTENCES)
        trial = config.model_copy(update={"model": str(start)})
        found.append(Ranked(source, _try(target, work / f"trial{number}", trial, epochs)))
    ranking = sorted(found, key=lambda ranked: -ranked.score)
    rows = [[ranked.name, f"{100 * ranked.score:.2f}"] for ranked in ranking]
    console.table("first learnt, then the training data for a third of its epochs", ["source", "dev score"], rows)
    return ranking


def _trial_epochs(train: Path, config: FinetuneConfig) -> int:
    encoder = models.resolve(config.model, offline=config.offline, allow_pickle=config.allow_pickle)
    epochs = choose_schedule(config, count_train_tokens(train, encoder, config)).epochs
    return max(1, round(epochs * _TRIAL_EPOCHS))


def _learn(source: Path, folder: Path, config: FinetuneConfig, *, sentences: int | None) -> Path:
    """Fine-tune the encoder on ``source``, or on a sample of ``sentences`` of it; the artifact."""
    ranks.from_first(partial(_split, source, folder, config, sentences))
    options = {"epochs": _SOURCE_EPOCHS, "patience": 0, "tokens_per_step": "auto", **dict(DataOptions())}
    learning = config.model_copy(update=options)
    return finetune.run(folder / "split" / TRAIN, folder / "split" / DEV, folder / "ner", learning)


def _split(source: Path, folder: Path, config: FinetuneConfig, sentences: int | None) -> None:
    """Write training and dev data for ``_learn``."""
    if (folder / "split").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    reading = dict(DataOptions.of(config))
    n = len(read_labelled(source, config).sentences)
    if sentences is not None and n > sentences:
        sample(source, folder / "sample", SampleConfig(share=sentences / n, seed=config.seed, **reading))
        source, reading = folder / "sample" / SAMPLE, dict(DataOptions())
    split(source, folder / "split", SplitConfig(dev_share=_DEV_SHARE, **reading))


def _try(target: Target, folder: Path, config: FinetuneConfig, epochs: int) -> float:
    short = config.model_copy(update={"epochs": epochs, "patience": 0})
    made: Any = artifacts.load(finetune.run(target.train, target.dev, folder, short), "ner")
    return float(made.manifest.run["dev_score"])
