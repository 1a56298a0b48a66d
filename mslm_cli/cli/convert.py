"""``mslm convert``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mslm_cli.cli._command import Overwrite, subcommand
from mslm_cli.config import ConvertConfig
from mslm_cli.corpus.formats import FORMATS

EXAMPLES = """\
mslm convert corpus.pubtator.txt --to brat -o corpus-brat
mslm convert annotations/ --to conll -o train.tsv
mslm convert train.tsv --to docbin -o train.spacy
mslm convert export.json --to jsonl | jq -r .text"""


@subcommand("convert", ConvertConfig, examples=EXAMPLES)
def convert(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Labelled files, folders, hf:NAME:SPLIT for a data set of the hub, or - for stdin.",
            metavar="DATA",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Form of the result: columns of words and tags, a folder of BRAT files, JSON lines, ...",
            metavar=f"<conll|{'|'.join(each.name for each in FORMATS.built_in() if each.writer)}>",
            show_default=False,
        ),
    ],
    config: ConvertConfig,
    scheme: Annotated[Literal["IOB2", "IOBES"], typer.Option(help="--to conll: scheme of the tags.")] = "IOB2",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File or folder to write. - is standard output.")
    ] = Path("-"),
    overwrite: Overwrite = False,
) -> None:
    """Write labelled data in another format.

    Text, ids and offsets stay those of the input. Columns (conll) hold our sentences and words, and mentions
    widened to whole words, as training reads them. BioC is XML where the output's name ends in .xml, else JSON.
    """
    from mslm_cli.stages import convert as stage

    file = None if output == Path("-") else output
    stage.run(data, config, to=to, scheme=scheme, output=file, overwrite=overwrite)
