"""Speed of `mslm adapt`, compared to transformers' Trainer and to its own matrix products alone.

    python benchmarks/adapt_speed.py DATA [--threads N] [--precision auto|fp32|bf16] [--quick] [--json]

DATA holds the public corpora; the text is the training split of NCBI-disease, the encoder MiniLM. All sides have the
same recipe: dropout 0.1, 15 % of the tokens predicted (80/10/10), about 4096 tokens per step, AdamW, gradients
clipped to 1. Speeds are in non-padding tokens per second, including special tokens.

a  Trainer as set up by run_mlm.py --line_by_line by default: one sequence per sentence, batches of 8 in random order,
   padded to the longest in the batch (the script pads to the full length only with --pad_to_max_length).
b  The same without --line_by_line: text in blocks of 128 tokens (group_texts), batches of 8.
   Both accumulate gradients until a step has as many tokens as in mslm.
c  A lower bound on time: only the matrix products of mslm's steps, forward and both backward, with operands of the
   same shapes and layouts, multiplied with torch's defaults.
d  The same, multiplied with oneDNN as in mslm: a stricter bound than (c) on AMD processors.

Each side runs in its own process; they take turns. Reported are the median and range of the ratios of adjacent turns,
and the peak memory of each process.
"""

import argparse
import gzip
import multiprocessing
from collections import Counter
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sides import Steps, Work, alone, arguments, compare, now, report, timed, trainer_steps

N_TOKENS, BLOCK, BATCH, RATE = 4096, 128, 8, 0.15
WANTED = {"a": 4.5, "b": 1.9, "c": 0.78}
N_UPDATES = {"mslm": 4, "a": 2, "b": 2, "c": 2, "d": 2}


def main() -> None:
    given = arguments(__doc__)
    with TemporaryDirectory() as folder:
        alone(preprocess, _text(given), Path(folder, "shards"))
        rates, memory = compare(SIDES, N_UPDATES, Path(folder), given)
    report(rates, memory, WANTED, as_json=given.json)
    if not given.json:
        print(f"\nPeak memory: {memory['mslm'] / memory['a']:.2f} of that of (a); wanted: at most 0.5.")


def _text(given: argparse.Namespace) -> Path:
    path: Path = given.data / "NCBI-disease" / "train.tsv.gz"
    return path


def preprocess(text: Path, shards: Path) -> None:
    """Make the shards for mslm."""
    from mslm_cli.config import PreprocessConfig
    from mslm_cli.stages import preprocess

    config = PreprocessConfig.build(strategy="token", rate=RATE, max_length=BLOCK, offline=True)
    preprocess.run([text], shards, config, lexicon=None)


def mslm(folder: Path, given: argparse.Namespace) -> Steps:
    """The steps of `mslm adapt`, with its own functions."""
    from mslm_cli.training.adaptation import training_steps

    return timed(training_steps(*_adapting(folder, given)))


def _adapting(folder: Path, given: argparse.Namespace) -> tuple[Any, ...]:
    """The arguments of ``training_steps``."""
    import numpy as np

    from mslm_cli import allocator, models
    from mslm_cli.config import AdaptConfig, PreprocessConfig
    from mslm_cli.masking.recipe import open_masks
    from mslm_cli.masking.shards import ShardReader
    from mslm_cli.masking.weights import kind_weights
    from mslm_cli.training.adaptation import AdaptationData, Phase, start_phase
    from mslm_cli.training.device import precision, prepare_model, select_device
    from mslm_cli.training.model import load_masked_lm
    from mslm_cli.training.packing import make_collator

    allocator.keep_freed_memory()
    config = AdaptConfig.build(
        tokens_per_step=N_TOKENS,
        offline=True,
        precision=given.precision,
        batch_tokens=given.batch_tokens,
    )
    encoder = models.resolve(config.model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder)
    masks = open_masks(ShardReader(folder / "shards"), PreprocessConfig.build(strategy="token", rate=RATE), tokenizer)
    masks.prepare(100)
    model, _ = load_masked_lm(encoder, allow_pickle=False, seed=0)
    prepare_model(model, select_device(config.device, threads=given.threads))
    phase = Phase("adapt", 4000, kind_weights("uniform", 1, 1), 3e-4)
    dtype = precision(config.precision, model.device)
    sequences = np.arange(len(masks.reader))
    data = AdaptationData(masks, sequences, make_collator(model, tokenizer.pad_token_id, dtype))
    return start_phase(model, phase, config), phase, data, config


