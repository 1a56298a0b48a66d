"""``mslm sweep``: all trials of a study, by as many processes as there are, and the verdict on them."""

import functools
import os
import sys
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mslm_cli import console, fsio, models
from mslm_cli.artifacts import load
from mslm_cli.config import StudyOptions
from mslm_cli.corpus.files import source_files
from mslm_cli.errors import ArtifactError, DataError, DivergedError, MslmError, UnavailableError, UsageError
from mslm_cli.processes import run_beside
from mslm_cli.studies import cost, estimate, search, verdict
from mslm_cli.studies.plan import PlanContext, Planner, Runtime, Trial, content_of
from mslm_cli.studies.queue import Queue
from mslm_cli.studies.spec import MORE_UPDATES, Arm, Study, read_study
from mslm_cli.studies.store import LOCKS, WORK, StudyStore
from mslm_cli.training.device import choose_gpu

STUDY = "study.toml"
DATA_ROOT = "MSLM_DATA_ROOT"


@dataclass(frozen=True)
class RunContext:
    """What every process that works on a study knows: the file, the study's folder, and how to run."""

    file: Path
    output: Path
    config: StudyOptions
    root: Path
    says: dict[str, bool]


def data_root(file: Path, given: str | None) -> Path:
    """The folder that data paths start from: as given, or by the environment, else ``data_root`` as seen from the file.

    Raises:
        UsageError: the file makes no sense.
    """
    chosen = given or os.environ.get(DATA_ROOT)
    return Path(chosen) if chosen else file.parent / read_study(file).data_root


def plan(file: Path, output: Path, config: StudyOptions, root: Path) -> dict[str, Any]:
    """The trials and nodes of work of the study that ``file`` describes, with an estimate; shown on stderr too.

    Raises:
        UsageError: the file makes no sense.
        DataError: the data are not there, or not sound.
        UnavailableError: the encoder cannot be had.
    """
    study = read_study(file)
    _check_data(study, root)
    return estimate.report(_planner(study, root, config), StudyStore(output), config)


def run(file: Path, output: Path, config: StudyOptions, root: Path) -> dict[str, Any]:
    """The verdict on the study that ``file`` describes, all its trials done; its folder holds the page too.

    Raises:
        UsageError: the file makes no sense, or the folder is something else.
        DataError: the data are not there, or not sound.
        UnavailableError: the encoder or the storage cannot be had, or trials failed.
    """
    study = read_study(file)
    _check_data(study, root)
    claim(output, file.read_text(encoding="utf-8"))
    conduct = RunContext(file, output, config, root, console.settings())
    if config.jobs > 1:
        run_beside(functools.partial(_work, conduct), config.jobs)
    arms, trials, queue = _work_through(conduct)
    errors = queue.errors([t.key for t in trials])
    failed = {t.title: errors[t.key] for t in trials if t.key in errors}
    store = StudyStore(output)
    done = [t for t in trials if store.has(t.result)]
    found = verdict.give(arms, done, failed, _caveats(study), store)
    if failed:
        raise UnavailableError(
            f"{len(failed)} of {len(trials)} trials failed; the verdict is about the others",
            hint="the same command tries them again",
        )
    return found


def _caveats(study: Study) -> list[str]:
    """What the intervals do not know."""
    if study.adapt.per_seed or not any(arm.is_adapted for arm in study.arms()):
        return []
    return ["All seeds of an arm share one adaptation: the intervals do not know how much another one would differ."]


def _check_data(study: Study, root: Path) -> None:
    """Refuse what is missing, and dev or test data among what is learnt from.

    Raises:
        DataError: a file is not there, or dev or test data are text or training data too.
    """
    learnt = {path: f"text {path}" for d in study.data for path in (*study.text, *(d.text or ()))}
    learnt |= {d.train: f"the training data of {d.name}" for d in study.data}
    others = [path for options in study.lexicon.values() for path in options.terms]
    others += [study.probe.general] if study.probes and study.probe.general is not None else []
    for path in [*learnt, *others, *(p for d in study.data for p in (d.dev, d.test) if p is not None)]:
        if not (root / path).exists():
            hint = f"paths start from data_root in the file, --data-root or ${DATA_ROOT}"
            raise DataError("no such file or folder", path=root / path, hint=hint)
    known = {content_of(file): what for path, what in learnt.items() for file in source_files([root / path])}
    for data in study.data:
        for what, held_out in (("dev", data.dev), ("test", data.test)):
            for file in [] if held_out is None else source_files([root / held_out]):
                if same := known.get(content_of(file)):
                    raise DataError(
                        f"the {what} data of {data.name} are {same}: nothing learnt from them can be measured on them",
                        path=file,
                    )


