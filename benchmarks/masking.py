"""Speed of masking, compared to transformers' DataCollatorForLanguageModeling.

python benchmarks/masking.py NCBI-disease/train.tsv.gz --model MINILM [--quick] [--json]

One process, one thread. Both sides produce the same padded tensors (input_ids, attention_mask, labels, int64) batch by
batch, from the same sequences in memory; the collator gets lists of ids only, its fastest input. All masks are drawn
anew in every turn. What does not depend on masks (ids, words and mentions of sequences) is kept between turns, as in
`mslm preprocess --copies`; "first epoch" uses fresh sequences, whose words and mentions must be located in every turn.
The sides take turns, so a busy machine slows both equally; a turn is one epoch of the collator and ten of the much
shorter epochs of each strategy. Ratios are of paired turns. Time is CPU time, which equals wall-clock time on an idle
machine. Tokens include special tokens, but no padding.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from padding import padded_batches
from transformers import DataCollatorForLanguageModeling

from mslm_cli import allocator, console, models
from mslm_cli.config import ExtractTermsConfig, PreprocessConfig
from mslm_cli.masking import budget, pmi
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.corruption import corrupt
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.strategies import STRATEGIES
from mslm_cli.masking.units import DrawContext, draw
from mslm_cli.stages import extract_terms, preprocess

PaddedMasks = tuple[torch.Tensor, ...]
BUDGET, ELM_RATE, BATCH_SIZE, BLOCK, N_EPOCHS = 0.15, 0.25, 32, 2048, 10
AIMS = {"token": 50.0, "word": 50.0, "entity": 50.0, "mslm": 50.0, "span": 20.0, "pmi": None}


def make_shards(text: Path, model: str, folder: Path) -> ShardReader:
    lexicon = extract_terms.run([text], folder / "lexicon", ExtractTermsConfig())
    config = PreprocessConfig(model=model, strategy="none")
    return ShardReader(preprocess.run([text], folder / "shards", config, lexicon=lexicon))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--quick", action="store_true", help="3 turns in place of 15")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    console.configure(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(make_shards(options.text, options.model, Path(folder)), n_turns=3 if options.quick else 15)
    print(json.dumps(result, indent=2) if options.json else table(result))


def measure(reader: ShardReader, n_turns: int) -> dict[str, Any]:
    tokenizer = models.load_tokenizer(reader.folder / "tokenizer", lowercase=None)
    everything = reader.batch(np.arange(len(reader)))
    n_tokens = len(everything.input_ids)
    examples = [{"input_ids": reader[i].input_ids.tolist()} for i in range(len(reader))]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=BUDGET)
    vocabulary = pmi.build(Blocks(lambda: [everything]), 10)
    rates = {
        strategy: budget.solve(
            STRATEGIES[strategy],
            Blocks(lambda: [everything]),
            [BUDGET],
            MaskingOptions(elm_rate=ELM_RATE, seed=0),
            state=vocabulary,
        )[0]
        for strategy in AIMS
    }

    def collate(_: int) -> Iterator[PaddedMasks]:
        for first in range(0, len(examples), BATCH_SIZE):
            batch = collator(examples[first : first + BATCH_SIZE])
            yield batch["input_ids"], batch["attention_mask"], batch["labels"]

    def deliver(strategy: str, kept: list[RaggedBatch] | None) -> Callable[[int], Iterator[PaddedMasks]]:
        special_ids = np.unique(np.array(tokenizer.all_special_ids, dtype=np.int64))

        def epoch(number: int) -> Iterator[PaddedMasks]:
            for block in kept or blocks():
                context = DrawContext(block, 0, number, max(rates[strategy].values()), vocabulary)
                drawn = draw(STRATEGIES[strategy], context, rates[strategy])
                corrupted = corrupt(
                    block,
                    drawn,
                    mask_id=tokenizer.mask_token_id,
                    vocab_size=len(tokenizer),
                    special_ids=special_ids,
                    mask_replace=(0.8, 0.1, 0.1),
                    seed=0,
                    epoch=number,
                )
                for padded in padded_batches(block, drawn, corrupted, BATCH_SIZE, tokenizer.pad_token_id):
                    yield tuple(torch.from_numpy(array) for array in padded)

        return epoch

    def blocks() -> list[RaggedBatch]:
        return [everything.rows(i, min(i + BLOCK, len(everything))) for i in range(0, len(everything), BLOCK)]

    kept = blocks()
    sides = {"collator": collate} | {strategy: deliver(strategy, kept) for strategy in AIMS}
    sides |= {f"{strategy}, first epoch": deliver(strategy, None) for strategy in AIMS}
    for side in sides.values():
        check_same_except_masks(collate(0), side(0))
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(n_turns):
        for name, side in sides.items():
            n_epochs = 1 if name == "collator" else N_EPOCHS
            started = time.process_time()
            for epoch in range(n_epochs):
                for _ in side(turn * n_epochs + epoch):
                    pass
            speeds[name].append(n_epochs * n_tokens / (time.process_time() - started))
    return {
        "n_tokens": n_tokens,
        "n_sequences": len(reader),
        "batch_size": BATCH_SIZE,
        "n_turns": n_turns,
        "budget": BUDGET,
        "rates": rates,
        "tokens_per_s": {name: spread(values) for name, values in speeds.items()},
        "times_collator": {
            name: spread([a / b for a, b in zip(speeds[name], speeds["collator"], strict=True)])
            for name in sides
            if name != "collator"
        },
    }


def check_same_except_masks(one: Iterator[PaddedMasks], other: Iterator[PaddedMasks]) -> None:
    """Exit unless both produce the same tensors where neither masks, and labels that restore the sequences."""
    for batches in zip(one, other, strict=True):
        (ids, mask, labels), (other_ids, other_mask, other_labels) = batches
        assert all(t.dtype == torch.int64 for batch in batches for t in batch)
        assert torch.equal(mask, other_mask)
        assert torch.equal(
            torch.where(labels >= 0, labels, ids), torch.where(other_labels >= 0, other_labels, other_ids)
        )


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(result: dict[str, Any]) -> str:
    lines = ["| | tokens/s, median (range), millions | times the collator, median (range) | aim |", "|---|---|---|---|"]
    for name, speed in result["tokens_per_s"].items():
        millions = "{median:.2f} ({min:.2f} to {max:.2f})".format(**{k: v / 1e6 for k, v in speed.items()})
        times = result["times_collator"].get(name)
        ratio = "{median:.1f} ({min:.1f} to {max:.1f})".format(**times) if times else "1"
        aim = AIMS.get(name)
        lines.append(f"| {name} | {millions} | {ratio} | {f'{aim:.0f}' if aim else '1 M/s' if name == 'pmi' else ''} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
