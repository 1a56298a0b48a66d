"""F1 of relations and of labels, beside plain sequence classification by transformers.

python benchmarks/relations.py run DATA --work WORK --log relations.jsonl [--sets re-GAD] [--seeds 0 1 2] [--quick]
python benchmarks/relations.py table relations.jsonl
python benchmarks/relations.py files DATA FOLDER [--documents 150]

DATA is the folder of re-chemprot, re-GAD and re-BC5CDR-CID. Both sides get the same candidate pairs in the same
sentences, the same encoder, seeds, epochs, tokens in each step, schedule (linear, with 6 % warm-up), weight decay and
choice of the best epoch on dev. The plain side is `AutoModelForSequenceClassification` on the text in which `@TYPE$`
stands for each mention of the pair; ours is `mslm finetune --task relations`, and `appended` is ours with `--markers
appended`. Each learning rate is tried with the first seed; the other seeds of a side, and the table, have the rate with
the best F1 on dev.

re-chemprot holds related pairs only: its 13 labels are mapped to CPR:3, 4, 5, 6 and 9 and scored as the classification
of known relations, which is not comparable with published F1 on ChemProt. re-GAD has no dev data: every tenth row of
train is. The training data of re-BC5CDR-CID are those documents of train_plus_devel that are not in devel; it is scored
by pairs of concepts in documents. documents-GAD is re-GAD as the classification of texts with placeholders
(--task documents), whose plain side is the same model on the same text; F1 is that of label 1.

Every finished trial is one line of the log, with gold, predicted and correct relations of each document; trials in the
log are not run again, and `mslm finetune` resumes what was killed.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from mslm_cli import console, models
from mslm_cli.config import EvalConfig, FinetuneConfig
from mslm_cli.corpus.classified import ClassifiedCorpus
from mslm_cli.corpus.pairs import Instance, Pair, PairRules, candidates, related_types
from mslm_cli.corpus.relations import NO_RELATION, RelationCorpus, RelationDocument
from mslm_cli.evaluation.comparison import ComparedArm, compared
from mslm_cli.stages import evaluate, finetune
from mslm_cli.tasks.registry import find_task
from mslm_cli.training.batching import plan_forward_passes, plan_steps
from mslm_cli.workspace import RunOptions

CPR = {
    "CPR:3": ("UPREGULATOR", "ACTIVATOR", "INDIRECT-UPREGULATOR"),
    "CPR:4": ("DOWNREGULATOR", "INHIBITOR", "INDIRECT-DOWNREGULATOR"),
    "CPR:5": ("AGONIST", "AGONIST-ACTIVATOR", "AGONIST-INHIBITOR"),
    "CPR:6": ("ANTAGONIST",),
    "CPR:9": ("SUBSTRATE", "PRODUCT-OF", "SUBSTRATE_PRODUCT-OF"),
}
SIDES = ("plain", "mslm", "appended")
SETS = ("re-chemprot", "re-GAD", "re-BC5CDR-CID", "documents-GAD")
TOKENS_PER_STEP, EVAL_TOKENS, MAX_LENGTH, WEIGHT_DECAY, WARM_UP = 1024, 4096, 256, 0.01, 0.06


class Item(NamedTuple):
    """What the plain side classifies: the document and pair (0, 0 for a whole text), its text and class."""

    document: int
    head: int
    tail: int
    text: str
    label: int


class Options(NamedTuple):
    model: str
    epochs: int
    seed: int
    rate: float
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("data", type=Path)
    running.add_argument("--work", type=Path, required=True)
    running.add_argument("--log", type=Path, required=True)
    running.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    running.add_argument("--sides", nargs="+", choices=SIDES, default=["plain", "mslm"])
    running.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    running.add_argument("--rates", nargs="+", type=float, default=[1e-4, 2e-4])
    running.add_argument("--epochs", type=int, default=5)
    running.add_argument("--model", default="minilm")
    running.add_argument("--threads", type=int, default=0)
    running.add_argument("--quick", action="store_true", help="40 documents of each part and one epoch")
    writing = commands.add_parser("files", help="write train, dev and test of re-BC5CDR-CID, for relations.toml")
    writing.add_argument("data", type=Path)
    writing.add_argument("folder", type=Path)
    writing.add_argument("--documents", type=int, help="the first documents of train and dev alone")
    showing = commands.add_parser("table")
    showing.add_argument("log", type=Path)
    given = parser.parse_args()
    if given.command == "table":
        print(table(read_log(given.log)))
    elif given.command == "files":
        given.folder.mkdir(parents=True)
        for part, blocks in cdr(given.data).items():
            kept = blocks if part == "test" else blocks[: given.documents]
            (given.folder / f"{part}.pubtator").write_text("\n\n".join(kept) + "\n", encoding="utf-8")
    else:
        run(given)


def run(given: argparse.Namespace) -> None:
    """Run the trials that are not in the log."""
    console.configure(quiet=True)
    if given.threads:
        torch.set_num_threads(given.threads)
    for name in given.sets:
        parts = prepare(name, given.data, given.work / "data", limit=40 if given.quick else None)
        for seed in given.seeds:
            for side in given.sides:
                of_side = [t for t in read_log(given.log) if (t["set"], t["side"]) == (name, side)]
                for rate in given.rates if seed == given.seeds[0] else [best_rate(of_side)]:
                    if any((t["seed"], t["rate"]) == (seed, rate) for t in of_side):
                        continue
                    options = Options(given.model, 1 if given.quick else given.epochs, seed, rate, given.threads)
                    started = time.perf_counter()
                    work = given.work / f"{name}-{side}-{seed}-{rate:g}"
                    found = plain(name, parts, options) if side == "plain" else ours(name, side, parts, options, work)
                    trial = {"set": name, "side": side, "seed": seed, "rate": rate, "epochs": options.epochs}
                    trial |= {"model": given.model, "seconds": round(time.perf_counter() - started, 1), **found}
                    with given.log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(trial) + "\n")
                    print(name, side, seed, rate, f"dev {100 * found['dev_f1']:.2f} test {100 * found['test_f1']:.2f}")


def best_rate(trials: list[dict[str, Any]]) -> float:
    """The learning rate with the best F1 on dev among the trials of the first seed of one side of one set."""
    first = min(trial["seed"] for trial in trials)
    return float(max((t for t in trials if t["seed"] == first), key=lambda t: t["dev_f1"])["rate"])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The finished trials; a line that a kill cut short is not one."""
    if not path.is_file():
        return []
    trials = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            trials.append(json.loads(line))
        except ValueError:
            continue
    return trials


