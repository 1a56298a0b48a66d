"""``mslm match``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Overwrite, ResumeBlocks, Texts, artifact_path, refuse_shared_stdin, subcommand
from mslm_cli.config import MatchConfig
from mslm_cli.errors import UsageError

EXAMPLES = """\
mslm match abstracts.txt --lexicon lexicon
mslm match abstracts/ --lexicon lexicon --json | jq -r .term | sort | uniq -c
mslm match abstracts.txt --lexicon lexicon --html -o matches.html"""


@subcommand("match", MatchConfig, examples=EXAMPLES)
def match(
    texts: Texts,
    lexicon: Annotated[
        Path,
        typer.Option(help="Lexicon from `mslm extract-terms`, or - to read its path from a pipe.", show_default=False),
    ],
    config: MatchConfig,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON line per match: doc, start, end, text, term, type, score.")
    ] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Write an HTML page (displaCy).")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; its path is printed. - means standard output.")
    ] = Path("-"),
    resume: ResumeBlocks = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show where the terms of a lexicon occur in a text.

    Finds the terms that `mslm preprocess` masks. On a terminal, the matches are marked in the text; in a pipe or a
    file, they are JSON lines with offsets [start, end) in characters of the document.
    """
    refuse_shared_stdin({"the text": "-" if Path("-") in texts else None, "--lexicon": lexicon})
    if as_json and as_html:
        raise UsageError("--json and --html cannot be combined")
    from mslm_cli.stages import match as stage
    from mslm_cli.workspace import RunOptions

    file = None if output == Path("-") else output
    is_shown = file is None and console.is_terminal()
    form: stage.Form = "html" if as_html else "text" if is_shown and not as_json else "json"
    stage.run(texts, artifact_path(lexicon), config, form=form, output=file, options=RunOptions(overwrite, resume))
