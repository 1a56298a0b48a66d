"""Estimate the time and disk a study needs, from a few steps measured on this machine."""

import functools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from mslm_cli import console
from mslm_cli.artifacts import METRICS, STATS
from mslm_cli.config import AdaptConfig, ExtractTermsConfig, FinetuneConfig, PreprocessConfig, StudyOptions
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.corpus.writers import write_conll
from mslm_cli.stages import adapt, extract_terms, finetune, preprocess
from mslm_cli.studies import search
from mslm_cli.studies.cost import count_train_tokens
from mslm_cli.studies.nodes import Dependency, OutputOf, StageNode, Trial
from mslm_cli.studies.plan import Planner, shared
from mslm_cli.studies.resampled_data import DEV, TEST
from mslm_cli.studies.spec import OF_DOCUMENTS, Arm, DataSet, Study
from mslm_cli.studies.store import StudyStore
from mslm_cli.tasks.registry import find_task
from mslm_cli.training.device import select_device
from mslm_cli.training.run_length import HEAD_ALONE_STEPS
from mslm_cli.training.schedule import choose_schedule

_SAMPLE_CHARS, _SAMPLE_SENTENCES = 60_000, 150
_OF_SENTENCES = {
    "task": "ner",
    "pairs": "sentence",
    "markers": "inserted",
    "max_distance": 0,
    "instances": 1,
    "context": 0,
}
"""Options with which the speed of fine-tuning is measured where no data set of a study is of sentences."""
_UPDATES, _TOKENS_PER_UPDATE = 5, 1024
_FORWARD = 3
"""A forward pass costs a third of a training step (Kaplan et al. 2020, section 2.1)."""
_AUGMENTED = 1.7
_START_S = 3.0
"""Seconds to load an encoder and to write one."""
_BYTES_PER_TOKEN = 16
_PROBED_KINDS = 6
_TOKENS_PER_SENTENCE = 35
_BUSY = 0.8


@dataclass(frozen=True)
class Speed:
    """Measured speeds: seconds per character (lexicon, shards) or per token (the rest), and tokens per character.

    cpu_share: the fraction of its threads' time in which the process had a core; below 1 if other work competes.
    """

    lexicon: float
    shards: float
    head: float
    adapt: float
    finetune: float
    tokens_per_char: float
    cpu_share: float


def plan(planner: Planner, arms: Sequence[Arm], *, with_search: bool) -> list[Trial]:
    """The trials; the first combinations of the grid stand for later rounds of the search and for its winner."""
    trials: list[Trial] = []
    arms = list(arms)
    if with_search:
        options = planner.study.search
        left = search.candidates(planner)
        arms.append(search.as_winner(left[0]))
        for share in options.shares:
            trials += [t for arm in left for t in search.short_trials(planner, arm, share)]
            left = left[: search.n_kept(len(left), options.keep)]
    return trials + planner.trials(arms)


def report(planner: Planner, store: StudyStore, config: StudyOptions) -> dict[str, Any]:
    """The plan and its estimate as JSON values; also prints a table on stderr."""
    study = planner.study
    arms = study.arms()
    trials = plan(planner, arms, with_search=config.search)
    nodes = shared(trials)
    speed = measure(planner)
    costs = Costs(planner, speed)
    rows: dict[str, dict[str, float]] = {}
    for node in nodes:
        row = rows.setdefault(node.stage, {"n": 0, "n_done": 0, "seconds": 0.0, "bytes": 0.0})
        is_done = store.has(node)
        row["n"] += 1
        row["n_done"] += is_done
        if not is_done:
            row["seconds"] += costs.seconds(node)
            row["bytes"] += costs.n_bytes(node)
    seconds = sum(row["seconds"] for row in rows.values())
    n_bytes = sum(row["bytes"] for row in rows.values()) + costs.model_bytes * len(study.data)
    n_full = sum(t.share == 1 for t in trials)
    console.note(f"arms: {', '.join(dict.fromkeys(t.arm.name for t in trials if t.share == 1))}")
    names, seeds = ", ".join(d.name for d in study.data), ", ".join(map(str, study.seeds))
    title = f"{console.count(n_full, 'trial')} on {names}, seeds {seeds}"
    if len(study.label_shares) > 1:
        title += f", {', '.join(f'{100 * share:g} %' for share in study.label_shares)} of the labels"
    title += f"; {len(trials) - n_full} short trials of the search" * (len(trials) > n_full)
    table = [
        [stage, f"{row['n']:.0f}", f"{row['n_done']:.0f}", _duration(row["seconds"]), f"{row['bytes'] / 1e6:,.0f} MB"]
        for stage, row in rows.items()
    ]
    console.table(title, ["stage (shared work once)", "artifacts", "done", "time", "disk"], table)
    console.note(
        f"measured here: adaptation {1 / speed.adapt:,.0f} tokens/s, fine-tuning {1 / speed.finetune:,.0f} tokens/s,"
        f" one process with {console.count(planner.context.runtime.threads, 'thread')}"
    )
    console.note(
        f"total: {_duration(seconds)} for one process, {_duration(seconds / config.jobs)} with --jobs {config.jobs};"
        f" {n_bytes / 1e9:.1f} GB of disk"
    )
    if speed.cpu_share < _BUSY:
        alone = seconds * speed.cpu_share
        console.note(
            f"other processes use some of the cores; without them about {_duration(alone)} for one process,"
            f" {_duration(alone / config.jobs)} with --jobs {config.jobs}"
        )
    return {
        "trials": [t.about for t in trials],
        "stages": rows,
        "process_seconds": seconds,
        "wall_seconds": seconds / config.jobs,
        "cpu_share": speed.cpu_share,
        "disk_bytes": n_bytes,
        "speed": {"adapt_tokens_per_s": 1 / speed.adapt, "finetune_tokens_per_s": 1 / speed.finetune},
    }


