"""The steps of `run.sh` on a machine with a GPU, one per call: equality, waits, product, profile or trials.

    python benchmarks/device/checks.py STEP FILE

Each step appends its findings to FILE as it goes. DRY=1 runs a step on a CPU at tiny sizes.

equality  the attention kernel against fp64, both dropout paths; gradients of bf16 passes (padded, packed, with copies
          of the weights, compiled) against padded fp32
waits     how often the host waits for the device in a step
product   `mslm adapt` itself, at three sizes of a step
profile   where the time of a step goes
trials    adapt (not at all, word, mslm), fine-tune, score on test; seed by seed, so that a stop leaves whole seeds
"""

import json
import os
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from mslm_cli.config import AdaptConfig, EvalConfig, FinetuneConfig
from mslm_cli.stages import adapt, evaluate, finetune
from mslm_cli.training import packing
from mslm_cli.training.batching import on_device, pad
from mslm_cli.training.device import prepare_model
from mslm_cli.training.loop import MicrobatchOptions, TrainState, train
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import load_masked_lm, logits_at
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.passes import Passes
from mslm_cli.training.selection import Selection
from mslm_cli.workspace import RunOptions

sys.path.insert(0, str(Path(__file__).parent.parent))
import gpu

DRY = bool(os.environ.get("DRY"))
DEVICE = torch.device("cpu") if DRY else torch.device("cuda", 0)
CARRIED = Path(".dev")
SCRATCH = Path(os.environ.get("SCRATCH", "/tmp"))
BACKEND = "aot_eager" if DRY else "inductor"
LENGTHS = [1, 17, 128, 3, 511, 64]
KERNEL_TOLERANCE = 2e-2
SMALLEST_DROPOUT = 1e-6
"""Any dropout above 0 runs the kernel that trains. It draws with 8 bits, so at the least 1 weight in 256 is dropped."""


def equality() -> Iterator[dict[str, Any]]:
    """Yield deviations of the device from exact arithmetic."""
    if not DRY:
        yield {"problem": packing.packed_attention_problem(DEVICE)}
        for size in (64, 32):
            yield from kernel(size)
    for name, longest in (("bert-base", 128), ("bert-base", 512), ("minilm", 128)):
        yield from gradients(name, longest)


