"""How fast `mslm adapt` is, against transformers' Trainer and against its own matrix products timed alone.

    python benchmarks/adapt_speed.py DATA [--threads N] [--precision auto|fp32|bf16] [--cpu-time] [--quick] [--json]

DATA holds the public corpora; the text is the training split of NCBI-disease, the encoder MiniLM. All sides have the
same recipe: dropout 0.1, 15 % of the tokens predicted (80/10/10), about 4096 tokens per update, AdamW, gradients
clipped to 1. What is counted is real tokens, special ones included, padding not, a second.

a  Trainer as run_mlm.py --line_by_line sets it up by default: every sentence a sequence, batches of 8 in random order,
   padded to the longest of the batch (that script pads to the full length only with --pad_to_max_length).
b  The same without --line_by_line: text in blocks of 128 tokens (group_texts), 8 a batch.
   Both gather batches (gradient accumulation) until an update has as many tokens as mslm's.
c  The floor: every matrix product that mslm's updates consist of, forward and both backward ones, with the same
   operands' shapes and layouts, and nothing else; multiplied as torch does by default.
d  The same, multiplied as mslm has torch do it (oneDNN): a higher bar than (c) where the processor is AMD's.

Each side is a process of its own; they take turns. Given are the median and the range of the ratios of neighbouring
turns, and the most memory that each process ever held.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mslm_cli import environment

Segments = Iterator[tuple[int, float]]
"""Tokens and seconds of one update after the other."""

now = time.process_time if "--cpu-time" in sys.argv else time.perf_counter

N_TOKENS, BLOCK, BATCH, RATE = 4096, 128, 8, 0.15
TARGETS = {"a": 4.5, "b": 1.9, "c": 0.78, "memory": 0.5}


def main() -> None:
    arguments = _arguments()
    text = arguments.data / "NCBI-disease" / "train.tsv.gz"
    n_rounds, n_updates = (2, {"mslm": 2, "a": 1, "b": 1, "c": 1, "d": 1}) if arguments.quick else (
        arguments.rounds, {"mslm": 4, "a": 2, "b": 2, "c": 2, "d": 2}
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        _alone(_preprocess, text, Path(folder, "shards"))
        sides = {name: _Side(work, Path(folder), text, arguments) for name, work in SIDES.items()}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(n_rounds):
            for name, side in sides.items():
                rates[name].append(side.rate(n_updates[name]))
            print(number + 1, {n: round(r[-1]) for n, r in rates.items()}, file=sys.stderr)
        memory = {name: side.stop() for name, side in sides.items()}
    report(rates, memory, as_json=arguments.json)


def report(rates: dict[str, list[float]], memory: dict[str, int], *, as_json: bool) -> None:
    """Print the tokens a second of each side, and the ratios to mslm's turn of the same round."""
    ratios = {s: [m / r for m, r in zip(rates["mslm"], rates[s], strict=True)] for s in "abcd"}
    shown = {f"mslm/{s}": median(r) for s, r in ratios.items()} | {"memory mslm/a": memory["mslm"] / memory["a"]}
    if as_json:
        print(json.dumps({"ratios": shown, "all": ratios, "tokens_per_s": rates, "memory_mib": memory}))
        return
    print("| side | tokens/s, median | range | mslm / side, median | range | wanted | peak memory, MiB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, rate in rates.items():
        ratio = ratios.get(name)
        against = (
            f"{median(ratio):.2f} | {min(ratio):.2f} to {max(ratio):.2f} | {TARGETS.get(name, '')}"
            if ratio
            else " | | "
        )
        speed = f"{median(rate):,.0f} | {min(rate):,.0f} to {max(rate):,.0f}"
        print(f"| {name} | {speed} | {against} | {'' if name in 'cd' else f'{memory[name]:,}'} |")
    print(f"\nPeak memory: {shown['memory mslm/a']:.2f} of that of (a); wanted: at most {TARGETS['memory']}.")


class _Side:
    """A process that does some updates when it is asked to."""

    def __init__(self, work: Callable[..., Segments], folder: Path, text: Path, arguments: argparse.Namespace) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(other, work, folder, text, arguments), daemon=True)
        self._process.start()
        other.close()
        self.rate(1)  # the first update is slow and not counted

    def rate(self, n_updates: int) -> float:
        """Tokens a second over the next updates."""
        self._pipe.send(n_updates)
        n_tokens, seconds = self._pipe.recv()
        return float(n_tokens / seconds)

    def stop(self) -> int:
        """The most memory that the process held, in MiB."""
        self._pipe.send(0)
        peak: int = self._pipe.recv()
        self._process.join()
        return peak


