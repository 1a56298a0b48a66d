"""``mslm sweep``: run all trials of a study in one or more processes, and give the verdict."""

import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mslm_cli import code_identity, console, fsio, models
from mslm_cli.artifacts import load
from mslm_cli.config import StudyOptions
from mslm_cli.corpus.files import source_files
from mslm_cli.errors import ArtifactError, DataError, DivergedError, MslmError, UnavailableError, UsageError
from mslm_cli.execution.workers import run_in_parallel
from mslm_cli.reporting.study import PAGE
from mslm_cli.studies import cost, estimate, search, verdict
from mslm_cli.studies.nodes import Trial, content_of
from mslm_cli.studies.plan import PlanContext, Planner, Runtime
from mslm_cli.studies.queue import Queue
from mslm_cli.studies.spec import MORE_STEPS, OF_DOCUMENTS, Arm, DataSet, LabelledData, Study, read_study
from mslm_cli.studies.store import LOCKS, WORK, StudyStore
from mslm_cli.tasks.registry import TASKS, find_task
from mslm_cli.tasks.task import inapplicable
from mslm_cli.training.device import choose_gpu

_PAGE_EVERY_S = 60
STUDY = "study.toml"
CODE = "code.json"
DATA_ROOT = "MSLM_DATA_ROOT"


@dataclass(frozen=True)
class RunContext:
    """What every process of a study gets: its file, folder, options and data root, and the console settings."""

    file: Path
    output: Path
    config: StudyOptions
    root: Path
    console_settings: dict[str, bool]


def data_root(file: Path, given: str | None) -> Path:
    """The folder for relative data paths: ``given``, else the environment, else ``data_root`` relative to the file.

    Raises:
        UsageError: the file is invalid.
    """
    chosen = given or os.environ.get(DATA_ROOT)
    return Path(chosen).expanduser() if chosen else file.parent / read_study(file).data_root


def plan(file: Path, output: Path, config: StudyOptions, root: Path) -> dict[str, Any]:
    """The trials and stage runs of the study in ``file``, with an estimate; also shown on stderr.

    Raises:
        UsageError: the file is invalid.
        DataError: the data are missing or invalid.
        UnavailableError: the encoder is unavailable.
    """
    study = checked_study(file, root)
    return estimate.report(_planner(study, root, config), StudyStore(output), config)


def seconds_needed(files: Sequence[Path], config: StudyOptions, root: Path) -> list[float]:
    """Estimated seconds of each of these studies, which differ in their arms, seeds and shares of the labels alone.

    Raises: as ``plan``.
    """
    studies = [*map(read_study, files[:-1]), checked_study(files[-1], root)]
    speed = estimate.measure(_planner(studies[-1], root, config))
    with console.warnings_only():
        planners = [_planner(study, root, config) for study in studies]
    return [estimate.seconds(planner, speed) / config.jobs for planner in planners]


def run(file: Path, output: Path, config: StudyOptions, root: Path) -> dict[str, Any]:
    """Run all trials of the study in ``file`` and give the verdict; also writes the page to its folder.

    Raises:
        UsageError: the file is invalid, or the folder is not a study.
        DataError: the data are missing or invalid.
        UnavailableError: the encoder or the storage is unavailable, or trials failed.
    """
    study = checked_study(file, root)
    claim(output, file.read_text(encoding="utf-8"))
    claim_code(output, study, accept=config.accept_other_code)
    context = RunContext(file, output, config, root, console.settings())
    if config.jobs > 1:
        run_in_parallel(functools.partial(_work, context), config.jobs)
    arms, trials, queue = _work_through(context)
    store = StudyStore(output)
    progress = _progress(trials, queue, store)
    found = verdict.give(arms, progress, _caveats(study, code_versions(output)), store)
    if progress.failed:
        raise UnavailableError(
            f"{len(progress.failed)} of {len(trials)} trials failed; the verdict covers the others",
            hint="run the same command again to retry them",
        )
    return found


def _progress(trials: Sequence[Trial], queue: Queue, store: StudyStore) -> verdict.Progress:
    errors = queue.errors([t.key for t in trials])
    failed = {t.title: errors[t.key] for t in trials if t.key in errors}
    return verdict.Progress([t for t in trials if store.has(t.result)], len(trials), failed)


class InterimPage:
    """The page of an unfinished study, written again as trials finish."""

    def __init__(self, arms: Sequence[Arm], caveats: Sequence[str], queue: Queue, store: StudyStore) -> None:
        self._arms, self._caveats, self._queue, self._store = arms, caveats, queue, store
        self._interval_s: float = _PAGE_EVERY_S

    def update(self, trials: Sequence[Trial]) -> None:
        """Write the page, unless it is recent (written by any process) or there is no baseline yet.

        Writing takes at most a twentieth of the time.
        """
        page = self._store.folder / PAGE
        if page.is_file() and time.time() - page.stat().st_mtime < self._interval_s:
            return
        progress = _progress(trials, self._queue, self._store)
        if not progress.n_left:
            return
        started = time.perf_counter()
        try:
            verdict.write(self._arms, progress, self._caveats, self._store)
        except DataError:  # no baseline yet
            return
        self._interval_s = max(_PAGE_EVERY_S, 20 * (time.perf_counter() - started))


