"""``mslm probe``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mslm_cli import console
from mslm_cli.cli._command import Json, Texts, subcommand
from mslm_cli.config import ProbeConfig

EXAMPLES = """\
mslm probe adapted held_out.txt --lexicon lexicon
mslm probe baseline held_out.txt --against adapted --lexicon lexicon --general wikitext.txt
mslm probe ner held_out.txt --lexicon lexicon --general wikitext.txt --json"""


@subcommand("probe", ProbeConfig, examples=EXAMPLES)
def probe(
    encoder: Annotated[
        str, typer.Argument(metavar="ENCODER", help="Output of `mslm adapt` or `mslm finetune`, or another encoder.")
    ],
    texts: Texts,
    config: ProbeConfig,
    lexicon: Annotated[Path, typer.Option(help="Lexicon from `mslm extract-terms`.", show_default=False)],
    against: Annotated[str | None, typer.Option(help="A second encoder to compare on the same items.")] = None,
    general: Annotated[
        Path | None, typer.Option(help="General text, to measure what was forgotten; terms in it are skipped.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Probe how well an encoder predicts masked DS-terms.

    In held-out text, DS-terms and generic words of the same length and frequency are masked one at a time. Prints top-1
    and top-5 accuracy, loss in nats and reciprocal rank, with 95 % intervals.
    """
    from mslm_cli.stages import probe as stage

    encoders = [encoder] if against is None else [encoder, against]
    found = stage.run(encoders, texts, config, lexicon=lexicon, general=general)
    if as_json:
        console.result(json.dumps(found))
        return
    for name, of in found["scores"].items():
        _print(name, of, stage.ITEM_TITLES, found["n_items"], signed=False)
    if "difference" in found:
        title = " minus ".join(reversed(found["encoders"]))
        _print(title, found["difference"], stage.ITEM_TITLES, found["n_items"], signed=True)
    units = " and ".join(f"{unit} of the {name}" for name, unit in found["resampled"].items())
    console.note(f"95 % intervals by bootstrap over {units}")


def _print(title: str, scores: dict[str, Any], names: dict[str, str], n_items: dict[str, int], *, signed: bool) -> None:
    """Print one block of the result on stdout: a line for each kind of item, followed by its intervals."""
    console.result(f"{title:<31}{'n':>6} {'loss':>13} {'top-1':>13} {'top-5':>13}")
    for kind, of in scores.items():
        sign = "+" if signed else ""
        values, bounds = [], []
        for score, factor in (("loss", 1), ("top1", 100), ("top5", 100)):
            value, low, high = (of[score][key] * factor for key in ("value", "low", "high"))
            digits = 3 if factor == 1 else 1
            values.append(f"{value:{sign}.{digits}f}")
            bounds.append(f"{low:{sign}.{digits}f}..{high:{sign}.{digits}f}")
        console.result(f"{names[kind]:<31}{n_items[kind]:>6} " + " ".join(f"{v:>13}" for v in values))
        console.result(" " * 38 + " ".join(f"{b:>13}" for b in bounds))
