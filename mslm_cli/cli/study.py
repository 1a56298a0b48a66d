"""``mslm study``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, Output, subcommand
from mslm_cli.config import StudyConfig

EXAMPLES = """\
mslm study --text abstracts/ --train train.tsv --dev devel.tsv --test test.tsv -o study
mslm study --train train.tsv --test test.tsv --source other/train.tsv -o study --minutes 30
mslm study --train train.tsv --test test.tsv --model ./my-encoder -o study --dry-run
mslm study --text abstracts/ --train train.tsv --test test.tsv -o study --jobs 2"""


@subcommand("study", StudyConfig, examples=EXAMPLES)
def study(
    train: Annotated[Path, typer.Option(help="Labelled training data.", show_default=False)],
    output: Output,
    config: StudyConfig,
    test: Annotated[Path | None, typer.Option(help="Labelled data to score on; or give --folds.")] = None,
    text: Annotated[
        list[Path] | None, typer.Option(help="Domain text, in addition to the training sentences. May be repeated.")
    ] = None,
    dev: Annotated[
        Path | None, typer.Option(help="Labelled data used to choose; default: held out from the end of --train.")
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled data of another corpus, to learn first (arm transfer). May be repeated."),
    ] = None,
    general: Annotated[Path | None, typer.Option(help="General text, to measure what adaptation forgets.")] = None,
    as_json: Json = False,
) -> None:
    """Find out what helps on your data, or whether to label more.

    Compares vanilla fine-tuning, longer fine-tuning, word, span and mslm masking, and transfer from other corpora, and
    gives the verdict in one sentence. With --minutes or --overnight also with shares of your labels, to say what more
    labels would be worth. Writes OUTPUT/study.toml, which you can edit for `mslm sweep`, and runs it.
    """
    from mslm_cli.studies import study as story

    found = story.run(story.StudyData(train, test, dev, text or [], general, source or []), output, config)
    if as_json:
        console.result(json.dumps(found, ensure_ascii=False))
    elif not config.dry_run:
        console.made(output)
