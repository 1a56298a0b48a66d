"""``mslm extract-terms``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import (
    Output,
    Overwrite,
    ResumeAnyway,
    ResumeBlocks,
    Without,
    refuse_shared_stdin,
    subcommand,
)
from mslm_cli.config import ExtractTermsConfig

EXAMPLES = """\
mslm extract-terms abstracts.txt train.tsv -o lexicon
mslm extract-terms corpus/ --pipeline en_core_sci_sm --terms my_terms.obo --workers 4 -o lexicon
mslm extract-terms --from-labels train.tsv -o lexicon
zcat abstracts.gz | mslm extract-terms - --min-count 5 -o lexicon"""


@subcommand("extract-terms", ExtractTermsConfig, examples=EXAMPLES)
def extract_terms(
    output: Output,
    config: ExtractTermsConfig,
    texts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Text or annotated files, folders, or - for stdin; optional with --terms or --from-labels.",
            metavar="TEXT",
        ),
    ] = None,
    terms: Annotated[
        list[Path] | None,
        typer.Option(help="Your own terms: .txt (one per line), .csv, .tsv, .obo or .jsonl. May be repeated."),
    ] = None,
    from_labels: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled training data whose mentions become terms. May be repeated."),
    ] = None,
    background: Annotated[
        list[Path] | None,
        typer.Option(help="General-English text to compare n-gram frequencies with. May be repeated."),
    ] = None,
    link: Annotated[
        Path | None, typer.Option(help="Knowledge base (.jsonl in scispaCy's format) that gives terms their types.")
    ] = None,
    without: Without = None,
    resume: ResumeBlocks = "auto",
    resume_anyway: ResumeAnyway = False,
    overwrite: Overwrite = False,
) -> None:
    """Find the domain-specific terms of a text.

    They form the lexicon that determines what is masked. Writes terms.jsonl (term, sources, type, count, score). Your
    own terms are kept regardless of count and score. The default pipeline needs no download. A killed run goes on
    from the text that it has read.
    """
    lists = {"the text": texts, "--terms": terms, "--from-labels": from_labels, "--background": background}
    paths = {name: files or [] for name, files in lists.items()} | {"--link": [link] if link else []}
    refuse_shared_stdin({name: "-" for name, files in paths.items() if Path("-") in files})
    from mslm_cli.stages import extract_terms as stage
    from mslm_cli.workspace import RunOptions

    options = RunOptions(overwrite, resume, resume_anyway)
    given = stage.TermInputs(paths["--terms"], paths["--from-labels"], paths["--background"], link, without or ())
    console.made(stage.run(paths["the text"], output, config, given=given, options=options))