def _serve(
    pipe: Connection, work: Callable[..., Segments], folder: Path, text: Path, arguments: argparse.Namespace
) -> None:
    if work not in (line_by_line, blocks):
        environment.set_defaults()
    import torch

    torch.set_num_threads(arguments.threads)
    updates = work(folder, text, arguments)
    while n_updates := pipe.recv():
        done = list(islice(updates, n_updates))
        pipe.send((sum(n for n, _ in done), sum(s for _, s in done)))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    pipe.close()
    os._exit(0)


def _alone(function: Callable[..., None], *given: Any) -> None:
    """Run ``function`` in a process of its own, so that this one stays small."""
    process = multiprocessing.Process(target=function, args=given)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the shards could not be made")


def _preprocess(text: Path, shards: Path) -> None:
    from mslm_cli.config import PreprocessConfig
    from mslm_cli.stages import preprocess

    config = PreprocessConfig.build(strategy="token", rate=RATE, max_length=BLOCK, offline=True)
    preprocess.run([text], shards, config, lexicon=None)


def mslm_updates(folder: Path, text: Path, arguments: argparse.Namespace) -> Segments:
    """The updates of `mslm adapt`, by its own functions."""
    from mslm_cli.stages.adapt import training_steps

    steps = training_steps(*_adapting(folder, arguments))
    while True:
        started = now()
        step = next(steps)
        yield sum(b.n_tokens for b in step.batches), now() - started


def _adapting(folder: Path, arguments: argparse.Namespace) -> tuple[Any, ...]:
    """What ``training_steps`` wants."""
    from mslm_cli import allocator, models
    from mslm_cli.config import AdaptConfig, PreprocessConfig
    from mslm_cli.masking.recipe import open_masks
    from mslm_cli.masking.shards import ShardReader
    from mslm_cli.masking.weights import kind_weights
    from mslm_cli.stages.adapt import Phase, new_trainee
    from mslm_cli.training.device import pick, place
    from mslm_cli.training.model import load_masked_lm

    allocator.keep_freed_memory()
    config = AdaptConfig.build(
        tokens_per_update=N_TOKENS,
        epochs=100,
        offline=True,
        precision=arguments.precision,
        batch_tokens=arguments.batch_tokens,
    )
    encoder = models.resolve(config.model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder)
    masks = open_masks(ShardReader(folder / "shards"), PreprocessConfig.build(strategy="token", rate=RATE), tokenizer)
    masks.prepare(config.epochs)
    model, _ = load_masked_lm(encoder, allow_pickle=False, seed=0)
    place(model, pick(config.device, threads=arguments.threads))
    phase = Phase("adapt", 4000, kind_weights("uniform", 1, 1))
    return new_trainee(model, phase, config), phase, masks, config, tokenizer


def line_by_line(folder: Path, text: Path, arguments: argparse.Namespace) -> Segments:
    """The updates of Trainer with sentences as they come."""
    tokenizer = _tokenizer()
    rows = tokenizer(_sentences(text), truncation=True, max_length=BLOCK, return_special_tokens_mask=True)
    return _trainer_updates([{k: rows[k][i] for k in rows} for i in range(len(rows["input_ids"]))], tokenizer)