def trainer_line_by_line(folder: Path, given: argparse.Namespace) -> Steps:
    """The steps of Trainer with one sequence per sentence."""
    tokenizer = _tokenizer()
    rows = tokenizer(_sentences(given), truncation=True, max_length=BLOCK, return_special_tokens_mask=True)
    return _trainer([{k: rows[k][i] for k in rows} for i in range(len(rows["input_ids"]))], tokenizer)


def trainer_blocks(folder: Path, given: argparse.Namespace) -> Steps:
    """The steps of Trainer with blocks of equal length; as in run_mlm.py, from 1000 sentences at a time."""
    tokenizer = _tokenizer()
    sentences = _sentences(given)
    made = []
    for first in range(0, len(sentences), 1000):
        rows = tokenizer(sentences[first : first + 1000], return_special_tokens_mask=True)
        joined = {k: list(chain.from_iterable(rows[k])) for k in rows}
        n_blocks = len(joined["input_ids"]) // BLOCK
        made += [{k: v[i * BLOCK : (i + 1) * BLOCK] for k, v in joined.items()} for i in range(n_blocks)]
    return _trainer(made, tokenizer)


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    from mslm_cli import models

    tokenizer = AutoTokenizer.from_pretrained(models.resolve("minilm", offline=True, allow_pickle=False))
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = 512
    return tokenizer


def _sentences(given: argparse.Namespace) -> list[str]:
    with gzip.open(_text(given), "rt", encoding="utf-8") as lines:
        sentences = "".join(line.split("\t")[0] + " " if line.strip() else "\n" for line in lines).split("\n")
    return [s.strip() for s in sentences if s.strip()]


def _trainer(rows: list[dict[str, list[int]]], tokenizer: Any) -> Steps:
    from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

    from mslm_cli import models

    model = AutoModelForMaskedLM.from_pretrained(models.resolve("minilm", offline=True, allow_pickle=False))
    collate = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=RATE)
    n_gathered = round(N_TOKENS * len(rows) / sum(len(row["input_ids"]) for row in rows) / BATCH)
    return trainer_steps(
        model, rows, collate, per_device_train_batch_size=BATCH, gradient_accumulation_steps=n_gathered
    )


def products_by_default(folder: Path, given: argparse.Namespace) -> Steps:
    """The matrix products of some of mslm's steps, replayed with torch's defaults."""
    return products(folder, given, "highest")


def products(folder: Path, given: argparse.Namespace, float32: str = "") -> Steps:
    """The matrix products of some of mslm's steps, replayed.

    Args:
        float32: torch's precision setting; default: that of mslm.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from mslm_cli.training.adaptation import training_steps

    aten = torch.ops.aten
    kinds = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
    layouts = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: Counter[tuple[Any, tuple[layouts, ...], layouts]] = Counter()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func in kinds:
                self.seen[func, tuple(map(layout, args)), layout(result)] += 1
            return result

    def layout(tensor: torch.Tensor) -> layouts:
        return tuple(tensor.shape), tensor.stride(), tensor.dtype

    def like(wanted: layouts) -> torch.Tensor:
        shape, stride, dtype = wanted
        return torch.empty_strided(shape, stride, dtype=dtype).normal_()

    steps = training_steps(*_adapting(folder, given))
    recorded = []
    for _ in range(4):
        with Recorder() as recorder:
            step = next(steps)
        recorded.append((sum(b.n_tokens for b in step.microbatches), recorder.seen))
    torch.set_float32_matmul_precision(float32 or torch.get_float32_matmul_precision())
    while True:
        for n_tokens, seen in recorded:
            seconds = 0.0
            for (func, operands, result), n in seen.items():
                given, out = [like(o) for o in operands], like(result)
                call = getattr(torch, func.overloadpacket.__name__)
                started = now()
                for _ in range(n):
                    call(*given, out=out)
                seconds += now() - started
            yield n_tokens, seconds


SIDES: dict[str, Work] = {
    "mslm": mslm,
    "a": trainer_line_by_line,
    "b": trainer_blocks,
    "c": products_by_default,
    "d": products,
}


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