def claim(output: Path, text: str) -> None:
    """Make ``output`` the folder of the study that ``text`` describes, one process after another.

    Raises:
        UsageError: it is something else.
        UnavailableError: it cannot be made.
    """
    if output.exists() and (not output.is_dir() or _is_foreign({path.name for path in output.iterdir()})):
        raise UsageError(f"{output} exists and is no study", hint="choose another -o")
    file = output / STUDY
    fsio.check_writable(file)
    with fsio.held(StudyStore(output).lock(STUDY)):
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            fsio.write_text(file, text)
        (output / WORK).mkdir(mode=0o700, exist_ok=True)


def _is_foreign(names: Set[str]) -> bool:
    """Whether a folder with these names in it is no study, not even one that another process is just beginning."""
    return STUDY not in names and any(name != LOCKS and not name.startswith(f".{STUDY}") for name in names)


def _planner(study: Study, root: Path, config: StudyOptions) -> Planner:
    """What plans the study's trials on this machine."""
    model = models.resolve(study.model, offline=config.offline, allow_pickle=study.allow_pickle)
    arms = study.arms()
    is_adapted = config.search or any(arm.is_adapted for arm in arms)
    with_more = any(arm.kind == MORE_UPDATES for arm in arms)
    reading = study.finetune.model_copy(update={"lowercase": study.lowercase})
    train_tokens = {
        d.name: cost.count_train_tokens(root / d.train, model, reading) * (1 - (d.dev is None) * d.dev_share)
        for d in study.data
        if with_more or config.search or config.dry_run
    }
    share = study.shards.budget or max((b for arm in study.arm for b in arm.budget), default=cost.USUAL_SHARE)
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
    context = PlanContext(
        study=study,
        root=root,
        model=model,
        has_head=is_adapted and cost.has_mlm_head(model, allow_pickle=study.allow_pickle),
        max_tokens=models.position_limit(models.read_config(model)),
        train_tokens={name: round(n) for name, n in train_tokens.items()},
        cost_ratio=cost.cost_ratio(models.read_config(model), share),
        runtime=Runtime(threads, config.device, config.offline),
    )
    return Planner(context)


def _work(conduct: RunContext, number: int) -> None:
    """Work through the study beside other processes, as the ``number``-th of them."""
    console.configure(**conduct.says)
    choose_gpu(number)
    try:
        _work_through(conduct)
    except MslmError as error:
        console.error(str(error))
        sys.exit(error.exit_code)


def _work_through(conduct: RunContext) -> tuple[list[Arm], list[Trial], Queue]:
    """Do what is left to do, together with whoever else works on the study; its arms and all its trials."""
    store = StudyStore(conduct.output)
    study = read_study(conduct.file)
    planner = _planner(study, conduct.root, conduct.config)
    queue = Queue(store, conduct.config.storage)
    arms = study.arms()
    if conduct.config.search:
        arms.append(search.winner(planner, functools.partial(drain, store, queue), store))
    trials = planner.trials(arms)
    drain(store, queue, trials)
    return arms, trials, queue


def drain(store: StudyStore, queue: Queue, trials: Sequence[Trial]) -> None:
    """See to it that all ``trials`` are done or have failed, here or in other processes."""
    by_key = {trial.key: trial for trial in trials}
    done = {t.key for t in trials if store.has(t.result) and (t.probe is None or store.has(t.probe))}
    about = {t.key: {"data": t.data, "arm": t.arm.name, "seed": t.seed, "share": t.share} for t in trials}
    queue.enqueue(about, done)
    while True:
        claim = queue.claim(list(by_key))
        if claim is None:
            if not queue.wait(list(by_key)):
                return
            continue
        trial, started = by_key[claim.key], time.perf_counter()
        try:
            for node in trial.nodes():
                store.make(node)
        except (ArtifactError, DataError, DivergedError, UsageError) as error:
            console.warn(f"{trial.title}: {error}")
            queue.fail(claim, str(error))
            continue
        dev_f1 = float(load(store.path(trial.ner), "ner").manifest.run["dev_f1"])
        queue.finish(claim, dev_f1)
        minutes = (time.perf_counter() - started) / 60
        n_done = sum(store.has(t.result) for t in trials)
        console.note(f"{n_done} of {len(trials)}: {trial.title}: dev strict F1 {100 * dev_f1:.2f} ({minutes:.1f} min)")
