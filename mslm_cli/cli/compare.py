"""``mslm compare``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, artifact_path, refuse_shared_stdin, subcommand
from mslm_cli.config import CompareConfig

EXAMPLES = """\
mslm compare scores-vanilla scores-mslm
mslm compare 'vanilla=scores-v-*' 'mslm=scores-m-*' --train train.tsv
mslm compare theirs=out-1.tsv,out-2.tsv ours=scores-{1,2,3} --data test.tsv
mslm compare scores-a scores-b scores-c --json | jq '.comparisons[].holds_up'"""


@subcommand("compare", CompareConfig, examples=EXAMPLES)
def compare(
    arms: Annotated[
        list[str],
        typer.Argument(
            metavar="ARM...",
            help="[NAME=]PATH[,PATH...]: outputs of `mslm eval`, or files with predictions; several are runs of one arm"
            " that differ in their seeds.",
        ),
    ],
    config: CompareConfig,
    data: Annotated[Path | None, typer.Option(help="Gold mentions, for files of predictions that lack them.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="Training data, for slices by whether mentions occur in it.")
    ] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon, for slices by whether mentions are in it.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Number of sentences to print, those that differ most first.")] = 0,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
    as_json: Json = False,
) -> None:
    """Compare systems on one test set.

    Prints differences in strict F1 with 95 % intervals over sentences and seeds, a paired bootstrap and approximate
    randomisation, corrected for the number of pairs (Holm); wins and losses by slice; differing sentences.
    """
    refuse_shared_stdin({"--data": data, "--train": train, "--lexicon": lexicon})
    from mslm_cli.corpus.scored_documents import ScoredDocument
    from mslm_cli.evaluation import tables
    from mslm_cli.stages import compare as stage

    result, runs = stage.run(
        arms, config, data=data, train=train, lexicon=None if lexicon is None else artifact_path(lexicon)
    )
    if as_json:
        console.result(json.dumps(result, indent=2))
        return
    if latex:
        console.result("\n\n".join(map(tables.latex, tables.comparison(result))))
        return
    for table in tables.comparison(result):
        console.table(*table, as_result=True)
        console.result("")
    for remark in tables.comparison_remarks(result):
        console.result(remark)
    first = {name: of_arm[0].corpus.rows for name, of_arm in runs.items()}
    for sentence in result["sentences"][:show]:
        console.result("")
        mistakes = ", ".join(f"{name} {n:.2g}" for name, n in sentence["mistakes"].items())
        i = sentence["number"] - 1
        document = next(iter(first.values()))[i]
        if isinstance(document, ScoredDocument):
            console.result(f"document {sentence['id']}: mistakes: {mistakes}")
            for name, items in {"gold": document.gold, **{n: of[i].predicted for n, of in first.items()}}.items():
                shown = "; ".join(tables.shown_item(document.to_json(), item) for item in items)
                console.result(f"  {name}: {shown or '(none)'}")
            continue
        console.result(f"sentence {sentence['id']}: mistakes: {mistakes}")
        gold = next(iter(first.values()))[i].gold
        words = next((of[i].words for of in first.values() if of[i].words), None)
        for name, mentions in {"gold": gold, **{n: of[i].predicted for n, of in first.items()}}.items():
            for line in tables.wrapped(name, words, mentions):
                console.result(line)
