"""Speed of `mslm adapt` on a CUDA device, and correctness of its fast paths.

    python benchmarks/gpu.py [--model FOLDER] [--compile] [--quick] [--json]

BERT-base shape with random weights at length 128 and 512, packed sequences of many lengths; and MiniLM (or --model) at
128, with the functions of `mslm adapt`: bf16, 15 % of the tokens predicted, dropout 0.1, AdamW, 4,096, 16,384 and
65,536 tokens per step. Tokens per second exclude padding; median and range are of five runs of several steps. The
fraction of the peak counts the operations the recipe needs, relative to --peak (default: that of a large product,
measured in the same run on random data). Before that, packed gradients in bf16 are compared with the plain model's in
fp32, without dropout. --compile also measures compiled layers.

Without a device it prints "not measured".
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from batch_building import write_shards
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from mslm_cli import models
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training.batching import Collator, plan_steps
from mslm_cli.training.device import prepare_model
from mslm_cli.training.flops import Cost
from mslm_cli.training.loop import SMALL_STEP, MicrobatchOptions, TrainState, train
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.masked import MaskedData, MaskedUpdate, Objectives
from mslm_cli.training.model import load_masked_lm, logits_at
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.packing import make_collator

SIZES = (4096, 16_384, 65_536)
N_TOKENS = SIZES[-1]
_N_RUNS = 5
WANTED = {"bert-base 128": 815_000, "bert-base 512": 757_000, "minilm 128": 1_500_000}


def main() -> None:
    given = _arguments()
    if not torch.cuda.is_available():
        print(json.dumps({"measured": False}) if given.json else "not measured: torch sees no CUDA device")
        return
    cuda = torch.device("cuda")
    peak = given.peak * 1e12 or peak_flops(cuda)
    rows: list[dict[str, Any]] = []
    for name, length in (("bert-base", 128), ("bert-base", 512), ("minilm", 128)):
        for is_compiled in (False, True) if given.compile else (False,):
            model = _model(name, given.model)
            prepare_model(model, cuda)
            error = bf16_error(model, length)
            for n_tokens in reversed(SIZES):
                if is_compiled and n_tokens <= SMALL_STEP:
                    continue  # launching kernels is the limit: passes are recorded instead
                row = {"model": f"{name} {length}", "tokens": n_tokens, "compiled": is_compiled, "bf16_error": error}
                n_steps = (10 if given.quick else 30) * min(4, N_TOKENS // n_tokens)
                row |= speed(model, length, n_tokens, n_steps, peak, "inductor" if is_compiled else "")
                rows.append(row)
                if given.json:
                    print(json.dumps(row), flush=True)
            del model
            torch.cuda.empty_cache()
    report(rows, as_json=given.json)


def report(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the measurements and the device."""
    device = torch.cuda.get_device_name()
    if as_json:
        large = [r for r in rows if r["tokens"] == N_TOKENS]
        ratios = {f"{r['model']}, {r['compiled']}": r["tokens_per_s"] / WANTED[r["model"]] for r in large}
        print(json.dumps({"measured": True, "device": device, "ratios": ratios}))
        return
    print(f"{device}, torch {torch.__version__}\n")
    print(
        "| model, length | a step | compiled | tokens/s, median | range | wanted | MFU | memory, GiB | first step, s |"
    )
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    for r in rows:
        print(
            f"| {r['model']} | {r['tokens']:,} | {r['compiled']} | {r['tokens_per_s']:,.0f} |"
            f" {r['lowest']:,.0f} to {r['highest']:,.0f} | {WANTED[r['model']]:,} | {100 * r['mfu']:.1f} % |"
            f" {r['memory_gib']:.1f} | {r['first_s']:.1f} |"
        )