def _caveats(study: Study, n_versions: int) -> list[str]:
    """Sources of variation that the intervals do not cover."""
    caveats = []
    if not study.adapt.per_seed and any(arm.is_adapted for arm in study.arms()):
        caveats.append(
            "All seeds of an arm share one adaptation: the intervals do not cover variation between adaptations."
        )
    used = {arm.source for arm in study.arms()}
    if shared := [source.name for source in study.source if not source.per_seed and source.name in used]:
        caveats.append(
            f"All seeds of transfer share one model of {' and of '.join(shared)}: the intervals do not cover variation"
            " between such models."
        )
    if n_versions > 1:
        caveats.append(f"These results come from {n_versions} versions of the code, which may explain differences.")
    return caveats


def checked_study(file: Path, root: Path) -> Study:
    """Read a study, and check its tasks and its data.

    Raises:
        UsageError: the file is invalid, a task is unknown, or an option means nothing to the task of a data set.
        DataError: as ``check_data``.
    """
    study = read_study(file)
    for data in study.data:
        where = f"{file}: data set {data.name!r}"
        config = data.tuned(study.finetune)
        if config.task not in TASKS.names():
            raise UsageError(
                f"{where}: unknown task {config.task!r}", hint=f"tasks: {', '.join(sorted(TASKS.names()))}"
            )
        task = find_task(config.task)
        for arm in study.arms():
            if wrong := inapplicable(task, config.model_copy(update=arm.finetune)):
                raise UsageError(f"{where}: finetune.{wrong[0]} does not apply to task {config.task!r}")
    check_data(study, root)
    return study


def check_data(study: Study, root: Path) -> None:
    """Check that all files exist, and that no dev or test data are also used for training.

    Raises:
        DataError: a file is missing, or dev or test data are also text or training data.
    """
    learnt = {path: f"text {path}" for d in study.data for path in (*study.text, *(d.text or ()))}
    learnt |= {d.train: f"the training data of {d.name}" for d in study.data}
    learnt |= {path: f"data of source {s.name}" for s in study.source for path in (s.train, s.dev) if path is not None}
    others = [path for options in study.lexicon.values() for path in options.terms]
    others += [study.probe.general] if study.probes and study.probe.general is not None else []
    for path in [*learnt, *others, *(p for d in study.data for p in (d.dev, d.test) if p is not None)]:
        if not (root / path).exists():
            hint = f"paths are relative to data_root in the file, --data-root or ${DATA_ROOT}"
            raise DataError("no such file or folder", path=root / path, hint=hint)
    known = {content_of(file): what for path, what in learnt.items() for file in source_files([root / path])}
    for data in study.data:
        for what, held_out in (("dev", data.dev), ("test", data.test)):
            for file in [] if held_out is None else source_files([root / held_out]):
                if same := known.get(content_of(file)):
                    raise DataError(f"the {what} data of {data.name} are also {same}: use held-out data", path=file)


def claim(output: Path, text: str) -> None:
    """Make ``output`` the folder of the study in ``text``; a lock admits one process at a time.

    Raises:
        UsageError: ``output`` exists and is not a study.
        UnavailableError: ``output`` cannot be created.
    """
    if output.exists() and (not output.is_dir() or _is_foreign({path.name for path in output.iterdir()})):
        raise UsageError(f"{output} exists and is not a study", hint="choose another -o")
    file = output / STUDY
    fsio.check_writable(file)
    with fsio.held(StudyStore(output).lock(STUDY)):
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            fsio.write_text(file, text)
        (output / WORK).mkdir(mode=0o700, exist_ok=True)


def code_versions(output: Path) -> int:
    """The number of code versions that have worked on the study in ``output``."""
    return len(json.loads((output / CODE).read_bytes()))


