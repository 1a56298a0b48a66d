"""Speed comparisons: each side is a process that runs some steps on request, in turns."""

import argparse
import json
import multiprocessing
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from mslm_cli import environment

now = time.process_time if "--cpu-time" in sys.argv else time.perf_counter

Steps = Iterator[tuple[int, float]]
"""Real tokens and seconds of one step after the other."""
Work = Callable[[Path, argparse.Namespace], Steps]


def arguments(description: str | None) -> argparse.Namespace:
    """The options of a comparison."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the public corpora")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="fp32", help="mslm's; Trainer has fp32"
    )
    parser.add_argument("--batch-tokens", default="auto", help="mslm's")
    parser.add_argument("--cpu-time", action="store_true", help="count the time of the processor, not of the clock")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def compare(
    sides: Mapping[str, Work], n_steps: Mapping[str, int], folder: Path, given: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Tokens per second of each side in each round, and its peak memory in MiB.

    Args:
        n_steps: steps of each side per round.
        folder: passed to the sides, with the options.
    """
    running = {name: _Side(work, folder, given) for name, work in sides.items()}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(2 if given.quick else given.rounds):
        for name, side in running.items():
            rates[name].append(side.rate(1 if given.quick else n_steps[name]))
        print(number + 1, {n: round(r[-1]) for n, r in rates.items()}, file=sys.stderr)
    return rates, {name: side.stop() for name, side in running.items()}


def report(
    rates: Mapping[str, list[float]], memory: Mapping[str, int], wanted: Mapping[str, float], *, as_json: bool
) -> None:
    """Print the tokens per second of each side, and the ratios of the first to the others, turn by turn."""
    first, *others = rates
    ratios = {s: [m / r for m, r in zip(rates[first], rates[s], strict=True)] for s in others}
    shown = {f"{first}/{s}": median(r) for s, r in ratios.items()}
    shown |= {f"memory {first}/{s}": memory[first] / memory[s] for s in others}
    if as_json:
        print(json.dumps({"ratios": shown, "all": ratios, "tokens_per_s": rates, "memory_mib": memory}))
        return
    print(f"| side | tokens/s, median | range | {first} / side, median | range | wanted | peak memory, MiB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, rate in rates.items():
        speed = f"{median(rate):,.0f} | {min(rate):,.0f} to {max(rate):,.0f}"
        against = "| | "
        if r := ratios.get(name):
            against = f"{median(r):.2f} | {min(r):.2f} to {max(r):.2f} | {wanted.get(name, '')}"
        print(f"| {name} | {speed} | {against} | {memory[name]:,} |")


class _Side:
    def __init__(self, work: Work, folder: Path, given: argparse.Namespace) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(other, work, folder, given), daemon=True)
        self._process.start()
        other.close()
        self.rate(1)  # the first step is slow and does not count

    def rate(self, n_steps: int) -> float:
        """Tokens per second over the next steps."""
        self._pipe.send(n_steps)
        n_tokens, seconds = self._pipe.recv()
        return float(n_tokens / seconds)

    def stop(self) -> int:
        """The peak memory of the process, in MiB."""
        self._pipe.send(0)
        peak: int = self._pipe.recv()
        self._process.join()
        return peak


def _serve(pipe: Connection, work: Work, folder: Path, given: argparse.Namespace) -> None:
    if not work.__name__.startswith("trainer"):
        environment.set_defaults()
    import torch

    torch.set_num_threads(given.threads)
    steps = work(folder, given)
    while n_steps := pipe.recv():
        done = list(islice(steps, n_steps))
        pipe.send((sum(n for n, _ in done), sum(s for _, s in done)))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    pipe.close()
    os._exit(0)


def alone(function: Callable[..., None], *given: Any) -> None:
    """Run ``function`` in a separate process, so that this one, which starts the sides, stays small."""
    process = multiprocessing.Process(target=function, args=given)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{function.__name__} failed")


def timed(steps: Iterator[Any]) -> Steps:
    """The steps of mslm's own loop."""
    while True:
        started = now()
        step = next(steps)
        yield sum(b.n_tokens for b in step.microbatches), now() - started


def trainer_steps(model: Any, rows: list[dict[str, list[int]]], collate: Any, **settings: Any) -> Steps:
    """The steps of transformers' Trainer over ``rows``; its thread waits for a request before each step."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    n_tokens: list[int] = []

    def counted(features: list[dict[str, list[int]]]) -> Any:
        batch = collate(features)
        n_tokens.append(int(batch["attention_mask"].sum()))
        return batch

    asked: queue.Queue[None] = queue.Queue()
    done: queue.Queue[int] = queue.Queue()
    n_gathered = settings.get("gradient_accumulation_steps", 1)

    class Pause(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            last = state.global_step * n_gathered  # batches are prefetched
            done.put(sum(n_tokens[last - n_gathered : last]))
            asked.get()

    chosen = TrainingArguments(
        output_dir="unused",
        max_steps=4000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **settings,
    )
    trainer = Trainer(model=model, args=chosen, train_dataset=rows, data_collator=counted, callbacks=[Pause()])

    def work() -> None:
        asked.get()
        trainer.train()

    threading.Thread(target=work, daemon=True).start()
    while True:
        started = now()
        asked.put(None)
        yield done.get(), now() - started