def prepare(name: str, data: Path, folder: Path, *, limit: int | None) -> dict[str, Path]:
    """Write train, dev and test of a set as files that both sides read."""
    rows = {"re-chemprot": chemprot, "re-BC5CDR-CID": cdr}.get(name, gad)(data)
    ending = {"re-chemprot": "jsonl", "re-BC5CDR-CID": "txt"}.get(name, "tsv")
    found = {}
    for part, blocks in rows.items():
        path = folder / f"{name}{'' if limit is None else '-quick'}" / f"{part}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        separator = "\n\n" if ending == "txt" else "\n"
        path.write_text(separator.join(blocks[:limit]) + "\n", encoding="utf-8")
        found[part] = path
    return found


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def chemprot(data: Path) -> dict[str, list[str]]:
    group = {label: name for name, labels in CPR.items() for label in labels}
    found = {}
    for part, file in (("train", "train"), ("dev", "devel"), ("test", "test")):
        records = map(json.loads, text_of(data / f"re-chemprot/{file}.jsonl.gz").splitlines())
        found[part] = [json.dumps({"text": r["text"], "label": group[r["label"]]}) for r in records]
    return found


def gad(data: Path) -> dict[str, list[str]]:
    rows = text_of(data / "re-GAD/train.tsv.gz").splitlines()
    test = [line.split("\t", 1)[1] for line in text_of(data / "re-GAD/test.tsv.gz").splitlines()[1:]]
    return {"train": [row for i, row in enumerate(rows) if i % 10], "dev": rows[::10], "test": test}


def cdr(data: Path) -> dict[str, list[str]]:
    folder = data / "re-BC5CDR-CID"
    train, dev, test = (
        text_of(folder / f"{name}.pubtator.txt.gz").strip().split("\n\n")
        for name in ("train_plus_devel", "devel", "test")
    )
    held_out = {block.lstrip().split("|", 1)[0] for block in dev}
    kept = [block for block in train if block.lstrip().split("|", 1)[0] not in held_out]
    return {"train": kept, "dev": dev, "test": test}


