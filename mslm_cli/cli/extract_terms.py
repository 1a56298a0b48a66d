"""``mslm extract-terms``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Output, Overwrite, Texts, refuse_shared_stdin, subcommand
from mslm_cli.config import ExtractTermsConfig

EXAMPLES = """\
mslm extract-terms abstracts.txt train.tsv -o lexicon
mslm extract-terms corpus/ --pipeline en_core_sci_sm --terms my_terms.txt -o lexicon
zcat abstracts.gz | mslm extract-terms - --min-count 5 -o lexicon"""


@subcommand("extract-terms", ExtractTermsConfig, examples=EXAMPLES)
def extract_terms(
    texts: Texts,
    output: Output,
    config: ExtractTermsConfig,
    terms: Annotated[
        Path | None, typer.Option(help="Your own terms, one a line, kept whatever their count and score.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the domain-specific terms of a text.

    They make the lexicon that decides what is masked. Writes terms.jsonl (term, sources,
    type, count, score). The default pipeline needs no download.
    """
    refuse_shared_stdin({"the text": "-" if Path("-") in texts else None, "--terms": terms})
    from mslm_cli.stages import extract_terms as stage

    console.result(str(stage.run(texts, output, config, terms_file=terms, overwrite=overwrite)))
