"""``mslm adapt``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Output, Overwrite, Resume, ResumeAnyway, artifact_path, subcommand
from mslm_cli.config import AdaptConfig

EXAMPLES = """\
mslm adapt shards -o adapted
mslm adapt shards -o adapted --weights uniform --epochs 3
mslm adapt shards --model ./biobert --allow-pickle -o adapted"""


@subcommand("adapt", AdaptConfig, examples=EXAMPLES)
def adapt(
    shards: Annotated[
        Path,
        typer.Argument(metavar="SHARDS", help="Shards from `mslm preprocess`, or - to read their path from a pipe."),
    ],
    output: Output,
    config: AdaptConfig,
    resume: Resume = "auto",
    resume_anyway: ResumeAnyway = False,
    overwrite: Overwrite = False,
) -> None:
    """Adapt an encoder by masked language modelling.

    Errors on DS-terms get a higher loss weight than errors on generic words. Writes a Hugging Face checkpoint with its
    MLM head, and metrics.jsonl.
    """
    from mslm_cli.stages import adapt as stage
    from mslm_cli.training import ranks
    from mslm_cli.workspace import RunOptions

    source = artifact_path(shards)
    with ranks.process_group(config.device):
        made = stage.run(source, output, config, RunOptions(overwrite, resume, resume_anyway))
    console.made(made)
