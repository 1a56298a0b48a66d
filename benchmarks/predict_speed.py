"""Speed of `mslm predict`, compared to transformers' token-classification pipeline.

python benchmarks/predict_speed.py NER NCBI-disease/devel.tsv.gz [--quick] [--json]

NER is an artifact of `mslm finetune`. Both sides find mentions in the same sentences of raw text (the words of the
file, joined by spaces), with the same weights in fp32, on CPU with the same number of threads. mslm reads them from a
file, one per line, splits them into sentences and words, and makes JSON lines; the pipeline gets a list of strings,
with its fastest batch size on this machine (each of --batch-sizes is tried once after a warm-up turn) and the
aggregation strategy that treats words like mslm ("first"). The sides take turns, so a busy machine slows both equally;
ratios are of paired turns. Time is CPU time, which with one thread on an idle machine equals wall-clock time; --wall
measures the latter.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from mslm_cli import artifacts, models
from mslm_cli.config import PredictConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.stages import predict
from mslm_cli.tasks.trained import load_trained

AIM = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ner", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--mkl", action="store_true", help="ours without oneDNN, as torch multiplies by default")
    parser.add_argument("--wall", action="store_true", help="measure the clock in place of CPU time")
    parser.add_argument("--quick", action="store_true", help="200 sentences, 3 turns, 4 batch sizes")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.quick:
        options.sentences, options.turns, options.batch_sizes = 200, 3, [1, 4, 8, 16]
    result = measure(options)
    print(json.dumps(result, indent=2) if options.json else table(result))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    sentences = [" ".join(s.words) for s in read_labelled(options.data).sentences[: options.sentences]]
    ner = artifacts.load(options.ner, "ner")
    config = PredictConfig(one_per_line=True, format="text", device="cpu", threads=options.threads)
    model = load_trained(ner, config)
    default = "highest"  # torch's setting applies to the process, which runs both sides
    own = default if options.mkl else torch.get_float32_matmul_precision()
    split_words = predict.word_splitter(ner, "auto")
    models.quiet_transformers()
    tagger = pipeline("token-classification", model=str(options.ner), aggregation_strategy="first", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sentences.txt")
        file.write_text("\n".join(sentences) + "\n", encoding="utf-8")

        def ours() -> int:
            torch.set_float32_matmul_precision(own)
            rounds = predict.predict([file], model, config, split_words)
            return "".join(predict.render(rounds, model.types, predict.Result("json"))).count("\n")

        def theirs(batch_size: int) -> int:
            torch.set_float32_matmul_precision(default)
            return sum(map(len, tagger(sentences, batch_size=batch_size)))

        clock = time.perf_counter if options.wall else time.process_time
        n_ours, n_theirs = ours(), theirs(options.batch_sizes[0])
        tried = {size: seconds(clock, lambda n=size: theirs(n)) for size in options.batch_sizes}
        best = min(tried, key=tried.__getitem__)
        turns = [(seconds(clock, ours), seconds(clock, lambda: theirs(best))) for _ in range(options.turns)]
    rates = {"mslm predict": [t for t, _ in turns], "pipeline": [t for _, t in turns]}
    n = len(sentences)
    return {
        "n_sentences": n,
        "threads": options.threads,
        "clock": "wall" if options.wall else "cpu",
        "mentions": {"mslm predict": n_ours, "pipeline": n_theirs},
        "pipeline_sentences_per_s_by_batch_size": {str(s): round(n / taken, 1) for s, taken in tried.items()},
        "best_batch_size": best,
        "sentences_per_s": {name: spread([n / t for t in taken]) for name, taken in rates.items()},
        "ratio": spread([theirs_s / ours_s for ours_s, theirs_s in turns]),
        "aim": AIM,
    }


def seconds(clock: Callable[[], float], work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(result: dict[str, Any]) -> str:
    tried = ", ".join(f"{size}: {rate:g}" for size, rate in result["pipeline_sentences_per_s_by_batch_size"].items())
    rows = [
        "| | sentences/s, median (range) | times the pipeline, median (range) | mentions |",
        "|---|---|---|---|",
        f"| pipeline, batch size {result['best_batch_size']} | {shown(result['sentences_per_s']['pipeline'], 1)} | 1"
        f" | {result['mentions']['pipeline']} |",
        f"| mslm predict | {shown(result['sentences_per_s']['mslm predict'], 1)} | {shown(result['ratio'], 2)}"
        f" | {result['mentions']['mslm predict']} |",
    ]
    lead = f"{result['n_sentences']} sentences, {result['threads']} thread(s), {result['clock']} time; aim {AIM}"
    return "\n".join([lead, f"pipeline by batch size, sentences/s: {tried}", "", *rows])


def shown(of: dict[str, float], digits: int) -> str:
    return f"{of['median']:.{digits}f} ({of['low']:.{digits}f} to {of['high']:.{digits}f})"


if __name__ == "__main__":
    main()