def seconds(planner: Planner, speed: Speed) -> float:
    """Seconds that one process takes for all trials of the study."""
    costs = Costs(planner, speed)
    return sum(costs.seconds(node) for node in shared(planner.trials(planner.study.arms())))


def measure(planner: Planner) -> Speed:
    """Measure the stages on this machine, on some of the study's text and training sentences."""
    context, study = planner.context, planner.study
    with tempfile.TemporaryDirectory() as temporary, console.warnings_only():
        folder = Path(temporary)
        text, n_chars = _sample_text(planner, folder)
        options = next(iter(study.lexicon.values()))
        written = dict(DataOptions())  # the samples are plain files in the default format
        lexicon_config = planner.config(options, ExtractTermsConfig, min_count=1, min_score=0.0, **written)
        extract_terms.run([text], folder / "first", lexicon_config)  # loads the detector, once per process
        lexicon_s = _timed(lambda: extract_terms.run([text], folder / "lexicon", lexicon_config))
        masking = planner.config(
            study.shards, PreprocessConfig, strategy="word", budget=None, model=str(context.model), **written
        )
        shards_s = _timed(lambda: preprocess.run([text], folder / "shards", masking, lexicon=None))
        n_tokens = json.loads((folder / "shards" / STATS).read_bytes())["n_tokens"]
        training = planner.config(
            study.adapt,
            AdaptConfig,
            steps=_UPDATES,
            tokens=None,
            held_out=0.0,
            head_warmup_steps=_UPDATES,
            tokens_per_step=min(study.adapt.step_tokens, _TOKENS_PER_UPDATE),
            weights="uniform",
            sbo=0.0,
            detect=0.0,
            model=str(context.model),
        )
        on_gpu = select_device(context.runtime.device, threads=context.runtime.threads).type == "cuda"
        started = time.perf_counter(), time.process_time()
        adapt.run(folder / "shards", folder / "encoder", training)
        train, dev = _sample_labelled(planner, folder)
        own = _measured_data(study).tuned(study.finetune)
        others = _OF_SENTENCES if own.task in OF_DOCUMENTS else {}
        tuning = planner.config(own, FinetuneConfig, epochs=1, model=str(context.model), **others)
        finetune.run(train, dev, folder / "ner", tuning)
        cpu_share = (time.process_time() - started[1]) / (time.perf_counter() - started[0])
        adapted, tuned = (_seconds_per_token(folder / name / METRICS) for name in ("encoder", "ner"))
    return Speed(
        lexicon=lexicon_s / n_chars,
        shards=shards_s / n_chars,
        head=adapted.get("head", 0.0),
        adapt=adapted["adapt"],
        finetune=tuned[""],
        tokens_per_char=n_tokens / n_chars,
        cpu_share=1.0 if on_gpu else min(1.0, cpu_share / context.runtime.threads),
    )


