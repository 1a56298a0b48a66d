"""The baseline: token classification with a plain transformers ``Trainer``.

Same encoder, data, epochs and learning rate as ``mslm finetune``; imports nothing from mslm. Scores the test split with
seqeval (strict, IOB2) on words.

    python benchmarks/hf_trainer_ner.py --data NCBI-disease/ --model MODEL --seeds 1 2 3 -o out.json
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)

Sentence = tuple[list[str], list[str]]


def read_tsv(path: Path) -> list[Sentence]:
    """The sentences of a two-column file; bare B/I tags get the type ``MENTION``."""
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in [*lines, "\n"]:
            if line.strip():
                word, tag = line.split()
                words.append(word)
                tags.append(f"{tag}-MENTION" if tag in "BI" else tag)
            elif words:
                sentences.append((words, tags))
                words, tags = [], []
    return sentences


def encode(sentences: list[Sentence], tokenizer, labels: list[str]) -> list[dict]:
    encoded = tokenizer([w for w, _ in sentences], is_split_into_words=True, truncation=True, max_length=512)
    rows = []
    for i, (_, tags) in enumerate(sentences):
        word_ids = encoded.word_ids(i)
        first_piece = [w is not None and w != (word_ids[j - 1] if j else None) for j, w in enumerate(word_ids)]
        rows.append(
            {
                "input_ids": encoded["input_ids"][i],
                "attention_mask": encoded["attention_mask"][i],
                "labels": [
                    labels.index(tags[w]) if first else -100 for w, first in zip(word_ids, first_piece, strict=True)
                ],
            }
        )
    return rows


def tag_lists(logits: np.ndarray, gold: np.ndarray, sentences: list[Sentence], labels: list[str]) -> list[list[str]]:
    """Predicted tags, one per word; truncated words are O."""
    out = []
    for row, keep, (words, _) in zip(logits.argmax(-1), gold != -100, sentences, strict=True):
        tags = [labels[k] for k in row[keep]]
        out.append(tags + ["O"] * (len(words) - len(tags)))
    return out


def scores(predicted: list[list[str]], sentences: list[Sentence]) -> dict[str, float]:
    # defaults.py uses `encode` where there is no seqeval
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    gold = [tags for _, tags in sentences]
    kwargs = {"mode": "strict", "scheme": IOB2}
    return {
        "precision": float(precision_score(gold, predicted, **kwargs)),
        "recall": float(recall_score(gold, predicted, **kwargs)),
        "f1": float(f1_score(gold, predicted, **kwargs)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/devel/test.tsv.gz")
    parser.add_argument("--model", required=True, help="local encoder folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()

    train, dev, test = (read_tsv(args.data / f"{s}.tsv.gz") for s in ("train", "devel", "test"))
    labels = ["O", "B-MENTION", "I-MENTION"]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    # all-MiniLM-L6-v2 sets truncation and fixed padding in tokenizer.json
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    train_rows, dev_rows, test_rows = (encode(s, tokenizer, labels) for s in (train, dev, test))

    runs = []
    for seed in args.seeds:
        model = AutoModelForTokenClassification.from_pretrained(args.model, num_labels=len(labels))
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=model,
                args=TrainingArguments(
                    output_dir=folder,
                    num_train_epochs=args.epochs,
                    learning_rate=args.learning_rate,
                    per_device_train_batch_size=args.batch_size,
                    per_device_eval_batch_size=64,
                    eval_strategy="epoch",
                    save_strategy="epoch",
                    save_total_limit=1,
                    load_best_model_at_end=True,
                    metric_for_best_model="f1",
                    seed=seed,
                    report_to=[],
                    disable_tqdm=True,
                ),
                train_dataset=train_rows,
                eval_dataset=dev_rows,
                data_collator=DataCollatorForTokenClassification(tokenizer),
                compute_metrics=lambda p: scores(tag_lists(p.predictions, p.label_ids, dev, labels), dev),
            )
            started = time.perf_counter()
            trainer.train()
            duration_s = time.perf_counter() - started
            trainer.compute_metrics = None  # it scores dev
            predicted = trainer.predict(test_rows)
        result = scores(tag_lists(predicted.predictions, predicted.label_ids, test, labels), test)
        runs.append({"seed": seed, "duration_s": round(duration_s, 1), **result})
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        f1 = np.array([r["f1"] for r in runs])
        summary = {
            "system": "transformers Trainer",
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
            "batch_size": args.batch_size,
            "threads": torch.get_num_threads(),
            "runs": runs,
            "f1_mean": float(f1.mean()),
            "f1_sd": float(f1.std(ddof=1)) if len(f1) > 1 else None,
        }
        args.output.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
