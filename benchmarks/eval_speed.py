"""Speed of scoring, compared to seqeval's classification_report.

python benchmarks/eval_speed.py CONLL_FILE... [--quick] [--json]

The gold tags are those in the files, repeated up to 20,000 sentences; in the predicted tags, one in twenty is replaced
at random. Both sides get the same lists of strings and compute precision, recall, F1 and support by type, micro, macro
and weighted; the numbers are compared before timing. The sides take turns, so a busy machine slows both equally; ratios
are of paired turns. Times are CPU times of one thread; for the bootstrap, also wall-clock times.
The bootstrap has 1,000 replicates over the 20,000 sentences: for strict exact match (micro, macro, weighted, every
type), and for everything that `mslm eval` reports (with partial match, slices and lengths), both from mentions on.
"""

import argparse
import json
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.evaluation.exact_match import match_spans
from mslm_cli.evaluation.slices import Slicing, count_by_cluster
from mslm_cli.evaluation.spans import Spans, TagMode, spans_from_tags
from mslm_cli.evaluation.summary import summarise
from mslm_cli.evaluation.uncertainty import averages, intervals, precision_recall_f1, resampled_totals

N_SENTENCES, N_REPLICATES, NOISE = 20_000, 1000, 0.05
AIM = 20.0
Tags = list[list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--quick", action="store_true", help="3 turns in place of 11")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    gold, predicted = noisy_tags(options.files)
    result = measure(gold, predicted, n_turns=3 if options.quick else 11)
    print(json.dumps(result, indent=2) if options.json else table(result))


def noisy_tags(files: Sequence[Path]) -> tuple[Tags, Tags]:
    read = [s for file in files for s in read_labelled(file).sentences]
    gold = [tags_from_mentions(s.mentions, len(s.words)) for s in islice(cycle(read), N_SENTENCES)]
    tags = sorted({tag for sentence in gold for tag in sentence})
    rng = random.Random(0)
    return gold, [[rng.choice(tags) if rng.random() < NOISE else tag for tag in sentence] for sentence in gold]


def measure(gold: Tags, predicted: Tags, n_turns: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # seqeval warns about undefined scores
    readings: dict[TagMode, dict[str, Any]] = {"strict": {"mode": "strict", "scheme": IOB2}, "default": {}}
    result: dict[str, Any] = {
        "n_sentences": len(gold),
        "n_words": sum(map(len, gold)),
        "n_types": len({tag[2:] for sentence in gold for tag in sentence} - {""}),
        "n_turns": n_turns,
        "modes": {},
        "bootstrap": {},
    }
    for reading, options in readings.items():
        theirs = classification_report(gold, predicted, output_dict=True, **options)
        refuse_difference(match_spans(*spans_from_tags(gold, predicted, reading)).to_json(), theirs)
        times: dict[str, list[float]] = {"ours": [], "seqeval": []}
        for _ in range(n_turns):
            times["ours"].append(cpu(lambda r=reading: match_spans(*spans_from_tags(gold, predicted, r)).to_json()))
            times["seqeval"].append(
                cpu(lambda o=options: classification_report(gold, predicted, output_dict=True, **o))
            )
        ratios = [b / a for a, b in zip(times["ours"], times["seqeval"], strict=True)]
        result["modes"][reading] = {
            **{f"{side}_s": spread(values) for side, values in times.items()},
            "ratio": spread(ratios),
        }
    spans = spans_from_tags(gold, predicted)
    for name, work in {"exact match": bootstrap_exact_match, "all scores": bootstrap_all}.items():
        clock = []
        cpu_times = []
        for _ in range(n_turns):
            start = time.perf_counter()
            cpu_times.append(cpu(lambda w=work: w(*spans)))
            clock.append(time.perf_counter() - start)
        result["bootstrap"][name] = {"cpu_s": spread(cpu_times), "clock_s": spread(clock)}
    return result


def refuse_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Exit if any number differs between the two reports by more than 1e-12."""
    rows = {**ours["per_type"], "micro avg": ours, "macro avg": ours["macro"], "weighted avg": ours["weighted"]}
    assert rows.keys() == theirs.keys()
    for name, row in rows.items():
        for share, other in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert abs(row[share] - theirs[name][other]) < 1e-12, (name, share, row[share], theirs[name][other])


def bootstrap_exact_match(gold: Spans, predicted: Spans) -> None:
    by_type = Slicing(gold.types, gold.type_ids, predicted.type_ids)
    counts = count_by_cluster(gold, predicted, np.arange(gold.n_sentences), by_type)
    totals = resampled_totals(counts.reshape(len(counts), -1), N_REPLICATES, np.random.default_rng(0))
    of_types = totals.reshape(N_REPLICATES, -1, 3)
    for replicates in (
        precision_recall_f1(of_types.sum(axis=1)),
        *averages(of_types),
        *np.moveaxis(precision_recall_f1(of_types), 1, 0),
    ):
        intervals(replicates)


def bootstrap_all(gold: Spans, predicted: Spans) -> None:
    clusters = np.arange(gold.n_sentences)
    summarise(gold, predicted, clusters, slicings={}, scores=None, n_replicates=N_REPLICATES, seed=0)


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['n_sentences']:,} sentences, {result['n_words']:,} words, {result['n_types']} types;"
        f" {result['n_turns']} turns, median (range)",
        "",
        "| seqeval's mode | seqeval, s | mslm, s | ratio |",
        "|---|---|---|---|",
    ]
    for name, of in result["modes"].items():
        lines.append(f"| {name} | {shown(of['seqeval_s'])} | {shown(of['ours_s'])} | {shown(of['ratio'], 0)} |")
    lines += ["", "| 1,000 replicates of | CPU, s | clock, s |", "|---|---|---|"]
    lines += [f"| {n} | {shown(of['cpu_s'])} | {shown(of['clock_s'])} |" for n, of in result["bootstrap"].items()]
    return "\n".join(lines)


def shown(of: dict[str, float], digits: int = 3) -> str:
    return f"{of['median']:.{digits}f} ({of['low']:.{digits}f} to {of['high']:.{digits}f})"


if __name__ == "__main__":
    main()
