"""``mslm finetune``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import (
    Output,
    Overwrite,
    Resume,
    ResumeAnyway,
    artifact_path,
    refuse_shared_stdin,
    subcommand,
)
from mslm_cli.config import FinetuneConfig
from mslm_cli.errors import UsageError

EXAMPLES = """\
mslm finetune --train train.tsv --dev devel.tsv --model adapted -o ner
mslm finetune --train train.tsv --dev devel.tsv -o vanilla --epochs 10 --seed 1
mslm finetune --train train.tsv --dev devel.tsv --model other-ner -o transfer
mslm finetune --train train.tsv --dev devel.tsv --rank-sources a.tsv b.tsv -o best
mslm finetune --train train.tsv --dev devel.tsv --also chemicals.tsv -o both
mslm finetune --task relations --train train.txt --dev dev.txt -o relations
mslm finetune --task documents --train train.csv --dev dev.csv -o classifier"""


@subcommand("finetune", FinetuneConfig, examples=EXAMPLES)
def finetune(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="With --rank-sources: other labelled data, to learn first.", show_default=False),
    ] = None,
    *,
    train: Annotated[Path, typer.Option(help="Labelled training data.", show_default=False)],
    dev: Annotated[Path, typer.Option(help="Labelled data used to choose the best epoch.", show_default=False)],
    output: Output,
    config: FinetuneConfig,
    rank_sources: Annotated[
        bool,
        typer.Option("--rank-sources", help="Try each of SOURCES, and none, on --dev; first learn the best."),
    ] = False,
    folds: Annotated[
        int,
        typer.Option(help="Also cross-validate over this many folds of --train; the scores go to OUTPUT.folds."),
    ] = 0,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Other labelled data to learn at the same time, with types of its own; may be repeated."),
    ] = None,
    silver: Annotated[Path | None, typer.Option(help="Sentences that models have labelled, from `mslm label`.")] = None,
    resume: Resume = "auto",
    resume_anyway: ResumeAnyway = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune an encoder for entity recognition, relations, labels of documents, or another task.

    Scoring never sees masked text; training does only with --mask-mentions or --mask-words. The epoch with the best
    score on --dev is kept; for entity recognition, the score is strict F1.

    With --also, every step has as many tokens of other corpora as of --train; types that a corpus does not annotate
    are not unlearnt from it. Sentences of --silver take part in the first two thirds of the epochs.

    `--model -` reads the encoder's path from a pipe.
    """
    refuse_shared_stdin({"--train": train, "--dev": dev, "--model": config.model})
    if bool(sources) != rank_sources:
        raise UsageError("--rank-sources and SOURCES need each other", hint="see `mslm finetune --help`")
    if folds and (rank_sources or folds < 2):
        raise UsageError(f"--folds {folds}: expected at least 2, without --rank-sources")
    from mslm_cli.stages import finetune as stage
    from mslm_cli.studies import cross_validation, ranking
    from mslm_cli.tasks.registry import find_task
    from mslm_cli.training import ranks
    from mslm_cli.workspace import RunOptions

    if config.model == "-":
        config = config.model_copy(update={"model": str(artifact_path(Path("-")))})
    with ranks.process_group(config.device):
        companions = stage.Companions(tuple(also or ()), silver)
        rerun = RunOptions(overwrite, resume, resume_anyway)
        target = stage.Target(train, dev, companions)
        if (rank_sources or folds) and find_task(config.task).kind != "spans":
            option = "--rank-sources" if rank_sources else "--folds"
            raise UsageError(f"{option} divides sentences, and does not apply to --task {config.task}")
        stage.check_map(companions, config, sources or ())
        if rank_sources:
            made = ranking.run(sources or [], target, output, config, rerun)
        elif folds:
            made = cross_validation.run(folds, target, output, config, rerun)
        else:
            made = stage.run(train, dev, output, config, rerun, companions)
    console.made(made)
