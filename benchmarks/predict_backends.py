"""Speed and F1 of the backends and precisions of `mslm predict`, compared to torch in fp32.

python benchmarks/predict_backends.py NER NCBI-disease/test.tsv.gz [--sentences 400] [--turns 5] [--json]

NER is an artifact of `mslm finetune`. Every backend predicts the same sentences with the same weights on CPU, with the
same number of threads, in turns in one process; exports are made before. Time is CPU time of the prediction,
tokenisation included, loading not. F1 is strict, on all sentences of the file, in percent, as is the share of words
whose tag differs from that of torch in fp32. bf16 is tried where the processor has instructions for it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mslm_cli import artifacts, console
from mslm_cli.config import PredictConfig
from mslm_cli.corpus.predictions import PredictedSentence
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import UnavailableError
from mslm_cli.tasks.trained import TrainedModel, load_trained

SIDES = {
    "torch, fp32": {"backend": "torch"},
    "torch, bf16": {"backend": "torch", "precision": "bf16"},
    "onnx, fp32": {"backend": "onnx"},
    "onnx, int8": {"backend": "onnx", "precision": "int8"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ner", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sentences", type=int, default=400, help="to time; F1 is on all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    console.configure(quiet=True)
    result = measure(options)
    print(json.dumps(result, indent=2) if options.json else table(result))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    ner = artifacts.load(options.ner, "ner")
    corpus = read_labelled(options.data)
    words = [sentence.words for sentence in corpus.sentences]
    models: dict[str, TrainedModel] = {}
    for name, chosen in SIDES.items():
        try:
            models[name] = load_trained(ner, PredictConfig.build(device="cpu", threads=options.threads, **chosen))
        except UnavailableError as error:
            print(f"{name}: {error}")
    predicted = {name: model.predict(words) for name, model in models.items()}
    timed = words[: options.sentences]
    turns = [{name: seconds(model, timed) for name, model in models.items()} for _ in range(options.turns)]
    plain = next(iter(models))
    rows = {
        name: {
            "f1": 100 * model.task.score(corpus, predicted[name])["f1"],
            "tags_changed": 100 * changed(predicted[plain], predicted[name]),
            "sentences_per_s": spread([len(timed) / turn[name] for turn in turns]),
            "times_as_fast": spread([turn[plain] / turn[name] for turn in turns]),
        }
        for name, model in models.items()
    }
    return {"n_sentences": len(words), "n_timed": len(timed), "threads": options.threads, "rows": rows}


def seconds(model: TrainedModel, sentences: Sequence[Sequence[str]]) -> float:
    start = time.process_time()
    model.predict(sentences)
    return time.process_time() - start


def changed(before: Sequence[PredictedSentence], after: Sequence[PredictedSentence]) -> float:
    """The fraction of words whose tag differs."""
    pairs = [pair for one, other in zip(before, after, strict=True) for pair in zip(one.tags, other.tags, strict=True)]
    return sum(one != other for one, other in pairs) / len(pairs)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(result: dict[str, Any]) -> str:
    lines = ["| | sentences per CPU s | times torch in fp32 | strict F1 | tags changed |", "|---|--:|--:|--:|--:|"]
    for name, row in result["rows"].items():
        speed, ratio = shown(row["sentences_per_s"], 1), shown(row["times_as_fast"], 2)
        lines.append(f"| {name} | {speed} | {ratio} | {row['f1']:.2f} | {row['tags_changed']:.2f} % |")
    sizes = f"{result['n_timed']} sentences timed, F1 on {result['n_sentences']}"
    about = f"{sizes}; {result['threads']} thread(s); torch {torch.__version__}"
    return "\n".join([about, "", *lines])


def shown(of: dict[str, float], digits: int) -> str:
    return f"{of['median']:.{digits}f} ({of['low']:.{digits}f} to {of['high']:.{digits}f})"


if __name__ == "__main__":
    main()