def config_of(name: str, options: Options) -> FinetuneConfig:
    own: dict[str, Any] = {"pairs": "document"} if name == "re-BC5CDR-CID" else {}
    return FinetuneConfig(
        task="documents" if name == "documents-GAD" else "relations",
        model=options.model,
        epochs=options.epochs,
        seed=options.seed,
        learning_rate=options.rate,
        tokens_per_step=TOKENS_PER_STEP,
        max_length=MAX_LENGTH,
        patience=0,
        threads=options.threads,
        **own,
    )


def ours(name: str, side: str, parts: dict[str, Path], options: Options, work: Path) -> dict[str, Any]:
    """Fine-tune and score with mslm."""
    config = config_of(name, options)
    if side == "appended":
        config = config.model_copy(update={"markers": "appended"})
    made = finetune.run(parts["train"], parts["dev"], work, config, RunOptions(resume_anyway=True))
    found = {}
    for part in ("dev", "test"):
        sources = evaluate.Sources(ner=made, data=parts[part])
        scored = evaluate.run(sources, None, EvalConfig(replicates=1, examples=0, threads=options.threads))
        lines = [(line["gold"], line["pred"]) for line in scored.lines]
        found[part] = counts_of(name, [g for g, _ in lines], [p for _, p in lines])
    return summary(found)


def counts_of(name: str, gold: Sequence[Any], predicted: Sequence[Any]) -> list[list[int]]:
    """Gold, predicted and correct items of each document; of labels only those of label 1."""
    rows = []
    for g, p in zip(gold, predicted, strict=True):
        sides = [{tuple(item) for item in side if name != "documents-GAD" or item[2] == "1"} for side in (g, p)]
        rows.append([len(sides[0]), len(sides[1]), len(sides[0] & sides[1])])
    return rows


def summary(counts: dict[str, list[list[int]]]) -> dict[str, Any]:
    f1 = {part: f1_of(rows) for part, rows in counts.items()}
    return {"dev_f1": f1["dev"], "test_f1": f1["test"], "counts": counts["test"]}


def f1_of(rows: list[list[int]]) -> float:
    gold, predicted, correct = np.array(rows).sum(axis=0).tolist()
    return 2 * correct / (gold + predicted) if gold + predicted else 0.0


