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

EXAMPLES = """\
mslm finetune --train train.tsv --dev devel.tsv --model adapted -o ner
mslm finetune --train train.tsv --dev devel.tsv -o vanilla --epochs 10 --seed 1"""


@subcommand("finetune", FinetuneConfig, examples=EXAMPLES)
def finetune(
    train: Annotated[Path, typer.Option(help="Labelled training data.", show_default=False)],
    dev: Annotated[Path, typer.Option(help="Labelled data used to choose the best epoch.", show_default=False)],
    output: Output,
    config: FinetuneConfig,
    resume: Resume = "auto",
    resume_anyway: ResumeAnyway = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune an encoder for entity recognition, or another task.

    Training and scoring use unmasked text. The epoch with the best score on --dev is kept; for entity recognition,
    the score is strict F1.
    `--model -` reads the encoder's path from a pipe.
    """
    refuse_shared_stdin({"--train": train, "--dev": dev, "--model": config.model})
    from mslm_cli.stages import finetune as stage
    from mslm_cli.training import ranks
    from mslm_cli.workspace import RunOptions

    if config.model == "-":
        config = config.model_copy(update={"model": str(artifact_path(Path("-")))})
    with ranks.process_group(config.device):
        made = stage.run(train, dev, output, config, RunOptions(overwrite, resume, resume_anyway))
    console.made(made)
