"""``mslm eval``."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, Overwrite, artifact_path, refuse_shared_stdin, subcommand
from mslm_cli.config import EvalConfig
from mslm_cli.errors import UsageError

EXAMPLES = """\
mslm eval ner --data test.tsv -o scores
mslm eval ner --data test.tsv --train train.tsv --lexicon lexicon -o scores
mslm eval relations --data test.pubtator --ner ner -o scores
mslm eval --predictions their_output.tsv --conlleval
mslm eval --predictions tagged.tsv --data test.tsv --json | jq .exact_match.f1"""


@subcommand("eval", EvalConfig, examples=EXAMPLES)
def evaluate(
    config: EvalConfig,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Model from `mslm finetune`, or - to read its path from a pipe."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled data to score on.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Any system's output: gold and predicted tags in the last two columns, or JSON lines."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="Training data, for slices by whether mentions occur in it; overlapping sentences are counted."
        ),
    ] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon, for slices by whether mentions are in it.")] = None,
    ner: Annotated[
        Path | None, typer.Option("--ner", help="Relations: also score them between the mentions of this NER model.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    conlleval: Annotated[bool, typer.Option("--conlleval", help="Print only the conlleval table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score a trained model, or any system's predictions.

    Strict exact match of mentions with 95 % intervals, seqeval's modes, partial match, errors, slices, confidence. With
    -o, writes results.json and predictions.jsonl and prints the tables on stderr; otherwise on stdout.
    """
    inputs = {"the model": model, "--data": data, "--predictions": predictions, "--train": train, "--lexicon": lexicon}
    refuse_shared_stdin(inputs)
    from mslm_cli.stages import evaluate as stage

    sources = stage.Sources(
        None if model is None else artifact_path(model),
        data,
        predictions,
        train,
        None if lexicon is None else artifact_path(lexicon),
        None if ner is None else artifact_path(ner),
    )
    scored = stage.run(sources, output, config, overwrite=overwrite)
    from mslm_cli.evaluation import tables

    is_result = output is None and not as_json
    say = console.result if is_result else console.note
    if conlleval and "conlleval" not in scored.results:
        raise UsageError(f"--conlleval scores tags of words; these are {tables.noun(scored.results)}s")
    if conlleval:
        say(tables.conlleval(scored.results))
    elif latex:
        say("\n\n".join(map(tables.latex, [tables.headline(scored.results), *tables.details(scored.results)])))
    elif not as_json:
        show(scored.results, scored.lines, as_result=is_result)
    if as_json:
        console.result(json.dumps(scored.results, indent=2))
    elif output is not None:
        console.made(output)


def show(results: dict[str, Any], lines: Iterable[dict[str, Any]], *, as_result: bool) -> None:
    """Print the tables."""
    from mslm_cli.evaluation import tables

    say = console.result if as_result else console.note
    console.table(*tables.headline(results), as_result=as_result)
    for remark in tables.remarks(results):
        say(remark)
    for table in tables.details(results):
        say("")
        console.table(*table, as_result=as_result)
    for line in tables.examples(results, lines):
        say(line)
