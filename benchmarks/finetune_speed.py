"""Training speed of `mslm finetune`, compared to transformers' Trainer.

    python benchmarks/finetune_speed.py DATA [--threads N] [--precision auto|fp32|bf16] [--quick] [--json]

DATA holds the public corpora; the sentences are the training split of NCBI-disease, the encoder MiniLM. All sides have
the same recipe: about 1,024 tokens per step (Trainer: batches of 32 sentences), dropout 0.1, AdamW, gradients clipped
to 1. Speeds are in non-padding tokens per second, including special tokens, for training only.

a  Trainer with batches in random order, padded to the longest in the batch.
b  The same with batches of similar length: train_sampling_strategy="group_by_length", formerly group_by_length.

Each side runs in its own process; they take turns. Reported are the median and range of the ratios of adjacent turns,
and the peak memory of each process.
"""

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

from hf_trainer_ner import encode, read_tsv
from sides import Steps, Work, arguments, compare, report, timed, trainer_steps

BATCH = 32
LABELS = ["O", "B-MENTION", "I-MENTION"]
WANTED = {"a": 2.0, "b": 1.0}
N_UPDATES = {"mslm": 30, "a": 20, "b": 20}


def main() -> None:
    given = arguments(__doc__)
    rates, memory = compare(SIDES, N_UPDATES, given.data / "NCBI-disease" / "train.tsv.gz", given)
    report(rates, memory, WANTED, as_json=given.json)


def mslm(file: Path, given: argparse.Namespace) -> Steps:
    """The steps of `mslm finetune`, with its own functions."""
    from mslm_cli import allocator, models
    from mslm_cli.config import FinetuneConfig
    from mslm_cli.tasks.ner import NER
    from mslm_cli.training.device import prepare_model, select_device
    from mslm_cli.training.labelled import TrainingSource
    from mslm_cli.training.schedule import Schedule
    from mslm_cli.training.supervised import TrainingPlan, start_training, training_steps

    allocator.keep_freed_memory()
    config = FinetuneConfig.build(
        offline=True, precision=given.precision, batch_tokens=given.batch_tokens, threads=given.threads
    )
    encoder = models.resolve(config.model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder)
    corpus = NER.read(file, config)
    labels = NER.labels(corpus, corpus, file)
    model = NER.new_model(encoder, labels, config, corpus)
    prepare_model(model, select_device(config.device, threads=config.threads))
    tokenizer.model_max_length = config.max_length
    data = NER.training_data([TrainingSource(corpus, frozenset(corpus.types))], labels, tokenizer, config)
    plan = TrainingPlan(config, Schedule(epochs=100, tokens_per_step=1024, patience=0))
    state, plans = start_training(model, data, plan)
    steps = [step for of_epoch in plans for step in of_epoch]
    return timed(training_steps(state, data, steps, 0, plan, tokenizer.pad_token_id))


def trainer_random(file: Path, given: argparse.Namespace) -> Steps:
    """The steps of Trainer with batches in random order."""
    return _trainer(file, "random")


def trainer_by_length(file: Path, given: argparse.Namespace) -> Steps:
    """The steps of Trainer with batches of similar length."""
    return _trainer(file, "group_by_length")


def _trainer(file: Path, strategy: str) -> Steps:
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    from mslm_cli import models

    encoder = models.resolve("minilm", offline=True, allow_pickle=False)
    tokenizer: Any = AutoTokenizer.from_pretrained(encoder)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=len(LABELS))
    return trainer_steps(
        model,
        encode(read_tsv(file), tokenizer, LABELS),
        DataCollatorForTokenClassification(tokenizer),
        per_device_train_batch_size=BATCH,
        train_sampling_strategy=strategy,
    )


SIDES: dict[str, Work] = {"mslm": mslm, "a": trainer_random, "b": trainer_by_length}


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
