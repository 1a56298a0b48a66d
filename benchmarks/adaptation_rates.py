"""Search the rates of `mslm adapt` on held-out loss.

python benchmarks/adaptation_rates.py TEXT WORK LINES.jsonl CELL... [--threads 1]

A CELL is SIZE:STRATEGY:TOKENS:TOKENS_PER_STEP:RATE[:LAYER_DECAY], for example 30k:word:100k:1024:3e-4; RATE can be
auto. About SIZE tokens at the beginning of TEXT (documents separated by blank lines) are for training, and 30,000 more
are held out. The lexicon comes from the same text without labels (`--pipeline none`); 20 % of the tokens are masked,
anew in each epoch. Each cell is one run of `mslm adapt` over TOKENS tokens; its line has what the manifest says of it.
Cells whose line is already in LINES.jsonl are left out. Without cells, the lines are printed as a table.
"""

import argparse
import gzip
import shutil
import sys
from pathlib import Path
from typing import Any

import cells

from mslm_cli.artifacts import MANIFEST, load
from mslm_cli.config import AdaptConfig, ExtractTermsConfig, PreprocessConfig
from mslm_cli.stages import adapt
from mslm_cli.workspace import RunOptions

HELD_OUT = 30_000
CHARS_PER_TOKEN = 4.75
"""Of MiniLM's tokenizer on abstracts."""
MANY = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    cells.measure_missing(given.cells, given.lines, lambda cell: run(cell, given.text, given.work, given.threads))
    if not given.cells:
        print(table(cells.read(given.lines)))


def run(cell: str, text: Path, work: Path, threads: int = 0, model: str = "minilm") -> dict[str, Any]:
    """Make what the cell needs and adapt once."""
    size, strategy, tokens, tokens_per_step, rate, *layer_decay = cell.split(":")
    folder = work / size
    share = HELD_OUT / (number(size) + HELD_OUT)
    config = AdaptConfig.build(
        tokens=number(tokens),
        epochs=MANY,
        tokens_per_step=int(tokens_per_step),
        learning_rate=rate,
        layer_decay=float(layer_decay[0]) if layer_decay else 1.0,
        weights="ratio:2",
        held_out=round(share, 3),
        model=model,
        offline=True,
        threads=threads,
    )
    output = work / f"adapted-{cell.replace(':', '-')}"
    made = adapt.run(shards(text, folder, size, strategy), output, config, RunOptions(overwrite=True, resume="never"))
    found: dict[str, Any] = load(made, "encoder").manifest.run
    shutil.rmtree(made)
    return found


def shards(source: Path, folder: Path, size: str, strategy: str) -> Path:
    """The shards of the first documents of ``source``; made if they are not there."""
    if (folder / strategy / MANIFEST).exists():
        return folder / strategy
    from mslm_cli.stages import extract_terms, preprocess  # the machine with a GPU has no spaCy

    text = folder / "text.txt"
    if not text.exists():
        folder.mkdir(parents=True, exist_ok=True)
        content = gzip.decompress(source.read_bytes()).decode("utf-8")
        end = content.find("\n\n", round((number(size) + HELD_OUT) * CHARS_PER_TOKEN))
        text.write_text(content[:end] + "\n", encoding="utf-8")
    lexicon = extract_terms.run([text], folder / "lexicon", ExtractTermsConfig(pipeline="none"))
    masking = PreprocessConfig(strategy=strategy, budget=0.2, dynamic=True, offline=True)
    return preprocess.run([text], folder / strategy, masking, lexicon=lexicon)


def number(text: str) -> int:
    """A number such as 30k or 3M."""
    return round(float(text.rstrip("kM")) * {"k": 1000, "M": 1_000_000}.get(text[-1], 1))


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a Markdown table."""
    rows = [
        "| text | strategy | trained on | a step | peak rate | layer decay | head | start | kept | step | last |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        size, strategy, tokens, a_step, _, *decay = line["cell"].split(":")
        held_out = line["held_out"]
        losses = [f"{held_out[name]['loss']:.3f}" for name in ("start", "kept", "last")]
        at = f"{held_out['kept_step']} of {held_out['last_step']}"
        rate = f"{line['adapt_learning_rate']:.2g}"
        row = [size, strategy, tokens, a_step, rate, *(decay or ["1"]), str(line["n_head_steps"])]
        rows.append(f"| {' | '.join([*row, losses[0], losses[1], at, losses[2]])} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