class Costs:
    """Estimated seconds and bytes of nodes."""

    def __init__(self, planner: Planner, speed: Speed) -> None:
        self._planner = planner
        self._speed = speed
        self.model_bytes = sum(f.stat().st_size for f in planner.context.model.glob("*") if f.is_file())

    def seconds(self, node: StageNode) -> float:
        """Seconds that one process takes for the node."""
        speed, inputs = self._speed, dict(node.inputs)
        config: dict[str, float] = {n: v for n, v in node.config.model_dump().items() if isinstance(v, int | float)}
        if node.stage in ("lexicon", "shards"):
            per_char = speed.lexicon if node.stage == "lexicon" else speed.shards
            return _START_S + per_char * self._n_chars(node)
        if node.stage == "encoder":
            assert isinstance(node.config, AdaptConfig)
            if "steps" not in config:
                n_head_steps = config.get("head_warmup_steps", HEAD_ALONE_STEPS)
                return _START_S + n_head_steps * node.config.step_tokens * speed.head
            return _START_S + config["steps"] * node.config.step_tokens * speed.adapt
        if node.stage == "ner":
            assert isinstance(node.config, FinetuneConfig)
            train, dev = (self._tokens(inputs[role], node.config) for role in ("train", "dev"))
            n_epochs = choose_schedule(node.config, round(train)).epochs
            # every step has as many tokens of companions as of the training data
            n_sources = 1 + ("also" in inputs) + ("silver" in inputs)
            return _START_S + n_epochs * (n_sources * train + dev / _FORWARD) * speed.finetune
        if node.stage == "silver":
            return _START_S + config["sentences"] * _TOKENS_PER_SENTENCE * speed.finetune / _FORWARD
        if node.stage == "eval":
            made_by = inputs["ner"]
            assert isinstance(made_by, OutputOf)
            assert isinstance(made_by.node.config, FinetuneConfig)
            return _START_S + self._tokens(inputs["data"], made_by.node.config) * speed.finetune / _FORWARD
        if node.stage == "probe":
            n_tokens = _PROBED_KINDS * config["items"] * config["max_length"] / 2
            return _START_S + n_tokens * speed.adapt / _FORWARD
        return 1.0

    def n_bytes(self, node: StageNode) -> float:
        """Bytes of disk that the node takes."""
        if node.stage in ("encoder", "ner"):
            return self.model_bytes
        if node.stage == "shards":
            return self._n_chars(node) * self._speed.tokens_per_char * _BYTES_PER_TOKEN
        return 0.0

    def _n_chars(self, node: StageNode) -> float:
        return sum(self._chars(dependency) for role, dependency in node.inputs if role == "text")

    def _chars(self, dependency: Dependency) -> float:
        path, share = _base(dependency)
        return share * _n_chars(path, self._planner)

    def _tokens(self, dependency: Dependency, config: FinetuneConfig) -> float:
        path, share = _base(dependency)
        reading = config.model_copy(update={"seed": 0, "epochs": "auto", "patience": 0})  # one count for all seeds
        n_tokens = share * _n_tokens(path, self._planner.context.model, reading)
        beside = None if isinstance(dependency, Path) else dict(dependency.node.inputs).get("beside")
        return n_tokens if beside is None else min(n_tokens, self._tokens(beside, config))


def _base(dependency: Dependency) -> tuple[Path, float]:
    """The user's file behind a dependency, and the fraction of it that the dependency holds."""
    if isinstance(dependency, Path):
        return dependency, 1.0
    node = dependency.node
    inputs, config = dict(node.inputs), node.config.model_dump()
    path, share = _base(inputs["source"] if "source" in inputs else inputs["train"])
    if node.stage == "split":
        return path, share * (config["dev_share"] if dependency.name == DEV else 1 - config["dev_share"])
    if node.stage == "fold":
        return path, share * (1 / config["folds"] if dependency.name == TEST else 1 - 1 / config["folds"])
    return path, share * (_AUGMENTED if node.stage == "augment" else config.get("share", 1.0))


@functools.cache
def _n_chars(path: Path, planner: Planner) -> int:
    options = next(iter(planner.study.lexicon.values()))
    return sum(len(document.text) for document in read_documents(source_files([path]), options))


@functools.cache
def _n_tokens(path: Path, model: Path, config: FinetuneConfig) -> int:
    return count_train_tokens(path, model, config)


def _sample_text(planner: Planner, folder: Path) -> tuple[Path, int]:
    """Write the beginning of the study's text to a file; its path and its length in characters."""
    options = next(iter(planner.study.lexicon.values()))
    paths = [_base(dependency)[0] for data in planner.study.data for dependency in planner.text(data)]
    text = ""
    for document in read_documents(source_files(paths), options):
        text += document.text[:_SAMPLE_CHARS] + "\n\n"
        if len(text) >= _SAMPLE_CHARS:
            break
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path, len(text)


def _measured_data(study: Study) -> DataSet:
    """The first data set of sentences, if there is one."""
    return next((d for d in study.data if d.tuned(study.finetune).task not in OF_DOCUMENTS), study.data[0])


def _sample_labelled(planner: Planner, folder: Path) -> tuple[Path, Path]:
    """Write the first training sentences with mentions as a train file, and a few of them as a dev file.

    Where no data set is of sentences, the first word of each sentence is a mention: only the speed is measured.
    """
    study, root = planner.study, planner.context.root
    data = _measured_data(study)
    tuning = data.tuned(study.finetune)
    if tuning.task in OF_DOCUMENTS:
        found = find_task(tuning.task).read(root / data.train, tuning).sentences[:_SAMPLE_SENTENCES]
        chosen = [replace(s, mentions=((0, 1, "X"),), tags=("B-X", *s.tags[1:])) for s in found if s.words]
    else:
        corpus = read_labelled(root / data.train, tuning)
        chosen = list(islice((s for s in corpus.sentences if s.mentions), _SAMPLE_SENTENCES))
    for name, sentences in (("train.tsv", chosen), ("dev.tsv", chosen[:5])):
        write_conll(folder / name, sentences)
    return folder / "train.tsv", folder / "dev.tsv"


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _seconds_per_token(metrics: Path) -> dict[str, float]:
    """Median over steps, by training phase, without the first step if there are more."""
    speeds: dict[str, list[float]] = {}
    with metrics.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if "tokens_per_s" in record:
                speeds.setdefault(record.get("phase", ""), []).append(record["tokens_per_s"])
    return {phase: 1 / max(median(found[1:] or found), 1e-9) for phase, found in speeds.items()}


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
