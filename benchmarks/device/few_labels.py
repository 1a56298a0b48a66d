"""What gains with few labels? Adaptation, transfer, silver labels and masking, on as many trials as time allows.

    python benchmarks/device/few_labels.py FOLDER OUT [SECONDS]

FOLDER comes from few_labels_data.py: shards-word and shards-mslm, minilm, and data/TARGET-PART.tsv.gz. OUT gets
results.jsonl, a line for each finished job, and predictions.jsonl.gz, the mentions that each trial found on test as
[sentence, start, end]. For each seed, train and dev are both cut to the share of labels, in runs of 10 sentences.
Trials with a line in few_labels.jsonl are not run again.
DRY=1 runs one seed on a CPU at tiny sizes. On a GPU, 12 processes share it, and 4 others run the trials of ``ON_CPU``.
"""

import gzip
import json
import multiprocessing as mp
import os
import random
import shutil
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

DRY = bool(os.environ.get("DRY"))
WORKERS = ["cpu"] * 2 if DRY else [*["cuda"] * 12, *["cpu"] * 4]
TARGETS = ("NCBI-disease", "BC5CDR-chem", "BC2GM", "linnaeus")
SEEDS = (1,) if DRY else (1, 2, 3)
ADAPTED = {
    "mslm": {"tokens_per_step": 16_384, "learning_rate": 3e-4},
    "word": {"tokens_per_step": 16_384, "learning_rate": 3e-4},
    "auto": {},
    "auto-4096": {"tokens_per_step": 4096},
}
"""Encoders to adapt, and the options of each; the last two compare the defaults for the size of a step."""
SLOW_SECONDS = 150
"""No slow trial begins later than this before the end."""


class Arm(NamedTuple):
    """How to train: the encoder, the arm of the same seed that labels the other training sentences, and options."""

    encoder: str
    teacher: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


ARMS = {
    "vanilla": Arm("minilm"),
    "word": Arm("word"),
    "mslm": Arm("mslm"),
    "same": Arm("same"),
    "mslm+same": Arm("mslm+same"),
    "other": Arm("other"),
    "mask-words": Arm("minilm", options={"mask_words": 0.15}),
    "silver": Arm("minilm", "vanilla"),
    "mslm+same+silver": Arm("mslm+same", "mslm+same"),
    "more-updates": Arm("minilm", options={"patience": 0}),
}
"""``more-updates`` has as many more epochs as the source of ``same`` would take."""


class Job(NamedTuple):
    """An encoder to make (``share`` is 0), or a trial. ``target`` is empty for an adapted encoder."""

    arm: str
    target: str = ""
    share: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        return "_".join(map(str, self))

    @property
    def is_slow(self) -> bool:
        return self.arm == "more-updates" or self.share == 1

    @property
    def on_cpu(self) -> bool:
        return self.share == 0.1 and self.target == TARGETS[0]  # whole comparisons on one kind of device


def jobs() -> list[Job]:
    """The jobs that have no result in few_labels.jsonl yet, and what they need, most wanted first."""
    adapted = list(map(Job, ADAPTED))
    tuned = [Job(e, t) for e in ("same", "mslm+same", "other") for t in TARGETS]
    trials = [Job(a, t, share, s) for share in (0.05, 0.1) for s in SEEDS for t in TARGETS for a in ARMS]
    everything = [
        Job(a, t, 1.0, s) for s in SEEDS for t in TARGETS[:2] for a in ("vanilla", "more-updates", "mslm", "mslm+same")
    ]
    known = set() if DRY else finished()
    missing = {job for job in (*trials, *everything) if job not in known}
    teachers = {job._replace(arm=ARMS[job.arm].teacher) for job in missing}
    return [*adapted, *tuned, *(job for job in (*trials, *everything) if job in missing or job in teachers)]


@lru_cache
def finished() -> frozenset[Job]:
    """The trials that few_labels.jsonl has a result of."""
    lines = Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    found = (line for line in map(json.loads, lines) if "test" in line)
    return frozenset(Job(line["arm"], line["target"], line["share"], line["seed"]) for line in found)


def needed(job: Job, work: Path) -> list[Path]:
    """What must exist before a job can begin."""
    if job.share:
        arm = ARMS[job.arm]
        encoder = [encoder_of(arm.encoder, job.target, work)] if arm.encoder != "minilm" else []
        return [*encoder, *([work / "teachers" / job._replace(arm=arm.teacher).name] if arm.teacher else [])]
    return [work / "encoders" / Job("mslm").name] if job.arm == "mslm+same" else []


def encoder_of(name: str, target: str, work: Path) -> Path:
    return work / "encoders" / Job(name, target if "same" in name or name == "other" else "").name


