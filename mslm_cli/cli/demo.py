"""``mslm demo``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Overwrite, subcommand
from mslm_cli.config import DemoConfig

EXAMPLES = """\
mslm demo
mslm demo -o somewhere --offline"""


@subcommand("demo", DemoConfig, examples=EXAMPLES)
def demo(
    config: DemoConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("mslm-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Run the whole pipeline on a sample corpus.

    Runs it with token masking and with DS-term masking. It shows the workflow; a sample of this size proves nothing
    about quality.
    """
    from mslm_cli.studies import demo as study

    console.made(study.run(output, config, overwrite=overwrite))
