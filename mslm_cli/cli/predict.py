"""``mslm predict``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mslm_cli import console
from mslm_cli.cli._command import Overwrite, ResumeBlocks, Texts, artifact_path, refuse_shared_stdin, subcommand
from mslm_cli.config import PredictConfig
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.output import refuse_standard_output
from mslm_cli.errors import UsageError

EXAMPLES = """\
mslm predict ner abstracts.txt
mslm predict ner abstracts/ -o mentions.jsonl
mslm predict ner abstracts/ --to brat -o annotations
mslm predict relations abstracts.txt --ner ner -o relations.jsonl
zcat notes.gz | mslm predict ner - --no-text | jq -r .type | sort | uniq -c"""


_FORMS = ("auto", "json", "conll", "html")


@subcommand("predict", PredictConfig, examples=EXAMPLES)
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model from `mslm finetune`, or - to read its path from a pipe.")
    ],
    texts: Texts,
    config: PredictConfig,
    ner: Annotated[
        Path | None,
        typer.Option(help="Relations: the NER model that finds the mentions; by default those of annotated text."),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="Output format: one JSON line per mention or relation, CoNLL columns, an HTML page, or whole documents"
            " in a format of `mslm convert` (for brat, -o names a folder).",
            metavar=f"<{'|'.join([*_FORMS, *(each.name for each in FORMATS.built_in() if each.writer)])}>",
        ),
    ] = "auto",
    scheme: Annotated[Literal["IOB2", "IOBES"], typer.Option(help="--to conll: scheme of the tags.")] = "IOB2",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; its path is printed. - means standard output.")
    ] = Path("-"),
    no_text: Annotated[
        bool, typer.Option("--no-text", help="JSON lines without text: only offsets and a hash of the sentence.")
    ] = False,
    resume: ResumeBlocks = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Find the entities, relations or labels in a text.

    Writes JSON lines (doc, start, end, text, type, score) with offsets [start, end) in characters of the document; on a
    terminal, the entities are marked in the text. The score is the model's probability of the mention.

    A model of relations writes a line for each (doc, type, head, tail, score); head and tail are mentions.
    """
    refuse_shared_stdin({"the model": model, "the text": "-" if Path("-") in texts else None})
    file = None if output == Path("-") else output
    writers = {each.name: each.writer for each in FORMATS if each.writer}
    if to not in _FORMS and to not in writers:
        raise UsageError(f"--to: expected {', '.join([*_FORMS, *writers])}, found {to!r}")
    if to in writers and file is None:
        refuse_standard_output(to, writers[to])
    if no_text and to not in ("auto", "json"):
        raise UsageError(f"--to {to} contains the text, which --no-text excludes", hint="use --to json")
    from mslm_cli.stages import predict as stage
    from mslm_cli.workspace import RunOptions

    is_shown = to == "auto" and file is None and not no_text and console.is_terminal()
    form: stage.Form = "text" if is_shown else "json" if to == "auto" else to
    result = stage.Result(form, file, scheme, not no_text, RunOptions(overwrite, resume))
    stage.run(artifact_path(model), texts, config, result, None if ner is None else artifact_path(ner))
