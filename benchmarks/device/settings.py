"""The cells of defaults.py and adaptation_rates.py on one GPU, as many as time allows, most wanted first.

    python benchmarks/device/settings.py FOLDER OUT [SECONDS]

FOLDER holds minilm, data/CORPUS/PART.tsv.gz, and cells/SIZE/STRATEGY, the shards that adaptation_rates.py makes on a
machine with spaCy. OUT gets defaults.jsonl and rates.jsonl, in order of completion. On a GPU, 12 processes share it;
the settings tuned by hand run on 4 cores of the CPU. DRY=1 runs one cell of each kind on a CPU.
"""

import multiprocessing as mp
import os
import sys
import time
from pathlib import Path

from few_labels import claim, write_line

sys.path.insert(0, str(Path(__file__).parents[1]))

CORPORA = ("NCBI-disease", "BC5CDR-chem", "linnaeus")
SETTINGS = ("run_ner", "auto", "old")


def defaults(sizes: tuple[str, ...], seeds: tuple[int, ...]) -> list[str]:
    return [f"{c}:{size}:{seed}:{s}" for seed in seeds for size in sizes for c in CORPORA for s in SETTINGS]


TUNED = [
    f"NCBI-disease:600:1:{setting}"
    for setting in ("auto", *(f"256/{n}/{rate}" for n in (5, 10, 20) for rate in ("1e-4", "2e-4", "4e-4")))
] + ["NCBI-disease:600:1:128/10/2e-4", "NCBI-disease:600:1:512/10/2e-4", "NCBI-disease:600:1:512/20/4e-4"]


def rates() -> list[str]:
    """Cells of adaptation_rates.py."""
    small = [("300k", "1M"), ("30k", "300k")]
    strategies = ("word", "mslm", "span")
    found = [f"3M:{s}:3M:4096:{rate}" for rate in ("6e-4", "3e-4", "1e-3") for s in strategies]
    found += [f"{n}:{s}:{t}:4096:{rate}" for rate in ("6e-4", "3e-4", "1e-3") for n, t in small for s in strategies]
    found += ["3M:word:3M:4096:6e-4:0.8", "300k:word:1M:4096:6e-4:0.8", "3M:word:3M:4096:1e-4"]
    return found + [f"{n}:word:{t}:1024:{rate}" for rate in ("3e-4", "1e-4", "6e-4") for n, t in small]


def on_gpu() -> list[tuple[str, str]]:
    """The kind of each cell and the cell: those that take long first."""
    parts = [
        ("defaults", defaults(("all",), (1,))),
        ("rates", rates()[:9]),
        ("defaults", defaults(("3000", "900", "300", "100"), (1,))),
        ("rates", rates()[9:]),
        ("defaults", defaults(("900", "300", "100"), (2, 3))),
    ]
    return [(kind, cell) for kind, cells in parts for cell in cells]


def worker(device: str, cells: list[tuple[str, str]], folder: Path, out: Path, end: float) -> None:
    """Do the first cell that nobody has begun, again and again until ``end``."""
    import adaptation_rates
    from defaults import measure

    model = str(folder / "minilm")
    for kind, cell in cells:
        if time.time() > end or not claim(folder / "claims" / cell.replace("/", "-")):
            continue
        began = time.time()
        try:
            if kind == "defaults":
                found = measure(folder / "data", cell, model, device)
            else:
                found = adaptation_rates.run(cell, Path(), folder / "cells", model=model)
        except Exception as error:  # reported as a result: the other cells go on
            found = {"error": repr(error)}
        write_line(out / f"{kind}.jsonl", {"cell": cell, **found, "seconds": round(time.time() - began, 1)})


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    end = time.time() + float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    (folder / "claims").mkdir()
    tuned = [("defaults", cell) for cell in TUNED]
    groups = [("cuda", on_gpu())] * 12 + [("cpu", tuned)] * 4
    if os.environ.get("DRY"):
        groups = [("cpu", [("defaults", "NCBI-disease:100:1:auto"), ("rates", "30k:word:20k:1024:6e-4")])]
    context = mp.get_context("spawn")
    args = (folder, out, end)
    workers = [context.Process(target=worker, args=(*group, *args), daemon=True) for group in groups]
    for process in workers:
        process.start()
    for process in workers:  # a cell under way at the end is given up
        process.join(None if end == float("inf") else max(0.0, end + 5 - time.time()))


if __name__ == "__main__":
    main()
