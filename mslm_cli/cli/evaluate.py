"""``mslm eval``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, Output, Overwrite, artifact_path, refuse_shared_stdin, subcommand
from mslm_cli.config import EvalConfig

EXAMPLES = """\
mslm eval ner --data test.tsv -o scores
mslm eval ner --data test.tsv -o scores --json | jq .exact_match.f1"""


@subcommand("eval", EvalConfig, examples=EXAMPLES)
def evaluate(
    ner: Annotated[
        Path, typer.Argument(metavar="NER", help="NER model from `mslm finetune`, or - to read its path from a pipe.")
    ],
    data: Annotated[Path, typer.Option(help="Labelled sentences to score on (CoNLL).", show_default=False)],
    output: Output,
    config: EvalConfig,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Score a NER model by strict exact match.

    Precision, recall and F1 of entities. Writes results.json and predictions.jsonl.
    A mention counts when both its boundaries and its type agree.
    """
    refuse_shared_stdin({"the model": ner, "--data": data})
    from mslm_cli.stages import evaluate as stage

    scores = stage.run(artifact_path(ner), data, output, config, overwrite=overwrite)
    console.result((scores / stage.RESULTS).read_text(encoding="utf-8").rstrip() if json else str(scores))