def worker(device: str, folder: Path, out: Path, work: Path, end: float) -> None:
    """Do the first job that nobody has begun and whose inputs exist, again and again until ``end``."""
    mine = [j for j in jobs() if DRY or j.on_cpu == (device == "cpu")]
    while time.time() < end:
        is_late = time.time() > end - SLOW_SECONDS
        ready = (j for j in mine if all(path.exists() for path in needed(j, work)) and not (is_late and j.is_slow))
        job = next((j for j in ready if claim(work / "claims" / j.name)), None)
        if job is None:
            if all((work / "claims" / j.name).exists() for j in mine):
                return
            time.sleep(0.3)
            continue
        started = time.time()
        try:
            found = Runner(device, folder, work).run(job)
        except Exception as error:  # reported as a result: the other trials go on
            found = {"error": repr(error)}
        mentions = found.pop("mentions", None)
        seconds = round(time.time() - started, 1)
        write_line(out / "results.jsonl", {**job._asdict(), **found, "device": device, "seconds": seconds})
        if mentions is not None:
            write_line(work / "predictions.jsonl", {**job._asdict(), "mentions": mentions})


def write_line(path: Path, record: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, separators=(",", ":")) + "\n")


def claim(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Runner(NamedTuple):
    """Runs jobs on one device, in a folder that all share."""

    device: str
    folder: Path
    work: Path

    def run(self, job: Job) -> dict[str, Any]:
        if job.share:
            return self.trial(job)
        return self.tune_source(job) if job.target else self.adapt(job)

    def adapt(self, job: Job) -> dict[str, Any]:
        from mslm_cli.config import AdaptConfig
        from mslm_cli.stages import adapt
        from mslm_cli.workspace import RunOptions

        config = AdaptConfig.build(
            model=str(self.folder / "minilm"),
            offline=True,
            epochs="auto" if DRY else 1,
            steps=3 if DRY else None,
            checkpoint_every="60m",
            device=self.device,
            weights="uniform" if job.arm == "word" else "ratio:2",
            **(ADAPTED[job.arm] | ({"tokens_per_step": 512} if DRY else {})),
        )
        shards = "word" if job.arm == "word" else "mslm"
        made = adapt.run(self.folder / f"shards-{shards}", self.made(job), config, RunOptions(overwrite=True))
        records = [json.loads(line) for line in (made / "metrics.jsonl").open(encoding="utf-8")]
        held_out = [[r["step"], r["held_out"]] for r in records if "held_out" in r and r["phase"] == "adapt"]
        run = json.loads((made / "manifest.json").read_text())["run"]
        made.rename(encoder_of(job.arm, "", self.work))
        return {"held_out": held_out, "run": run}

    def tune_source(self, job: Job) -> dict[str, Any]:
        mine = self.work / "sources" / job.name
        mine.mkdir()
        source = "other" if job.arm == "other" else "same"
        sentences = read(self.folder / "data" / f"{job.target}-{source}.tsv.gz")
        n_dev = len(sentences) // 10
        train, dev = write(mine / "train.tsv", sentences[n_dev:]), write(mine / "dev.tsv", sentences[:n_dev])
        model = encoder_of("mslm", "", self.work) if "mslm" in job.arm else self.folder / "minilm"
        made = self.tune(train, dev, model, self.made(job), epochs=2)
        run = json.loads((made / "manifest.json").read_text())["run"]
        made.rename(encoder_of(job.arm, job.target, self.work))
        return {"dev": run["dev_score"]}

    def trial(self, job: Job) -> dict[str, Any]:
        from mslm_cli.config import LabelConfig
        from mslm_cli.stages import label
        from mslm_cli.stages.finetune import Companions

        arm, mine = ARMS[job.arm], self.work / "trials" / job.name
        mine.mkdir(parents=True)
        data = {part: self.folder / "data" / f"{job.target}-{part}.tsv.gz" for part in ("train", "devel")}
        rest: list[str] = []
        if job.share < 1:
            for part, least in (("train", 0), ("devel", 50)):
                kept, left = divided(read(data[part]), job.share, least, job.seed)
                data[part] = write(mine / f"{part}.tsv", kept)
                rest = left if part == "train" else rest
        companions = Companions()
        options = dict(arm.options)
        if job.arm == "more-updates":
            options["epochs"] = self.more_epochs(data["train"], job.target)
        if arm.teacher:
            text = mine / "rest.txt"
            text.write_text("".join(f"{plain(s)}\n" for s in rest), encoding="utf-8")
            teacher = self.work / "teachers" / job._replace(arm=arm.teacher).name
            config = LabelConfig.build(device=self.device, sentences=2000)
            companions = Companions(silver=label.run([text], [teacher], mine / "silver", config, overwrite=False))
        encoder = self.folder / "minilm" if arm.encoder == "minilm" else encoder_of(arm.encoder, job.target, self.work)
        tuned = self.tune(
            data["train"], data["devel"], encoder, mine / "ner", seed=job.seed, companions=companions, **options
        )
        run = json.loads((tuned / "manifest.json").read_text())["run"]
        found = self.test(job.target, tuned)
        if any(other.teacher == job.arm for other in ARMS.values()):
            tuned.rename(self.work / "teachers" / job.name)
        shutil.rmtree(mine)
        kept_run = {k: run[k] for k in ("n_epochs", "max_epochs", "tokens_per_step", "best_epoch")}
        return {"dev": run["dev_score"], **kept_run, **found}

    def more_epochs(self, train: Path, target: str) -> int:
        from mslm_cli.config import FinetuneConfig
        from mslm_cli.training.schedule import choose_schedule

        n_train = n_tokens(train, self.folder / "minilm")
        n_source = n_tokens(self.folder / "data" / f"{target}-same.tsv.gz", self.folder / "minilm") * 0.9
        epochs = choose_schedule(FinetuneConfig.build(model=""), n_train).epochs
        return epochs + (1 if DRY else round(2 * n_source / n_train))

    def test(self, target: str, ner: Path) -> dict[str, Any]:
        from mslm_cli import artifacts
        from mslm_cli.config import EvalConfig
        from mslm_cli.tasks.trained import load_trained

        corpus = read_test(self.folder / "data" / f"{target}-test.tsv.gz")
        model = load_trained(artifacts.load(ner, "ner"), EvalConfig.build(device=self.device))
        found = model.predict([s.words for s in corpus.sentences])
        only = [s.without(model.types - set(corpus.types)) for s in found]  # of another corpus
        scores = model.task.score(corpus, only)
        mentions = [[i, start, end] for i, s in enumerate(only) for (start, end, *_) in (m.mention for m in s.mentions)]
        return {"test": {k: scores[k] for k in ("precision", "recall", "f1")}, "mentions": mentions}

    def tune(self, train: Path, dev: Path, model: Path, output: Path, companions: Any = None, **options: Any) -> Path:
        from mslm_cli.config import FinetuneConfig
        from mslm_cli.stages import finetune

        fixed = {"model": str(model), "offline": True, "device": self.device, "checkpoint_every": "60m"}
        config = FinetuneConfig.build(**fixed, **options, **({"epochs": 1} if DRY and "epochs" not in options else {}))
        return finetune.run(train, dev, output, config, companions=companions or finetune.Companions())

    def made(self, job: Job) -> Path:
        return self.work / "made" / job.name


@lru_cache
def read_test(path: Path) -> Any:
    from mslm_cli.config import FinetuneConfig
    from mslm_cli.tasks.registry import find_task

    return find_task("ner").read(path, FinetuneConfig.build(model=""))


def n_tokens(data: Path, encoder: Path) -> int:
    from mslm_cli import models

    words = [line.split("\t")[0] for s in read(data) for line in s.splitlines()]
    n_pieces = sum(map(len, models.load_tokenizer(encoder)(words, add_special_tokens=False)["input_ids"]))
    return n_pieces + 2 * len(read(data))


def divided(sentences: list[str], share: float, least: int, seed: int) -> tuple[list[str], list[str]]:
    """Random runs of 10 sentences, in their order: ``share`` of them all, and at least ``least``; and the others."""
    n = max(least, round(share * len(sentences)))
    begins = list(range(0, len(sentences), 10))
    random.Random(seed).shuffle(begins)
    n_runs = -(-n // 10)
    chosen, left = (
        [s for b in sorted(part) for s in sentences[b : b + 10]] for part in (begins[:n_runs], begins[n_runs:])
    )
    return chosen, left


def plain(sentence: str) -> str:
    return " ".join(line.split("\t")[0] for line in sentence.splitlines())


def read(source: Path) -> list[str]:
    data = source.read_bytes()
    return (gzip.decompress(data) if source.suffix == ".gz" else data).decode().strip("\n").split("\n\n")


def write(target: Path, sentences: list[str]) -> Path:
    target.write_text("".join(f"{s}\n\n" for s in sentences), encoding="utf-8")
    return target


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    end = time.time() + float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    work = Path(os.environ.get("SCRATCH", "/tmp")) / "few-labels"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("claims", "encoders", "made", "sources", "teachers", "trials"):
        (work / name).mkdir(parents=True)
    context = mp.get_context("spawn")
    args = (folder, out, work, end)
    workers = [context.Process(target=worker, args=(device, *args), daemon=True) for device in WORKERS]
    for process in workers:
        process.start()
    for process in workers:  # a trial under way at the end is given up
        process.join(None if end == float("inf") else max(0.0, end + 10 - time.time()))
    with (work / "predictions.jsonl").open("rb") as found, gzip.open(out / "predictions.jsonl.gz", "wb", 6) as packed:
        shutil.copyfileobj(found, packed)


if __name__ == "__main__":
    main()
