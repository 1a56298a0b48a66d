"""Does long adaptation gain, or transfer, with few labels and with all? As many trials as time allows, on one GPU.

    python benchmarks/device/few_labels.py FOLDER OUT.jsonl [SECONDS]

FOLDER holds shards-word and shards-mslm, minilm, and data/TARGET-{train,devel,test,source}.tsv.gz. Encoders: MiniLM as
it is (vanilla); adapted for one pass over the shards at each rate of ``RATES`` (word, mslm); and fine-tuned on
TARGET-source (transfer). With a share of the labels, train and dev are both cut to it, in runs of 10 sentences drawn
anew for each seed. The lines of OUT.jsonl are in order of completion. DRY=1 runs one seed on a CPU at tiny sizes.
"""

import gzip
import json
import multiprocessing as mp
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

DRY = bool(os.environ.get("DRY"))
DEVICE = "cpu" if DRY else "cuda"
N_WORKERS = 2 if DRY else 8
TARGETS = ("NCBI-disease", "BC5CDR-chem", "BC2GM", "linnaeus")
RATES = ("1e-4",) if DRY else ("1e-4", "3e-4")
ADAPTED = [f"{arm}@{rate}" for rate in RATES for arm in ("word", "mslm")]


class Job(NamedTuple):
    """An encoder to make (``target`` is empty), or a NER model to train on an encoder and score."""

    encoder: str
    target: str = ""
    share: float = 1.0
    seed: int = 0

    @property
    def name(self) -> str:
        return "_".join(map(str, self))


def jobs() -> list[Job]:
    """All jobs, most wanted first."""
    seeds = range(1, 2 if DRY else 6)
    few = [Job(e, t, 0.05, s) for s in seeds for t in TARGETS for e in encoders(t)]
    everything = [Job(e, t, 1.0, s) for s in seeds for t in TARGETS[:2] for e in encoders(t)]
    by_seed = [j for s in seeds for j in (*few, *everything) if j.seed == s]
    made = [*ADAPTED, *(e for t in TARGETS for e in encoders(t) if "transfer:" in e)]
    return [*map(Job, made), *by_seed]


def encoders(target: str) -> list[str]:
    return ["vanilla", f"transfer:{target}", *ADAPTED, f"{ADAPTED[0]}+transfer:{target}"]


def worker(folder: Path, work: Path, results: Path, end: float) -> None:
    """Do the first job that nobody has begun and whose encoder exists, again and again until ``end``."""
    while time.time() < end:
        job = next((j for j in jobs() if ready(j, folder, work) and claim(work / "claims" / j.name)), None)
        if job is None:
            if all((work / "claims" / j.name).exists() for j in jobs()):
                return
            time.sleep(0.5)
            continue
        started = time.time()
        try:
            found = score(job, folder, work) if job.target else make_encoder(job, folder, work)
        except Exception as error:  # reported as a result: the other trials go on
            found = {"error": repr(error)}
        line = json.dumps({**job._asdict(), **found, "seconds": round(time.time() - started, 1)})
        with results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def ready(job: Job, folder: Path, work: Path) -> bool:
    needed = job.encoder if job.target else job.encoder.partition("+transfer:")[0]
    return (needed == job.encoder and not job.target) or (path_of(needed, folder, work) / "config.json").exists()


