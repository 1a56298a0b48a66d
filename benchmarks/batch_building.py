"""Speed of building microbatches of masked sequences, without a model.

    python benchmarks/batch_building.py [--max-tokens N] [--against CHECKOUT] [--quick] [--json]

Synthetic shards with stored masks: sequences of 64 to 128 tokens, 15 % of them predicted. A step has 65,536 tokens, in
microbatches of at most --max-tokens tokens (default: the whole step, as on a GPU). Timed: reading the rows and masks of
a step, applying the masks, and collating each microbatch (padded, then packed) into numpy arrays. One process, one
thread; tokens are counted without padding.

--against also measures another checkout of this project, in its own process; the sides take turns, and ratios are of
adjacent turns. Checkouts from before microbatches were objects are measured with the functions they had.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

TOKENS_PER_STEP, N_STEPS, RATE, VOCABULARY, LONGEST = 65_536, 40, 0.15, 30_000, 128
LAYOUTS = ("padded", "packed")


def main() -> None:
    given = _arguments()
    if given.serve:
        serve(given.serve, given.max_tokens)
        return
    sides = {"this checkout": Path(__file__).resolve().parents[1]}
    sides |= {"against": given.against.resolve()} if given.against else {}
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), N_STEPS * TOKENS_PER_STEP, LONGEST)
        running = {name: start(root, Path(folder), given.max_tokens) for name, root in sides.items()}
        rates: dict[str, dict[str, list[float]]] = {name: {layout: [] for layout in LAYOUTS} for name in sides}
        for _ in range(3 if given.quick else 15):
            for name, process in running.items():
                for layout, rate in turn(process).items():
                    rates[name][layout].append(rate)
        for process in running.values():
            process.communicate()
    report(rates, as_json=given.json)


def report(rates: dict[str, dict[str, list[float]]], *, as_json: bool) -> None:
    """Print median and range over the turns, and the ratios of adjacent turns."""
    found = {name: {layout: _spread(values) for layout, values in of.items()} for name, of in rates.items()}
    if "against" in rates:
        pairs = {
            layout: zip(rates["this checkout"][layout], rates["against"][layout], strict=True) for layout in LAYOUTS
        }
        found["ratio"] = {layout: _spread([a / b for a, b in of]) for layout, of in pairs.items()}
    if as_json:
        print(json.dumps(found))
        return
    for name, of in found.items():
        for layout, (middle, low, high) in of.items():
            scale, unit = (1, "times") if name == "ratio" else (1e6, "million tokens/s")
            print(f"{name}, {layout}: {middle / scale:.2f} {unit} ({low / scale:.2f} to {high / scale:.2f})")


def _spread(values: list[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def write_shards(folder: Path, n_tokens: int, longest: int) -> None:
    """Write random sequences of ``longest`` / 2 to ``longest`` tokens and masks, as ``mslm preprocess`` does."""
    import numpy as np

    from mslm_cli.masking.batch import Masks, RaggedBatch
    from mslm_cli.masking.shards import Sequences, write_masks, write_sequences

    rng = np.random.default_rng(0)
    lengths = rng.integers(longest // 2, longest + 1, size=round(n_tokens / (0.75 * longest)))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n_rows, n_tokens = len(lengths), int(offsets[-1])
    nothing = np.zeros(n_rows + 1, np.int64)
    batch = RaggedBatch(
        offsets,
        rng.integers(1000, VOCABULARY, n_tokens).astype(np.int32),
        np.arange(n_tokens, dtype=np.int32),
        np.empty((0, 2), np.int32),
        np.empty(0, np.int32),
        nothing,
        np.empty(0, np.int32),
        nothing,
        np.arange(n_rows),
    )
    predicted = np.flatnonzero(rng.random(n_tokens) < RATE)
    masks = Masks(
        np.searchsorted(predicted, offsets),
        batch.position[predicted],
        rng.integers(1, 3, len(predicted)).astype(np.uint8),
        np.full(len(predicted), 4, np.int32),
    )
    write_sequences(folder, 0, Sequences(batch, np.zeros(n_rows, np.int32)))
    write_masks(folder, 0, 0, masks)


def start(root: Path, shards: Path, max_tokens: int) -> "subprocess.Popen[str]":
    """Start this script as a server of turns, with the code in ``root``."""
    command = [sys.executable, __file__, "--serve", str(shards), "--max-tokens", str(max_tokens)]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def turn(process: "subprocess.Popen[str]") -> dict[str, float]:
    """One turn of a side: tokens per second, by layout."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def serve(shards: Path, max_tokens: int) -> None:
    """Measure once for every line on standard input."""
    import numpy as np

    from mslm_cli.masking.shards import ShardReader

    reader = ShardReader(shards)
    order = np.random.default_rng(1).permutation(len(reader))
    ends = np.searchsorted(np.cumsum(reader.lengths[order]), np.arange(1, N_STEPS) * TOKENS_PER_STEP)
    steps = np.split(order, ends)
    build = {layout: builder(reader, layout) for layout in LAYOUTS}
    for _ in sys.stdin:
        rates = {}
        for layout, of_step in build.items():
            started = time.perf_counter()
            for sequences in steps:
                of_step(sequences, max_tokens)
            rates[layout] = int(reader.lengths.sum()) / (time.perf_counter() - started)
        print(json.dumps(rates), flush=True)


def builder(reader: Any, layout: str) -> Callable[[Any, int], object]:
    """The function that builds the microbatches of a step, with the imported code."""
    import torch

    from mslm_cli.masking.weights import kind_weights
    from mslm_cli.training import batching, masked, packing

    weights, masks, cpu = kind_weights("ratio:2", 1, 1), reader.epoch(0), torch.device("cpu")
    if hasattr(masked, "MaskedData"):
        pack = batching.pack if hasattr(batching, "pack") else packing.pack  # where it was before
        collate_fn = partial(batching.pad, pad_id=0) if layout == "padded" else pack
        data = masked.MaskedData(reader, weights, masked.Objectives(), collate_fn, cpu)
        return lambda sequences, most: data.update(masks, sequences).arrays(most)
    make = getattr(masked, "masked_step", None) or masked.masked_update
    model = SimpleNamespace(device=cpu, base_model=SimpleNamespace(get_submodule=lambda _: None))
    lengths = reader.lengths.astype("int64")
    padded, packed = partial(batching.pad, pad_id=0, device=cpu), partial(packing.pack, model=model, with_mask=False)
    collate_fn = padded if layout == "padded" else packed
    return lambda sequences, most: make(reader, masks, sequences, lengths, weights, collate_fn)(most)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-tokens", type=int, default=2 * TOKENS_PER_STEP, help="most tokens in a microbatch")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout to measure as well")
    parser.add_argument("--quick", action="store_true", help="3 turns in place of 15")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
