"""``mslm inspect``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, refuse_shared_stdin, subcommand
from mslm_cli.config import InspectConfig
from mslm_cli.errors import UsageError

EXAMPLES = """\
mslm inspect annotations/
mslm inspect --train train.tsv --dev devel.tsv --test test.tsv --model minilm
mslm inspect corpus.pubtator.txt -v
mslm inspect --train train.jsonl --test test.jsonl --json | jq .shared_sentences"""


@subcommand("inspect", InspectConfig, examples=EXAMPLES)
def inspect(
    config: InspectConfig,
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled files or folders, each a separate set, or - for stdin.", metavar="DATA"),
    ] = None,
    train: Annotated[Path | None, typer.Option(help="Training data.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Data for choosing the best epoch.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test data.")] = None,
    as_json: Json = False,
) -> None:
    """Describe labelled data and their irregularities.

    Formats, counts, mentions by type and length; what would be widened, cut or left out; repeated sentences, within and
    between sets; types that only some sets have; the same text with different labels.
    """
    given = {"train": train, "dev": dev, "test": test}
    paths = {name: path for name, path in given.items() if path is not None}
    for path in data or []:
        name = "stdin" if str(path) == "-" else path.name or str(path)
        while name in paths:
            name += "'"
        paths[name] = path
    refuse_shared_stdin(paths)
    if not paths:
        raise UsageError("no data were given", hint="give DATA, --train, --dev or --test")
    from mslm_cli.stages import inspect_data as stage

    found = stage.run(paths, config)
    if as_json:
        console.result(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        stage.report(found)
