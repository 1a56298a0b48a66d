"""``mslm show-masks``."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import artifact_path, subcommand

EXAMPLES = """\
mslm show-masks shards
mslm show-masks shards --n 100 --epoch 3 --json > masks.jsonl"""


@subcommand("show-masks", examples=EXAMPLES)
def show_masks(
    shards: Annotated[
        Path,
        typer.Argument(metavar="SHARDS", help="Shards from `mslm preprocess`, or - to read their path from a pipe."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of sequences to show.")] = 5,
    epoch: Annotated[int, typer.Option(min=0, help="Which copy of the masks to show, counted from 0.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per sequence: ids, input_ids, word_ids, kind, spans.")
    ] = False,
) -> None:
    """Show what is masked in shards.

    DS-terms stand between underscores. Words in braces are predicted: {the text -> what the model gets instead}.
    """
    from mslm_cli.stages import show_masks as stage

    shards = artifact_path(shards)
    sequences = stage.run(shards, n, epoch)
    if as_json:
        for sequence in sequences:
            console.result(json.dumps(dataclasses.asdict(sequence)))
        return
    tokenizer = stage.load_tokenizer(shards)
    for sequence in sequences:
        console.styled_result([(part.text, stage.STYLES[part.look]) for part in stage.styled(sequence, tokenizer)])