def claim(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def path_of(encoder: str, folder: Path, work: Path) -> Path:
    return folder / "minilm" if encoder == "vanilla" else work / "encoders" / encoder


def make_encoder(job: Job, folder: Path, work: Path) -> dict[str, Any]:
    from mslm_cli.config import AdaptConfig
    from mslm_cli.stages import adapt
    from mslm_cli.training.model import load_ner
    from mslm_cli.workspace import RunOptions

    final = work / "encoders" / job.encoder
    if "transfer:" in job.encoder:
        base, target = job.encoder.split("transfer:")
        mine = work / "source" / job.encoder
        mine.mkdir()
        sentences = read(folder / "data" / f"{target}-source.tsv.gz")
        n_dev = len(sentences) // 10
        train, dev = write(mine / "train.tsv", sentences[n_dev:]), write(mine / "dev.tsv", sentences[:n_dev])
        ner = tune(train, dev, path_of(base.rstrip("+") or "vanilla", folder, work), mine / "ner", epochs=2, seed=0)
        made = work / "made" / job.encoder
        load_ner(ner).base_model.save_pretrained(made)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            shutil.copyfile(folder / "minilm" / name, made / name)
        made.rename(final)
        return {}
    arm, rate = job.encoder.split("@")
    config = AdaptConfig.build(
        model=str(folder / "minilm"),
        offline=True,
        tokens_per_step=512 if DRY else 16_384,
        epochs=1,
        steps=3 if DRY else None,
        held_out=0,
        learning_rate=float(rate),
        warmup_share=0.1,
        head_warmup_steps=2 if DRY else 200,
        checkpoint_every="60m",
        device=DEVICE,
        weights="ratio:2" if arm == "mslm" else "uniform",
    )
    made = adapt.run(folder / f"shards-{arm}", work / "made" / job.encoder, config, RunOptions(overwrite=True))
    records = [json.loads(line) for line in (made / "metrics.jsonl").open(encoding="utf-8")]
    made.rename(final)
    losses = [r["loss"] for r in records if r["phase"] == "adapt" and "loss" in r]
    tenth = max(1, len(losses) // 10)
    return {
        "steps": len(losses),
        "loss_by_tenth": [round(sum(losses[i : i + tenth]) / tenth, 3) for i in range(0, len(losses), tenth)],
        "run": json.loads((final / "manifest.json").read_text())["run"],
    }


def score(job: Job, folder: Path, work: Path) -> dict[str, Any]:
    from mslm_cli.config import EvalConfig
    from mslm_cli.stages import evaluate

    data = {part: folder / "data" / f"{job.target}-{part}.tsv.gz" for part in ("train", "devel", "test")}
    mine = work / "trials" / job.name
    mine.mkdir(parents=True)
    if job.share < 1:
        for part, least in (("train", 0), ("devel", 50)):
            data[part] = subset(data[part], mine / f"{part}.tsv", job.share, least, job.seed)
    small: dict[str, Any] = {"epochs": 1 if DRY else 15, "tokens_per_step": 512} if job.share < 1 else {"epochs": 5}
    model = path_of(job.encoder, folder, work)
    ner = tune(data["train"], data["devel"], model, mine / "ner", seed=job.seed, **small)
    sources = evaluate.Sources(ner=ner, data=data["test"])
    evaluate.run(sources, mine / "scores", EvalConfig.build(device=DEVICE), with_report=False)
    exact = json.loads((mine / "scores" / "results.json").read_text())["exact_match"]
    run = json.loads((ner / "manifest.json").read_text())["run"]
    shutil.rmtree(mine)
    return {"dev": run["dev_score"], "test": {k: exact[k] for k in ("precision", "recall", "f1")}}


def tune(train: Path, dev: Path, model: Path, output: Path, **options: Any) -> Path:
    from mslm_cli.config import FinetuneConfig
    from mslm_cli.stages import finetune

    fixed = {"model": str(model), "offline": True, "device": DEVICE, "checkpoint_every": "60m"}
    return finetune.run(train, dev, output, FinetuneConfig.build(**fixed, **options))


def subset(source: Path, target: Path, share: float, least: int, seed: int) -> Path:
    """Write random runs of 10 sentences, in their order: ``share`` of the sentences, and at least ``least``."""
    sentences = read(source)
    n = max(least, round(share * len(sentences)))
    begins = list(range(0, len(sentences), 10))
    random.Random(seed).shuffle(begins)
    chosen = sorted(begins[: -(-n // 10)])
    return write(target, [s for b in chosen for s in sentences[b : b + 10]])


def read(source: Path) -> list[str]:
    return gzip.decompress(source.read_bytes()).decode().strip("\n").split("\n\n")


def write(target: Path, sentences: list[str]) -> Path:
    target.write_text("".join(f"{s}\n\n" for s in sentences), encoding="utf-8")
    return target


def main() -> None:
    folder, results = Path(sys.argv[1]), Path(sys.argv[2])
    end = time.time() + float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    work = Path(os.environ.get("SCRATCH", "/tmp")) / "few-labels"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("claims", "encoders", "made", "source", "trials"):
        (work / name).mkdir(parents=True)
    context = mp.get_context("spawn")
    workers = [context.Process(target=worker, args=(folder, work, results, end), daemon=True) for _ in range(N_WORKERS)]
    for process in workers:
        process.start()
    for process in workers:  # a trial under way at the end is given up with the machine
        process.join(None if end == float("inf") else max(0.0, end + 20 - time.time()))


if __name__ == "__main__":
    main()
