"""The program ``mslm``, with its subcommands in workflow order."""

from importlib import import_module
from typing import Annotated

import typer

import mslm_cli
from mslm_cli import console
from mslm_cli.cli._command import app

__all__ = ["app"]

_MODULES = (
    "extract_terms",
    "match",
    "preprocess",
    "adapt",
    "finetune",
    "predict",
    "label",
    "evaluate",
    "compare",
    "inspect_data",
    "convert",
    "show_masks",
    "probe",
    "study",
    "sweep",
    "demo",
    "models",
)
"""One module per command, in the order of the help; importing it registers the command."""

for _module in _MODULES:
    import_module(f"mslm_cli.cli.{_module}")


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
