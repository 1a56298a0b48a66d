"""The tables of few_labels.md, with intervals, from what device/few_labels.py wrote.

    python benchmarks/few_labels_table.py FOLDER PREDICTIONS.jsonl.gz [--chart TARGET FILE.svg]

FOLDER comes from device/few_labels_data.py. Differences to vanilla and to more-updates over the seeds that both arms
have, with 95 % intervals that account for seeds and test sentences. In bold: p below 0.05 after Holm, over all arms of
a data set. --chart draws a target's F1 over its labelled sentences, from the lines of device/few_labels.jsonl.
"""

import argparse
import gzip
import json
import shutil
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mslm_cli.config import FinetuneConfig
from mslm_cli.evaluation.arm_scores import Estimate
from mslm_cli.evaluation.comparison import holm
from mslm_cli.evaluation.label_efficiency import Cell, LabelEfficiency, Labelled
from mslm_cli.reporting import charts
from mslm_cli.reporting.label_efficiency import learning_curves
from mslm_cli.tasks.ner import NER

TARGETS = ("NCBI-disease", "BC5CDR-chem", "BC2GM", "linnaeus")
NAMES = {"vanilla": "vanilla", "word": "word", "mslm": "mslm", "same": "transfer", "mslm+same": "mslm, then transfer"}
"""Of the arms in the chart."""
ARMS = ("word", "mslm", "same", "mslm+same", "other", "mask-words", "silver", "mslm+same+silver", "more-updates")


def read(file: Path) -> dict[tuple[str, float], dict[str, dict[int, set[tuple[int, int, int]]]]]:
    """The mentions that each trial found, by target and share, arm, and seed."""
    found: dict[Any, Any] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            found[line["target"], line["share"]][line["arm"]][line["seed"]] = set(map(tuple, line["mentions"]))
    return found


def counts(gold: set[tuple[int, int, int]], found: set[tuple[int, int, int]], n: int) -> np.ndarray:
    """Gold, predicted and correct mentions of each sentence: float64 [n, 3]."""
    rows = np.zeros((n, 3))
    for column, mentions in enumerate((gold, found, gold & found)):
        np.add.at(rows[:, column], [i for i, _, _ in mentions], 1)
    return rows


def text(of: Estimate, p: float) -> str:
    value, low, high = (100 * x for x in (of.value, of.low, of.high))
    return f"{'**' * (p < 0.05)}{value:+.1f}{'**' * (p < 0.05)} ({low:+.1f} to {high:+.1f})"


def draw(target: str, folder: Path, file: Path) -> None:
    """The label-efficiency chart of a target."""
    results = Path(__file__).parent / "device" / "few_labels.jsonl"
    f1: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
        if line["target"] == target and "test" in line and line["arm"] in NAMES:
            f1[line["share"]][line["arm"]].append(line["test"]["f1"])
    data = [folder / "data" / f"{target}-{part}.tsv.gz" for part in ("train", "devel")]
    sizes = [gzip.decompress(path.read_bytes()).decode().strip("\n").count("\n\n") + 1 for path in data]
    shares = []
    for share, arms in sorted(f1.items()):
        n_labelled = sum(
            n if share == 1 else 10 * -(-max(least, share * n) // 10) for n, least in zip(sizes, (0, 50), strict=True)
        )
        shown = {NAMES[arm]: {"f1": {"value": np.mean(of)}, "f1_of_seeds": of} for arm, of in arms.items()}
        shares.append({"n_labelled": n_labelled, "arms": shown})
    plan = learning_curves({"shares": shares}, "strict F1 on test", "vanilla", NAMES["mslm+same"])
    with TemporaryDirectory() as made:
        charts.draw([(file.stem, target, "", plan)], Path(made))
        shutil.copyfile(Path(made) / file.name, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--chart", nargs=2, metavar=("TARGET", "FILE"))
    given = parser.parse_args()
    if given.chart:
        draw(given.chart[0], given.folder, Path(given.chart[1]))
    else:
        tables(given.folder, given.predictions)


def tables(folder: Path, predictions: Path) -> None:
    """Print the tables."""
    found = read(predictions)
    for share in sorted({share for _, share in found}):
        for reference in ("vanilla", "more-updates"):
            print(f"\n{100 * share:g} % of the labels, against {reference}\n")
            arms = [a for a in (*ARMS, "vanilla") if any(a in found[t, share] for t in TARGETS) and a != reference]
            print(f"| data | {reference} | {' | '.join(arms)} |\n|---|--:|{'--:|' * len(arms)}")
            for target in TARGETS:
                if reference not in found[target, share]:
                    continue
                corpus = NER.read(folder / "data" / f"{target}-test.tsv.gz", FinetuneConfig.build())
                gold = {(i, start, end) for i, s in enumerate(corpus.sentences) for start, end, _ in s.mentions}
                n = len(corpus.sentences)
                cells = [
                    Cell(arm, share, tuple(sorted(of)), np.stack([counts(gold, of[s], n) for s in sorted(of)]))
                    for arm, of in found[target, share].items()
                ]
                scores = LabelEfficiency(cells, {share: Labelled(1, 1)}, reference)
                differences = {arm: scores.difference(arm, reference, share) for arm in arms}
                known = {arm: d for arm, d in differences.items() if d is not None}
                corrected = dict(zip(known, holm([d.p for d in known.values()]), strict=True))
                own = next(c for c in cells if c.arm == reference)
                row = [
                    f"{text(known[a], corrected[a])} [{len(set(found[target, share][a]) & set(own.seeds))}]"
                    if a in known
                    else ""
                    for a in arms
                ]
                print(f"| {target} | {100 * own.f1:.2f} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
