"""``mslm models``."""

from typing import Annotated, Literal

import typer

from mslm_cli import console
from mslm_cli import models as library
from mslm_cli.cli._command import subcommand


@subcommand("models", examples="mslm models pull minilm")
def models(
    action: Annotated[Literal["pull"], typer.Argument(metavar="ACTION", help="What to do: download a model.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="`minilm`, or a hub id.")],
) -> None:
    """Download an encoder for later use offline."""
    console.made(library.resolve(name))
