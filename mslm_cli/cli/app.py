"""The program ``mslm``: its subcommands, in the order of the work."""

from typing import Annotated

import typer

import mslm_cli
from mslm_cli import console
from mslm_cli.cli import (
    adapt,
    compare,
    convert,
    demo,
    evaluate,
    extract_terms,
    finetune,
    inspect_data,
    match,
    models,
    predict,
    preprocess,
    probe,
    show_masks,
    study,
    sweep,
)
from mslm_cli.cli._command import app

__all__ = [
    "adapt",
    "app",
    "compare",
    "convert",
    "demo",
    "evaluate",
    "extract_terms",
    "finetune",
    "inspect_data",
    "match",
    "models",
    "predict",
    "preprocess",
    "probe",
    "show_masks",
    "study",
    "sweep",
]

_ORDER = (
    "extract-terms",
    "match",
    "preprocess",
    "adapt",
    "finetune",
    "predict",
    "eval",
    "compare",
    "show-masks",
    "probe",
    "inspect",
    "convert",
    "study",
    "sweep",
    "demo",
    "models",
)
app.registered_commands.sort(key=lambda command: _ORDER.index(command.name or ""))


def _show_version(wanted: bool) -> None:
    if wanted:
        console.result(f"mslm {mslm_cli.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Make pre-trained language models sensitive to the terms of a domain.

    Each command writes one folder and prints its path; the next command reads it.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)