def kernel(size: int) -> Iterator[dict[str, Any]]:
    """Packed attention with 12 heads of ``size`` against fp64, sequence by sequence."""
    ends = np.cumsum([0, *LENGTHS])
    starts = torch.tensor(ends, dtype=torch.int32, device=DEVICE)
    query, key, value = (
        torch.randn(int(ends[-1]), 12, size, device=DEVICE, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    )
    upstream = torch.randn_like(query)

    def exact(begin: int, end: int) -> torch.Tensor:
        states = (t[begin:end].double().transpose(0, 1) for t in (query, key, value))
        return scaled_dot_product_attention(*states).transpose(0, 1)

    def found(dropout: float) -> torch.Tensor:
        return packing._varlen(query, key, value, starts, starts, max(LENGTHS), dropout, None)

    expected = torch.cat([exact(a, b) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)])
    wanted = torch.autograd.grad(expected, (query, key, value), upstream.double())
    for dropout, tolerance in ((0.0, KERNEL_TOLERANCE), (SMALLEST_DROPOUT, KERNEL_TOLERANCE + 256**-0.5)):
        output = found(dropout)
        pairs = zip(
            (output, *torch.autograd.grad(output, (query, key, value), upstream)), (expected, *wanted), strict=True
        )
        errors = [relative_error(x, y) for x, y in pairs]
        yield {
            "kernel": size,
            "dropout": dropout,
            "rel_error_out_dq_dk_dv": errors,
            "wanted": tolerance,
            "ok": max(errors) < tolerance,
        }
    mean = torch.stack([found(0.1).detach().double() for _ in range(400)]).mean(0)
    yield {"kernel": size, "mean_of_400_with_dropout_0.1": relative_error(mean, expected), "wanted": 0.05}
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(found(0.1))
    yield {"kernel": size, "same_seed_same_dropout": torch.equal(*draws)}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference divided by the norm of the expected value."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def gradients(name: str, longest: int) -> Iterator[dict[str, Any]]:
    """The gradient of a step without dropout, in all ways to compute it, compared to padded in fp32."""
    rng = np.random.default_rng(0)
    model = encoder(name)
    prepare_model(model, DEVICE)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    sequences: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    while sum(map(len, sequences)) < (300 if DRY else 4096):
        sequences.append(rng.integers(1000, 30_000, int(rng.integers(8, longest + 1))).astype(np.int32))
    chosen = [
        np.sort(rng.choice(len(s), 0 if i == 2 else max(1, len(s) // 7), replace=False))
        for i, s in enumerate(sequences)
    ]
    ids, lengths = np.concatenate(sequences), np.array(list(map(len, sequences)))
    targets = np.concatenate([s[c] for s, c in zip(sequences, chosen, strict=True)]).astype(np.int64)
    target_ids = torch.from_numpy(targets).to(DEVICE)
    weights = torch.ones(len(target_ids), device=DEVICE)
    half = torch.bfloat16
    kinds = {
        "fp32 padded": lambda: Passes(model, torch.float32),
        "bf16 padded": lambda: Passes(model, half),
        "bf16 packed": lambda: Passes(model, half),  # from here on the model's attention is another
        "bf16 packed, copies": lambda: Passes(model, half, has_copies=True),
        "bf16 packed, copies, compiled": lambda: Passes(model, half, has_copies=True, compile_with=BACKEND),
    }
    expected = None
    for kind, make in kinds.items():
        passes = make()
        collate_fn = packing.make_collator(model, 0, half) if "packed" in kind else partial(pad, pad_id=0)
        made = collate_fn(ids, lengths)
        positions = np.concatenate([c + b for c, b in zip(chosen, made.begins, strict=True)])
        batch, selection = on_device(made, DEVICE), on_device(Selection.of(made, positions), DEVICE)
        at = torch.from_numpy(positions).to(DEVICE)
        model.zero_grad()
        started = time.time()
        with passes.running():
            if kind == "fp32 padded":
                logits = model(**batch.inputs).logits.flatten(0, 1)[at]
            else:
                logits = logits_at(model, batch, selection)
            loss, _ = weighted_cross_entropy(logits, target_ids, weights, float(len(weights)))
        loss.backward()
        passes.collect_gradients()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        expected = gradient if expected is None else expected
        error = relative_error(gradient, expected)
        seconds = round(time.time() - started, 1)
        found = {"kind": kind, "loss": float(loss.detach()), "rel_error": error, "seconds": seconds}
        yield {"model": name, "length": longest, **found}


def encoder(name: str) -> PreTrainedModel:
    """BERT-base's shape with random weights, or MiniLM with a fresh head."""
    torch.manual_seed(0)
    if name == "minilm" and not DRY:
        return load_masked_lm(CARRIED / "minilm", allow_pickle=False, seed=0)[0]
    tiny = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    return BertForMaskedLM(BertConfig(vocab_size=30_522, attn_implementation="sdpa", **(tiny if DRY else {})))


def adapt_config(arm: str, tokens_per_step: int, steps: int, seed: int = 1) -> AdaptConfig:
    """The options of an adapted arm."""
    return AdaptConfig.build(
        model=str(CARRIED / "minilm"),
        offline=True,
        steps=steps,
        held_out=0,
        learning_rate=3e-4,
        tokens_per_step=tokens_per_step,
        seed=seed,
        checkpoint_every="60m",
        head_warmup_steps=2 if DRY else 100,
        device=DEVICE.type,
        weights="ratio:2" if arm == "mslm" else "uniform",
    )


def waits() -> Iterator[dict[str, Any]]:
    """Count the calls of the first steps in which the host waits for the device, as torch reports them, by place."""
    for n_tokens in (256,) if DRY else (4096, 65_536):
        with _steps(encoder("minilm"), n_tokens, BACKEND if n_tokens > 4096 else "") as steps:
            for _ in islice(steps, 5):  # kernels are chosen
                pass
            if not DRY:
                torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                n_steps = sum(1 for _ in islice(steps, 10))
            if not DRY:
                torch.cuda.set_sync_debug_mode("default")
        places = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message))
        yield {"tokens_per_step": n_tokens, "steps": n_steps, "waits": places.total(), "places": places}


@contextmanager
def _steps(model: PreTrainedModel, n_tokens: int, compile_with: str = "") -> Iterator[Iterator[Any]]:
    """Steps of about ``n_tokens`` random tokens, endlessly, with the functions of `mslm adapt`."""
    prepare_model(model, DEVICE)
    model.train()
    collate_fn = packing.make_collator(model, 0, torch.bfloat16)
    optimizer = make_optimizer(model.named_parameters(), 1e-4, 0.01)
    state = TrainState(model, optimizer, make_schedule(optimizer, 1000, 0.06))
    with gpu.random_data(model, n_tokens, 128, collate_fn) as data:
        update = data.update(data.reader.epoch(0), np.arange(len(data.reader)))
        options = MicrobatchOptions(
            2 * n_tokens, torch.bfloat16, has_copies=True, compile_with=compile_with, reads_late=not DRY
        )
        yield train(state, repeat(update), 1.0, options)


def product() -> Iterator[dict[str, Any]]:
    """`mslm adapt` as users run it, at the default size of a step and at larger ones."""
    for tokens, steps in ((4096, 2), (512, 2)) if DRY else ((4096, 200), (65_536, 60), (16_384, 100)):
        output = SCRATCH / "product"
        shutil.rmtree(output, ignore_errors=True)
        started = time.time()
        adapt.run(CARRIED / "shards-mslm", output, adapt_config("mslm", tokens, steps), RunOptions(overwrite=True))
        records = [r for r in map(json.loads, (output / "metrics.jsonl").open()) if r["phase"] == "adapt"]
        rates = sorted(r["tokens_per_s"] for r in records[1 if DRY else 10 :])
        yield {
            "tokens_per_step": tokens,
            "median": rates[len(rates) // 2],
            "p10": rates[len(rates) // 10],
            "p90": rates[-1 - len(rates) // 10],
            "mfu": sorted(r["mfu"] for r in records)[len(records) // 2],
            "seconds_in_all": round(time.time() - started, 1),
        }


def profile() -> Iterator[str]:
    """Yield a table of the kernels of a step, preceded by the time of a step without the profiler."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    activities = [ProfilerActivity.CPU] + ([] if DRY else [ProfilerActivity.CUDA])
    key = "self_cpu_time_total" if DRY else "self_device_time_total"
    n_steps = 1 if DRY else 5
    for name, n_tokens in (("minilm", 4096), ("minilm", 65_536), ("bert-base", 65_536)):
        with _steps(encoder(name), 256 if DRY else n_tokens) as steps:
            for _ in islice(steps, n_steps):  # kernels are chosen
                pass
            started = time.time()
            for _ in islice(steps, n_steps):
                pass
            duration_s = (time.time() - started) / n_steps
            with profiler(activities=activities) as profiled:
                next(steps)
        kernels = profiled.key_averages()
        yield f"\n### {name} {n_tokens} tokens: {1e3 * duration_s:.2f} ms a step\n"
        yield kernels.table(sort_by=key, row_limit=30, max_name_column_width=60)


def trials() -> Iterator[dict[str, Any]]:
    """The smallest useful study: all labels, three arms, as many seeds as time allows."""
    data = {name: CARRIED / "data" / f"{name}.tsv.gz" for name in ("train", "devel", "test")}
    for seed in range(1, 2) if DRY else count(1):
        for arm in ("vanilla", "word", "mslm"):
            started, work, model = time.time(), SCRATCH / "trials" / f"{arm}-{seed}", CARRIED / "minilm"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            if arm != "vanilla":
                options = adapt_config(arm, 512 if DRY else 4096, 2 if DRY else 240, seed)
                model = adapt.run(CARRIED / f"shards-{arm}", work / "adapted", options)
            adapted = time.time()
            config = FinetuneConfig.build(
                model=str(model),
                offline=True,
                epochs=1 if DRY else 5,
                seed=seed,
                device=DEVICE.type,
                checkpoint_every="60m",
            )
            ner = finetune.run(data["train"], data["devel"], work / "ner", config)
            tuned = time.time()
            sources = evaluate.Sources(ner=ner, data=data["test"])
            evaluate.run(sources, work / "scores", EvalConfig.build(device=DEVICE.type), with_report=False)
            exact = json.loads((work / "scores" / "results.json").read_text())["exact_match"]
            yield {
                "arm": arm,
                "seed": seed,
                "test": {k: exact[k] for k in ("precision", "recall", "f1")},
                "dev_score": json.loads((ner / "manifest.json").read_text())["run"]["dev_score"],
                "adapt_s": round(adapted - started, 1),
                "finetune_s": round(tuned - adapted, 1),
                "all_s": round(time.time() - started, 1),
            }
            shutil.rmtree(work)


def main() -> None:
    """Run the given step and write each finding at once."""
    step, target = sys.argv[1:]
    steps = {"equality": equality, "waits": waits, "product": product, "profile": profile, "trials": trials}
    for finding in steps[step]():
        line = finding if isinstance(finding, str) else json.dumps(finding)
        print(line)
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