def _model(name: str, folder: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if name == "bert-base":
        return BertForMaskedLM(BertConfig(vocab_size=30_522, attn_implementation="sdpa"))
    return load_masked_lm(models.resolve(folder), allow_pickle=False, seed=0)[0]


@contextmanager
def random_data(model: PreTrainedModel, n_tokens: int, longest: int, collate_fn: Collator) -> Iterator[MaskedData]:
    """Write random masked sequences of ``longest`` / 2 to ``longest`` tokens, about ``n_tokens`` in total."""
    with TemporaryDirectory() as folder:
        write_shards(Path(folder), n_tokens, longest)
        uniform = kind_weights("uniform", 1, 1)
        yield MaskedData(ShardReader(Path(folder)), uniform, Objectives(), collate_fn, model.device)


def updates(data: MaskedData, tokens_per_step: int) -> Iterator[MaskedUpdate]:
    """Optimizer steps over ``data``, endlessly."""
    masks, lengths = data.reader.epoch(0), data.reader.lengths.astype(np.int64)
    for epoch in count():
        for sequences in plan_steps(lengths, tokens_per_step, seed=0, epoch=epoch):
            if lengths[sequences].sum() >= tokens_per_step:  # the last of an epoch may be smaller
                yield data.update(masks, sequences)


def peak_flops(device: torch.device) -> float:
    """Operations per second of a large matrix product of random bf16 numbers."""
    left, right = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(10):
        torch.cuda.synchronize()
        started = time.perf_counter()
        left @ right
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * 8192**3 / median(seconds[3:])


def speed(
    model: PreTrainedModel, length: int, n_tokens: int, n_steps: int, peak: float, compile_with: str
) -> dict[str, Any]:
    """Tokens per second of whole steps, and their use of the device."""
    model.train()
    optimizer = make_optimizer(model.named_parameters(), 1e-4, 0.01)
    state = TrainState(model, optimizer, make_schedule(optimizer, 10_000, 0.06))
    has_graphs = n_tokens <= SMALL_STEP
    options = MicrobatchOptions(
        2 * n_tokens,
        torch.bfloat16,
        has_copies=True,
        compile_with=compile_with,
        has_graphs=has_graphs,
        reads_late=True,
    )
    cost = Cost.of(model)
    rates, shares = [], []
    with random_data(model, 4 * n_tokens, length, make_collator(model, 0, torch.bfloat16, is_small=has_graphs)) as data:
        steps = train(state, updates(data, n_tokens), 1.0, options)
        began = time.perf_counter()
        next(steps)
        torch.cuda.synchronize()
        first_s = time.perf_counter() - began
        for _ in islice(steps, 40 if has_graphs else 5):  # kernels are chosen, passes compiled or recorded
            pass
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(_N_RUNS):
            batches = [b for step in islice(steps, n_steps // _N_RUNS) for b in step.microbatches]
            torch.cuda.synchronize()
            duration_s, started = time.perf_counter() - started, time.perf_counter()
            flops = cost.flops([b.model_batch for b in batches], sum(len(b.kinds) for b in batches))
            rates.append(sum(b.n_tokens for b in batches) / duration_s)
            shares.append(flops / duration_s / peak)
    is_packed = "sequence_starts" in batches[0].model_batch.inputs
    return {
        "layout": "packed" if is_packed else "padded",
        "first_s": first_s,
        "tokens_per_s": median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "mfu": median(shares),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def bf16_error(model: PreTrainedModel, length: int) -> float:
    """The relative norm of the difference between gradients of packed bf16 passes and of the plain model in fp32.

    Target: at most 2e-2.
    """
    model.train()
    rates = {m: m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    for module in rates:
        module.p = 0.0
    gradients = []
    for is_fast in (False, True):
        collate_fn = make_collator(model, 0, torch.bfloat16 if is_fast else torch.float32)
        with random_data(model, 2048, length, collate_fn) as data:
            everything = data.update(data.reader.epoch(0), np.arange(len(data.reader)))
            (batch,) = everything.microbatches(1_000_000)
        model.zero_grad()
        if is_fast:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                logits = logits_at(model, batch.model_batch, batch.selection)
        else:
            logits = model(**batch.model_batch.inputs).logits.flatten(0, 1)[
                torch.from_numpy(batch.targets.positions).cuda()
            ]
        weighted_cross_entropy(logits, *batch.targets[1:])[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for module, rate in rates.items():
        module.p = rate
    model.zero_grad()
    return float((gradients[1] - gradients[0]).norm() / gradients[0].norm())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--peak", type=float, default=0.0, help="TFLOP/s of the device in bf16; default: measured")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
