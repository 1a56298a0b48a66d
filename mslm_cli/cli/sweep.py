"""``mslm sweep``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, Output, subcommand
from mslm_cli.config import SweepConfig

EXAMPLES = """\
mslm sweep STUDY.toml -o study
mslm sweep STUDY.toml -o study --jobs 2
mslm sweep STUDY.toml -o study --dry-run"""


@subcommand("sweep", SweepConfig, examples=EXAMPLES)
def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="File that describes the study.")],
    output: Output,
    config: SweepConfig,
    as_json: Json = False,
) -> None:
    """Compare masking arms on your data, as described in a file.

    Runs data sets x arms x seeds; shared work is done once. Run it again to resume after a kill, or with an extended
    file to add only what is new; several processes and machines can share a folder. Writes verdict.json, a page
    (index.html) and the best model (best/).
    """
    from mslm_cli.studies import sweep as story

    root = story.data_root(study, config.data_root)
    found = (story.plan if config.dry_run else story.run)(study, output, config, root)
    if as_json:
        console.result(json.dumps(found, ensure_ascii=False))
    elif not config.dry_run:
        console.made(output)
