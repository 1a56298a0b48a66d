"""Time and memory of commands over corpora of growing size.

    python benchmarks/scale.py make DATA FOLDER 16 64 512
    python benchmarks/scale.py run FOLDER LINES.jsonl COMMAND SIZE [--workers N] [--ray ADDRESS] [--lexicon LEXICON]
    python benchmarks/scale.py table LINES.jsonl

``make`` writes SIZE/*.txt, files of about 4 MB, from DATA/unlabelled. What is larger than that text repeats it, and in
each pass two fifths of the words of more than six letters get an ending of the pass, so that the vocabulary keeps
growing (2.8 times from 95 to 512 MB). ``run`` appends a line with processor seconds (of the command and its workers,
and of the command alone), wall seconds, and the peak memory of the command and of the largest worker, in MB.
"""

import argparse
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_FILE_BYTES = 4_000_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[A-Za-z]{7,}")
_RUNNER = """
import json, resource, sys
from mslm_cli.__main__ import main
sys.argv[0] = "mslm"
try:
    main()
except SystemExit as end:
    code = end.code
own_peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN)
mine = resource.getrusage(resource.RUSAGE_SELF)
cpu, own = sum((u.ru_utime + u.ru_stime) for u in (mine, workers)), mine.ru_utime + mine.ru_stime
peaks = {"own_mb": own_peak / 1024, "worker_mb": workers.ru_maxrss / 1024}
print("SCALE " + json.dumps({"code": code, "cpu_s": cpu, "own_cpu_s": own, **peaks}))
"""


def documents(data: Path) -> Iterator[str]:
    """The documents of the text, again and again, with words of their own in each pass."""
    for number in count():
        ending = "" if number == 0 else "z" + _LETTERS[number % 26] + _LETTERS[number // 26]

        def varied(found: re.Match[str], ending: str = ending) -> str:
            word = found[0]
            return word + ending if zlib.crc32(word.lower().encode()) % 5 < 2 else word

        for file in sorted((data / "unlabelled").glob("*.gz")):
            for document in gzip.decompress(file.read_bytes()).decode().split("\n\n"):
                if document.strip():
                    yield _WORD.sub(varied, document) if ending else document


def make(data: Path, folder: Path, sizes: list[int]) -> None:
    """Write the corpora; each begins with the smaller ones."""
    for size in sizes:
        (folder / str(size)).mkdir(parents=True)
    waiting: list[str] = []
    n_waiting = n_written = n_files = 0
    for document in documents(data):
        waiting.append(document)
        n_waiting += len(document.encode()) + 2
        if n_waiting < _FILE_BYTES:
            continue
        content = "\n\n".join(waiting) + "\n\n"
        for size in sizes:
            if n_written < size * 1e6:
                (folder / str(size) / f"{n_files:04}.txt").write_text(content, encoding="utf-8")
        n_written, n_files = n_written + n_waiting, n_files + 1
        waiting, n_waiting = [], 0
        if n_written >= max(sizes) * 1e6:
            return


def run(given: argparse.Namespace) -> None:
    """Run one command over one corpus."""
    corpus, output = given.folder / given.size, given.folder / "output"
    for path in (output, output.with_name("output.work")):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    where = ["--ray", given.ray] if given.ray else ["--workers", given.workers]
    options = {
        "extract-terms": ["extract-terms", str(corpus), "--pipeline", "none"],
        "preprocess": ["preprocess", str(corpus), "--lexicon", given.lexicon, "--budget", "0.2", "--dynamic"],
        "match": ["match", str(corpus), "--lexicon", given.lexicon],
        "predict": ["predict", given.lexicon, str(corpus)],
    }[given.command]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, *options, *where, "-o", str(output)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    wall_s = time.perf_counter() - started
    lines = [line for line in done.stdout.splitlines() if line.startswith("SCALE ")]
    if not lines:
        sys.exit(done.stderr)
    n_bytes = sum(file.stat().st_size for file in corpus.iterdir())
    record = {"command": given.command, "mb": n_bytes / 1e6, "where": " ".join(where), "wall_s": wall_s}
    record |= json.loads(lines[0][6:])
    with given.lines.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(record)


def table(lines: Path) -> None:
    """Print the measurements, and exponents between neighbouring sizes."""
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    print("| command | MB | where | CPU s | exponent | of these its own | wall s | own peak, MB | largest worker, MB |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    before: dict[tuple[str, str], tuple[float, float]] = {}
    for r in sorted(records, key=lambda r: (r["command"], r["where"], r["mb"])):
        key, exponent = (r["command"], r["where"]), ""
        if key in before and r["mb"] > before[key][0]:
            exponent = f"{math.log(r['cpu_s'] / before[key][1]) / math.log(r['mb'] / before[key][0]):.2f}"
        before[key] = r["mb"], r["cpu_s"]
        print(
            f"| {r['command']} | {r['mb']:.0f} | {r['where']} | {r['cpu_s']:.0f} | {exponent} |"
            f" {format(r['own_cpu_s'], '.0f') if 'own_cpu_s' in r else ''} | {r['wall_s']:.0f} |"
            f" {r['own_mb']:.0f} | {r['worker_mb']:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("data", type=Path)
    making.add_argument("folder", type=Path)
    making.add_argument("sizes", type=int, nargs="+")
    running = verbs.add_parser("run")
    running.add_argument("folder", type=Path)
    running.add_argument("lines", type=Path)
    running.add_argument("command")
    running.add_argument("size")
    running.add_argument("--workers", default="2")
    running.add_argument("--ray")
    running.add_argument("--lexicon", default="")
    verbs.add_parser("table").add_argument("lines", type=Path)
    given = parser.parse_args()
    if given.verb == "make":
        make(given.data, given.folder, given.sizes)
    elif given.verb == "run":
        run(given)
    else:
        table(given.lines)


if __name__ == "__main__":
    main()
