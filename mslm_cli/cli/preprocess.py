"""``mslm preprocess``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import (
    Output,
    Overwrite,
    ResumeAnyway,
    ResumeBlocks,
    Texts,
    Without,
    artifact_path,
    refuse_shared_stdin,
    subcommand,
)
from mslm_cli.config import PreprocessConfig

EXAMPLES = """\
mslm preprocess abstracts.txt.gz --lexicon lexicon -o shards
mslm preprocess notes/ --lexicon lexicon --elm-rate 0.75 --blm-rate 0.1 --copies 5 -o shards
mslm preprocess corpus/ --workers auto --deduplicate near --without test.tsv -o shards
mslm preprocess abstracts.txt --strategy token --rate 0.15 -o baseline"""


@subcommand("preprocess", PreprocessConfig, examples=EXAMPLES)
def preprocess(
    texts: Texts,
    output: Output,
    config: PreprocessConfig,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon from `mslm extract-terms`, or - to read its path from a pipe.")
    ] = None,
    without: Without = None,
    resume: ResumeBlocks = "auto",
    resume_anyway: ResumeAnyway = False,
    overwrite: Overwrite = False,
) -> None:
    """Turn text into masked shards for `mslm adapt`.

    Finds the lexicon's terms, tokenises with the model's own tokenizer, packs whole sentences and draws
    the masks of every epoch. Writes memory-mapped Arrow files.
    """
    refuse_shared_stdin({"the text": "-" if Path("-") in texts else None, "--lexicon": lexicon})
    from mslm_cli.stages import preprocess as stage
    from mslm_cli.workspace import RunOptions

    lexicon = None if lexicon is None else artifact_path(lexicon)
    options = RunOptions(overwrite, resume, resume_anyway)
    console.made(stage.run(texts, output, config, lexicon=lexicon, without=without or (), options=options))