def claim_code(output: Path, study: Study, *, accept: bool) -> None:
    """Bind the study in ``output`` to the running code.

    Args:
        accept: continue a study that other code began.

    Raises:
        UsageError: other code began it, and ``accept`` is false.
    """
    strategies = {arm.kind for arm in study.arms()}
    here: dict[str, str] = {}
    tasks = {data.tuned(study.finetune).task for data in study.data}
    for stage, strategy, task in itertools.product(code_identity.STAGES, sorted(strategies), sorted(tasks)):
        options = {"strategy": strategy, "format": "auto", "task": task}
        here |= code_identity.sources_of(stage, options)
    file = output / CODE
    with fsio.held(StudyStore(output).lock(CODE)):
        versions: list[dict[str, str]] = json.loads(file.read_bytes()) if file.is_file() else []
        recorded = versions[-1] if versions else {}
        changed = code_identity.changed(recorded, here)
        if changed and not accept:
            raise UsageError(
                f"{output}: this study was begun with other code ({code_identity.shortlist(changed)})",
                hint="--accept-other-code continues it; another -o starts a new one",
            )
        if changed or not versions:
            versions.append(here)
        else:
            versions[-1] = recorded | here
        fsio.write_text(file, json.dumps(versions, indent=2) + "\n")


def _is_foreign(names: Set[str]) -> bool:
    """Whether a folder with these entries is not a study, not even one that another process is just creating."""
    return STUDY not in names and any(name != LOCKS and not name.startswith(f".{STUDY}") for name in names)


def _planner(study: Study, root: Path, config: StudyOptions) -> Planner:
    """The planner of the study's trials on this machine."""
    model = models.resolve(study.model, offline=config.offline, allow_pickle=study.allow_pickle)
    arms = study.arms()
    is_adapted = config.search or any(arm.is_adapted for arm in arms)
    with_more = any(arm.kind == MORE_STEPS for arm in arms)
    wanted = {arm.like for arm in arms}
    matched = {arm.source for arm in arms if arm.name in wanted}
    if config.search and (others := [d.name for d in study.data if d.tuned(study.finetune).task in OF_DOCUMENTS]):
        raise UsageError(f"--search is for tasks of sentences, which {others[0]} is not")

    def count_tokens(labelled: Sequence[LabelledData]) -> dict[str, int]:
        tuning = [d.tuned(study.finetune) if isinstance(d, DataSet) else study.finetune for d in labelled]
        reading = [each.model_copy(update={"lowercase": study.lowercase}) for each in tuning]
        return {
            d.name: round(cost.count_train_tokens(root / d.train, model, options) * d.learnt_share)
            for d, options in zip(labelled, reading, strict=True)
        }

    share = study.shards.budget or max((b for arm in study.arm for b in arm.budget), default=cost.USUAL_SHARE)
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
    context = PlanContext(
        study=study,
        root=root,
        model=model,
        has_head=is_adapted and cost.has_mlm_head(model, allow_pickle=study.allow_pickle),
        max_tokens=models.position_limit(models.read_config(model)),
        train_tokens=count_tokens(study.data) if with_more or config.search or config.dry_run else {},
        source_tokens=count_tokens([s for s in study.source if s.name in matched]),
        cost_ratio=cost.cost_ratio(models.read_config(model), share),
        runtime=Runtime(threads, config.device, config.offline),
    )
    return Planner(context)


def _work(context: RunContext, number: int) -> None:
    """Work on the study as process ``number`` of several."""
    console.configure(**context.console_settings)
    choose_gpu(number)
    try:
        _work_through(context)
    except MslmError as error:
        console.error(str(error))
        sys.exit(error.exit_code)


def _work_through(context: RunContext) -> tuple[list[Arm], list[Trial], Queue]:
    """Do the remaining work, sharing it with other processes; the study's arms and all its trials."""
    store = StudyStore(context.output)
    study = read_study(context.file)
    planner = _planner(study, context.root, context.config)
    queue = Queue(store, context.config.storage)
    arms = study.arms()
    if context.config.search:
        arms.append(search.winner(planner, functools.partial(drain, store, queue), store))
    trials = planner.trials(arms)
    page = InterimPage(arms, _caveats(study, code_versions(context.output)), queue, store)
    drain(store, queue, trials, page.update)
    return arms, trials, queue


def drain(
    store: StudyStore,
    queue: Queue,
    trials: Sequence[Trial],
    on_done: Callable[[Sequence[Trial]], None] = lambda _: None,
) -> None:
    """Return once every trial is done or has failed, here or in another process.

    Args:
        on_done: called with all trials after each one that is done here.
    """
    by_key = {trial.key: trial for trial in trials}
    done = {t.key for t in trials if store.has(t.result) and (t.probe is None or store.has(t.probe))}
    queue.enqueue({t.key: t.about for t in trials}, done)
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
        run = load(store.path(trial.ner), "ner").manifest.run
        queue.finish(claim, float(run["dev_score"]))
        minutes = (time.perf_counter() - started) / 60
        n_done = sum(store.has(t.result) for t in trials)
        score = f"{run['primary_metric']} {100 * run['dev_score']:.2f}"
        console.note(f"{n_done} of {len(trials)}: {trial.title}: dev {score} ({minutes:.1f} min)")
        on_done(trials)