def blocks(folder: Path, text: Path, arguments: argparse.Namespace) -> Segments:
    """The updates of Trainer with blocks of one length; as in run_mlm.py, 1000 sentences are joined at a time."""
    tokenizer = _tokenizer()
    sentences = _sentences(text)
    made = []
    for first in range(0, len(sentences), 1000):
        rows = tokenizer(sentences[first : first + 1000], return_special_tokens_mask=True)
        joined = {k: list(chain.from_iterable(rows[k])) for k in rows}
        n_blocks = len(joined["input_ids"]) // BLOCK
        made += [{k: v[i * BLOCK : (i + 1) * BLOCK] for k, v in joined.items()} for i in range(n_blocks)]
    return _trainer_updates(made, tokenizer)


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    from mslm_cli import models

    tokenizer = AutoTokenizer.from_pretrained(models.resolve("minilm", offline=True, allow_pickle=False))
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = 512
    return tokenizer


def _sentences(text: Path) -> list[str]:
    with gzip.open(text, "rt", encoding="utf-8") as lines:
        sentences = "".join(line.split("\t")[0] + " " if line.strip() else "\n" for line in lines).split("\n")
    return [s.strip() for s in sentences if s.strip()]


def _trainer_updates(rows: list[dict[str, list[int]]], tokenizer: Any) -> Segments:
    """The updates of Trainer over ``rows``; between two of them it waits, in a thread of its own, to be asked."""
    import queue
    import threading

    import torch
    from transformers import (
        AutoModelForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from mslm_cli import models

    n_per_row = sum(len(row["input_ids"]) for row in rows) / len(rows)
    n_gathered = round(N_TOKENS / n_per_row / BATCH)
    collate = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=RATE)
    n_tokens: list[int] = []

    def counted(features: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = collate(features)
        n_tokens.append(int(batch["attention_mask"].sum()))
        return batch

    asked: queue.Queue[None] = queue.Queue()
    done: queue.Queue[int] = queue.Queue()

    class Pause(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            last = state.global_step * n_gathered  # batches are fetched ahead
            done.put(sum(n_tokens[last - n_gathered : last]))
            asked.get()

    settings = TrainingArguments(
        output_dir="unused",
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=n_gathered,
        max_steps=4000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    model = AutoModelForMaskedLM.from_pretrained(models.resolve("minilm", offline=True, allow_pickle=False))
    trainer = Trainer(model=model, args=settings, train_dataset=rows, data_collator=counted, callbacks=[Pause()])

    def work() -> None:
        torch.set_num_threads(torch.get_num_threads())
        asked.get()
        trainer.train()

    threading.Thread(target=work, daemon=True).start()
    while True:
        started = now()
        asked.put(None)
        yield done.get(), now() - started


def products_by_default(folder: Path, text: Path, arguments: argparse.Namespace) -> Segments:
    """The matrix products of some of mslm's updates, replayed as torch multiplies by default."""
    return products(folder, text, arguments, "highest")


def products(folder: Path, text: Path, arguments: argparse.Namespace, float32: str = "") -> Segments:
    """The matrix products of some of mslm's updates, replayed.

    Args:
        float32: torch's setting of how exact they are; that of mslm if not given.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from mslm_cli.stages.adapt import training_steps

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

    steps = training_steps(*_adapting(folder, arguments))
    recorded = []
    for _ in range(4):
        with Recorder() as recorder:
            step = next(steps)
        recorded.append((sum(b.n_tokens for b in step.batches), recorder.seen))
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


SIDES: dict[str, Callable[..., Segments]] = {
    "mslm": mslm_updates,
    "a": line_by_line,
    "b": blocks,
    "c": products_by_default,
    "d": products,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the public corpora")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="fp32", help="of mslm; Trainer has fp32"
    )
    parser.add_argument("--batch-tokens", default="auto", help="of mslm")
    parser.add_argument("--cpu-time", action="store_true", help="count the time of the processor, not of the clock")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