def plain(name: str, parts: dict[str, Path], options: Options) -> dict[str, Any]:
    """Train and score sequence classification by transformers."""
    config = config_of(name, options)
    task = find_task(config.task)
    corpora = {part: task.read(path, config) for part, path in parts.items()}
    labels = task.labels(corpora["train"], corpora["dev"], parts["train"])
    rules = None
    if isinstance(corpora["train"], RelationCorpus):
        rules = PairRules(related_types(corpora["train"].documents), config.pairs)
    items = {part: list(items_of(corpus, labels, rules)) for part, corpus in corpora.items()}
    encoder = models.resolve(config.model, offline=True, allow_pickle=False)
    tokenizer = models.load_tokenizer(encoder, lowercase=None)
    ids = {
        part: tokenizer([item.text for item in of], truncation=True, max_length=MAX_LENGTH)["input_ids"]
        for part, of in items.items()
    }
    torch.manual_seed(options.seed)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(labels), dtype=torch.float32)
    lengths = np.array([len(one) for one in ids["train"]])
    plans = [plan_steps(lengths, TOKENS_PER_STEP, seed=options.seed, epoch=e) for e in range(options.epochs)]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate)
    n_steps = sum(map(len, plans))
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARM_UP * n_steps), n_steps)
    targets = torch.tensor([item.label for item in items["train"]])
    best: tuple[float, dict[str, list[list[int]]]] | None = None
    for steps in plans:
        model.train()
        for step in steps:
            logits = model(**batch(ids["train"], step, tokenizer.pad_token_id)).logits
            torch.nn.functional.cross_entropy(logits, targets[step]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        found = {
            part: score(name, corpora[part], items[part], classify(model, ids[part], tokenizer.pad_token_id), labels)
            for part in ("dev", "test")
        }
        if best is None or f1_of(found["dev"]) > best[0]:
            best = f1_of(found["dev"]), found
    assert best is not None
    return summary(best[1])


def items_of(corpus: Any, labels: list[str], rules: PairRules | None) -> Iterator[Item]:
    """The texts of a corpus: of each candidate pair, with placeholders, or of each document as it is."""
    number = {label: i for i, label in enumerate(labels)}
    if isinstance(corpus, ClassifiedCorpus):
        for i, one in enumerate(corpus.documents):
            yield Item(i, 0, 0, " ".join(" ".join(words) for words in one.sentences), number[one.labels[0]])
        return
    assert rules is not None
    for i, document in enumerate(corpus.documents):
        of_pair = {(head, tail): kind for head, tail, kind in document.relations}
        for pair in candidates(document, rules)[0]:
            label = number.get(of_pair.get((pair.head, pair.tail), NO_RELATION), 0)
            yield Item(i, pair.head, pair.tail, shown(document, pair, pair.instances[0]), label)


def shown(document: RelationDocument, pair: Pair, instance: Instance) -> str:
    """The sentences from one mention of the pair to the other, with placeholders for both."""
    mentions = {
        instance.head: f"@{document.entities[pair.head].type}$",
        instance.tail: f"@{document.entities[pair.tail].type}$",
    }
    first = document.sentence_of(min(instance.head[0], instance.tail[0]))
    last = document.sentence_of(max(instance.head[1], instance.tail[1]) - 1)
    start, end = document.words[document.sentences[first][0]][0], document.words[document.sentences[last][1] - 1][1]
    text, at = "", start
    for (begin, stop), placeholder in sorted(mentions.items()):
        text += document.text[at : max(at, document.words[begin][0])] + placeholder
        at = max(at, document.words[stop - 1][1])
    return text + document.text[at:end]


def batch(ids: list[list[int]], rows: Any, pad_id: int) -> dict[str, torch.Tensor]:
    longest = max(len(ids[i]) for i in rows)
    filled = [ids[i] + [pad_id] * (longest - len(ids[i])) for i in rows]
    mask = [[1] * len(ids[i]) + [0] * (longest - len(ids[i])) for i in rows]
    return {"input_ids": torch.tensor(filled), "attention_mask": torch.tensor(mask)}


@torch.inference_mode()
def classify(model: Any, ids: list[list[int]], pad_id: int) -> list[int]:
    """The most probable class of each text."""
    model.eval()
    found = np.zeros(len(ids), np.int64)
    for rows in plan_forward_passes(np.arange(len(ids)), np.array([len(one) for one in ids]), EVAL_TOKENS):
        found[rows] = model(**batch(ids, rows, pad_id)).logits.argmax(-1).numpy()
    return found.tolist()


def score(name: str, corpus: Any, items: list[Item], classes: list[int], labels: list[str]) -> list[list[int]]:
    predicted: list[list[tuple[int, int, str]]] = [[] for _ in corpus.documents]
    for item, k in zip(items, classes, strict=True):
        if labels[k] != NO_RELATION:
            predicted[item.document].append((item.head, item.tail, labels[k]))
    if isinstance(corpus, ClassifiedCorpus):
        gold = [[(0, 0, label) for label in document.labels] for document in corpus.documents]
    else:
        gold = [list(document.relations) for document in corpus.documents]
    return counts_of(name, gold, predicted)


def table(trials: list[dict[str, Any]]) -> str:
    """F1 of both sides with 95 % intervals, and their paired difference, at the rates that are best on dev."""
    rows = ["| set | side | seeds | rate | dev F1 | test F1 (95 %) | minutes | less plain (95 %) |"]
    rows.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for name in dict.fromkeys(trial["set"] for trial in trials):
        arms, found = [], {}
        for side in SIDES:
            own = [trial for trial in trials if trial["set"] == name and trial["side"] == side]
            if not own:
                continue
            rate = best_rate(own)
            found[side] = sorted((t for t in own if t["rate"] == rate), key=lambda t: t["seed"])
        common = set.intersection(*({t["seed"] for t in of} for of in found.values()))
        for side, of in found.items():
            found[side] = [t for t in of if t["seed"] in common]
            arms.append(ComparedArm(side, np.array([t["counts"] for t in found[side]], np.float64)[:, :, None, :]))
        shown_arms, pairs = compared(arms, ["all"], 5000, np.random.default_rng(0))
        for arm in shown_arms:
            of, f1 = found[arm["name"]], arm["f1"]
            test = f"{100 * f1['value']:.2f} ({100 * f1['low']:.1f} to {100 * f1['high']:.1f})"
            minutes = sum(t["seconds"] for t in of) / 60 / len(of)
            dev = 100 * float(np.mean([t["dev_f1"] for t in of]))
            change = ""
            gain = next((p["difference"]["f1"] for p in pairs if p["arms"] == ["plain", arm["name"]]), None)
            if gain is not None:
                change = f"{100 * gain['value']:+.2f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
            cells = [name, arm["name"], len(of), f"{of[0]['rate']:g}", f"{dev:.2f}", test, f"{minutes:.1f}", change]
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
