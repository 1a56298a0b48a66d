"""``mslm label``."""

from pathlib import Path
from typing import Annotated

import typer

from mslm_cli import console
from mslm_cli.cli._command import Output, Overwrite, Texts, subcommand
from mslm_cli.config import LabelConfig

EXAMPLES = """\
mslm label corpus.txt --model ner -o silver
mslm label corpus/ --model ner1 --model ner2 --model ner3 --sentences 50000 -o silver
mslm finetune --train train.tsv --dev devel.tsv --silver silver -o better"""


@subcommand("label", LabelConfig, examples=EXAMPLES)
def label(
    texts: Texts,
    model: Annotated[
        list[Path], typer.Option(help="NER model from `mslm finetune`; several models vote.", show_default=False)
    ],
    output: Output,
    config: LabelConfig,
    overwrite: Overwrite = False,
) -> None:
    """Label sentences of a text with trained models, for `mslm finetune --silver`.

    Sentences are drawn at random from the whole text. With several models, a mention is kept if more than half of them
    found it. Never give text that contains your test sentences.
    """
    from mslm_cli.stages import label as stage

    console.made(stage.run(texts, model, output, config, overwrite=overwrite))
