"""Do short trials of adaptation rank masking rates as full ones do?

python benchmarks/rate_search.py TEXT WORK LINES.jsonl CELL... [--threads 1]

A CELL is STRATEGY:RATE, for example word:0.15, or mslm:ELM_RATE:BLM_RATE. The first 100,000 tokens or so of TEXT
(documents separated by blank lines) are for training, the 25,000 after them for measuring. From one MiniLM, whose fresh
MLM head is trained first, each cell is adapted twice with the same seed: for a fifth of the tokens, and for all. Both
encoders are measured on the same held-out sequences with the same masks (mslm at its default rates), whatever they were
trained with: the loss that `mslm adapt` reports cannot be compared between rates, because its masks are those of the
training. Cells whose line is already in LINES.jsonl are left out. Without cells, the lines are printed as tables.
"""

import argparse
import gzip
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cells
import numpy as np
import torch
from study_table import table

from mslm_cli import models
from mslm_cli.artifacts import load
from mslm_cli.config import AdaptConfig, ExtractTermsConfig, PreprocessConfig
from mslm_cli.masking.recipe import open_masks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.stages import adapt, extract_terms, preprocess
from mslm_cli.training.batching import pad
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.held_out import HeldOut
from mslm_cli.training.masked import MaskedData, Objectives
from mslm_cli.training.model import load_masked_lm
from mslm_cli.workspace import RunOptions

FULL, SHORT = 100_000, 20_000
TOKENS_PER_STEP, HEAD_STEPS = 512, 200
CHARS = {"train": 460_000, "held-out": 115_000}
"""Of about 4.5 characters a token."""
KINDS = {"ds_term": "DS-terms", "generic": "generic words"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if not given.cells:
        print(report(cells.read(given.lines)))
        return
    prepare(given)
    cells.measure_missing(given.cells, given.lines, lambda cell: trials(cell, given))


def prepare(given: argparse.Namespace) -> None:
    """Make what all cells share: the texts, the lexicon, the held-out masks and the encoder with a trained head."""
    content = gzip.decompress(given.text.read_bytes()).decode("utf-8")
    given.work.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, n_chars in CHARS.items():
        end = content.find("\n\n", start + n_chars)
        (given.work / f"{name}.txt").write_text(content[start:end].strip() + "\n", encoding="utf-8")
        start = end
    extract_terms.run([given.work / "train.txt"], given.work / "lexicon", ExtractTermsConfig(pipeline="none"))
    shards(given.work, "mslm", "held-out")
    options = training(given, steps=None, epochs=0, head_warmup_steps=HEAD_STEPS, weights="uniform")
    adapt.run(shards(given.work, "word:0.15"), given.work / "warm", options)


def trials(cell: str, given: argparse.Namespace) -> dict[str, Any]:
    """The held-out losses of the short and of the full trial, and the CPU time of both in seconds."""
    found: dict[str, Any] = {}
    started = time.process_time()
    for name, n_tokens in {"short": SHORT, "full": FULL}.items():
        options = training(
            given,
            model=str(given.work / "warm"),
            steps=n_tokens // TOKENS_PER_STEP,
            weights="ratio:2" if cell.startswith("mslm") else "uniform",
            held_out=0,
        )
        output = adapt.run(shards(given.work, cell), given.work / "adapted", options, RunOptions(overwrite=True))
        found[name] = measure(output, given)
    return found | {"cpu_s": round(time.process_time() - started)}


def training(given: argparse.Namespace, **options: Any) -> AdaptConfig:
    return AdaptConfig.build(tokens_per_step=TOKENS_PER_STEP, offline=True, threads=given.threads, **options)


def shards(work: Path, cell: str, text: str = "train") -> Path:
    """Shards of a text: masks that are drawn during training, fixed ones for what is held out."""
    strategy, *rates = cell.split(":")
    names = {0: (), 1: ("rate",), 2: ("elm_rate", "blm_rate")}[len(rates)]
    config = PreprocessConfig.build(
        strategy=strategy, dynamic=text == "train", offline=True, **dict(zip(names, map(float, rates), strict=True))
    )
    lexicon = work / "lexicon" if strategy == "mslm" else None
    output = work / f"{text}-{cell.replace(':', '-')}"
    return preprocess.run([work / f"{text}.txt"], output, config, lexicon=lexicon)


def measure(encoder: Path, given: argparse.Namespace) -> dict[str, float]:
    """The mean loss in nats on the held-out sequences, of tokens in DS-terms and in generic words."""
    artifact = load(given.work / "held-out-mslm", "shards")
    reader, tokenizer = ShardReader(artifact.path), models.load_tokenizer(encoder)
    masks = open_masks(reader, artifact.options(PreprocessConfig), tokenizer)
    model, _ = load_masked_lm(encoder, allow_pickle=False, seed=0)
    prepare_model(model, select_device("cpu", threads=given.threads))
    collate_fn = partial(pad, pad_id=tokenizer.pad_token_id)
    data = MaskedData(reader, kind_weights("uniform", 1, 1), Objectives(), collate_fn, model.device)
    found = HeldOut(data, masks.epoch(0), np.arange(len(reader.lengths)), 2048, torch.float32).measure(model)
    return {kind: found[kind]["loss"] for kind in KINDS}


def report(lines: list[dict[str, Any]]) -> str:
    """The losses as a Markdown table, and the rank correlations of short and full trials."""
    columns = [(name, kind) for kind in KINDS for name in ("short", "full")]
    header = ["strategy and rates", *(f"{KINDS[kind]}, {name}" for name, kind in columns), "CPU s"]
    rows = [
        [line["cell"], *(f"{line[name][kind]:.3f}" for name, kind in columns), str(line["cpu_s"])] for line in lines
    ]
    groups = {strategy: [line for line in lines if line["cell"].startswith(strategy)] for strategy in ("mslm", "word")}
    pairs = {f"{title}, short and full": (("short", kind), ("full", kind)) for kind, title in KINDS.items()}
    pairs["both kinds, full"] = (("full", "ds_term"), ("full", "generic"))
    ranks = [
        [strategy, str(len(of_one)), *(f"{correlation(of_one, *pair):.2f}" for pair in pairs.values())]
        for strategy, of_one in groups.items()
        if len(of_one) > 2
    ]
    return table(header, rows) + "\n" + table(["rank correlation", "rates", *pairs], ranks)


def correlation(lines: list[dict[str, Any]], *losses: tuple[str, str]) -> float:
    """Spearman's rank correlation of two losses, each of a trial and a kind of token."""
    ranks = [np.argsort(np.argsort([line[name][kind] for line in lines])) for name, kind in losses]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    sys.exit(main())
