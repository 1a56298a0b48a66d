"""The defaults of ``mslm finetune`` against those of 0.2.0, those of transformers' run_ner.py, and hand-tuned settings.

    python benchmarks/defaults.py DATA LINES.jsonl CELL... [--model FOLDER] [--device cpu]

A CELL is CORPUS:SENTENCES:SEED:SETTING. SENTENCES of the training set, or ``all``, are drawn in runs of ten; a fifth as
many dev sentences, at least 50, choose the epoch, and 400 others are scored. No test set is read. SETTING is

auto                     the defaults
old                      those of 0.2.0: 5 epochs in steps of 1,024 tokens
run_ner                  transformers' Trainer with its defaults: 3 epochs, 8 sentences a step, a rate that falls
                         linearly from 5e-5; the last epoch is kept
TOKENS/EPOCHS/RATE       such steps, epochs and peak rate, without patience

Without cells, the lines are printed as a table.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import cells
import torch
from schedule import N_OTHERS, blocks, drawn

from mslm_cli import models
from mslm_cli.artifacts import load
from mslm_cli.config import EvalConfig, FinetuneConfig
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.stages import finetune
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.trained import TrainedModel, load_trained
from mslm_cli.training.device import prepare_model, select_device

OLD = {"epochs": 5, "tokens_per_step": 1024, "patience": 0}


def measure(data: Path, cell: str, model: str = "minilm", device: str = "cpu") -> dict[str, Any]:
    """Train in the way that ``cell`` says, and score on dev sentences that chose nothing."""
    corpus, size, seed, setting = cell.split(":")
    chooser = random.Random(f"{corpus}{size}{seed}")
    training, development = (blocks(data / corpus / f"{part}.tsv.gz") for part in ("train", "devel"))
    n = len(training) if size == "all" else int(size)
    chosen = training if size == "all" else drawn(training, n, chooser)
    small = drawn(development, max(50, min(n // 5, len(development) - N_OTHERS)), chooser)
    others = drawn([s for s in development if s not in set(small)], N_OTHERS, chooser)
    started = time.perf_counter()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part, sentences in (("train", chosen), ("dev", small), ("others", others)):
            (folder / f"{part}.tsv").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
        train = with_trainer if setting == "run_ner" else with_mslm
        trained, about = train(folder, setting, int(seed), model, device)
        corpus_of_others = NER.read(folder / "others.tsv", FinetuneConfig.build())
        found = trained.predict([s.words for s in corpus_of_others.sentences])
    score = NER.score(corpus_of_others, found)["f1"]
    seconds = round(time.perf_counter() - started, 1)
    return {"f1": round(float(score), 4), "n": n, **about, "device": device, "seconds": seconds}


def with_mslm(folder: Path, setting: str, seed: int, model: str, device: str) -> tuple[TrainedModel, dict[str, Any]]:
    options: dict[str, Any] = {"auto": {}, "old": OLD}.get(setting, {})
    if "/" in setting:
        tokens, epochs, rate = setting.split("/")
        options = {"tokens_per_step": tokens, "epochs": epochs, "learning_rate": rate, "patience": 0}
    fixed = {"model": model, "offline": True, "device": device, "seed": seed, "checkpoint_every": "60m"}
    config = FinetuneConfig.build(**fixed, **options)
    made = load(finetune.run(folder / "train.tsv", folder / "dev.tsv", folder / "ner", config), "ner")
    steps = [json.loads(line) for line in made.file("metrics.jsonl").read_text().splitlines()]
    n_steps = max(line["step"] for line in steps)
    return load_trained(made, EvalConfig.build(device=device)), {
        "n_steps": n_steps,
        "dev": made.manifest.run["dev_score"],
    }


def with_trainer(folder: Path, setting: str, seed: int, model: str, device: str) -> tuple[TrainedModel, dict[str, Any]]:
    from hf_trainer_ner import encode
    from transformers import (
        AutoModelForTokenClassification,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    encoder = models.resolve(model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder)
    config = FinetuneConfig.build(seed=seed)
    train = NER.read(folder / "train.tsv", config)
    labels = NER.labels(train, train, folder / "train.tsv")
    rows = encode(
        [(list(s.words), list(tags_from_mentions(s.mentions, len(s.words)))) for s in train.sentences],
        tokenizer,
        list(labels),
    )
    names = dict(enumerate(labels))
    # seeded before the head is made, as run_ner.py does
    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        seed=seed,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        use_cpu=device == "cpu",
    )
    from transformers import set_seed

    set_seed(seed)
    classifier = AutoModelForTokenClassification.from_pretrained(
        encoder, dtype=torch.float32, id2label=names, label2id={label: number for number, label in names.items()}
    )
    trainer = Trainer(
        model=classifier,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.train()
    prepare_model(classifier, select_device(device, threads=0))
    return TrainedModel(NER, classifier, tokenizer, config, 8192), {"n_steps": trainer.state.global_step}


def table(lines: list[dict[str, Any]]) -> str:
    """The mean over seeds, with the lowest and highest, for each corpus, size and setting."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for line in lines:
        corpus, size, _, setting = line["cell"].split(":")
        found.setdefault((corpus, size), {}).setdefault(setting, []).append(100 * line["f1"])
    settings = sorted({setting for row in found.values() for setting in row})
    rows = [f"| corpus | sentences | {' | '.join(settings)} |", f"|---|--:|{'--:|' * len(settings)}"]
    for (corpus, size), row in found.items():
        shown = [f"{mean(row[s]):.1f} ({min(row[s]):.1f} to {max(row[s]):.1f})" if s in row else "" for s in settings]
        rows.append(f"| {corpus} | {size} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    cells.measure_missing(given.cells, given.lines, lambda cell: measure(given.data, cell, given.model, given.device))
    if not given.cells:
        print(table(cells.read(given.lines)))


if __name__ == "__main__":
    sys.exit(main())
