"""The command line in a process of its own that starts at once: forked from one that has imported everything."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

DIED = 86
"""The exit code of a process that died as it was told to."""

_PRELOADED = [
    "mslm_cli.cli.app",
    "spacy",
    *(f"mslm_cli.stages.{stage}" for stage in ("extract_terms", "preprocess", "adapt", "finetune", "evaluate")),
]


def start(
    *arguments: object,
    folder: Path,
    dies_after: int | str | None = None,
    environment: dict[str, str | None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> ForkServerProcess:
    """Start ``mslm`` in ``folder``, with its streams in the files (or pipes, or terminals) stdout and stderr there.

    Args:
        dies_after: the process ends without a word after so many renames of files or folders, or after the
            first one to a certain name.
        environment: variables to set, or with None to remove.
        prepare: what to do in the process before the command.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    arguments = ([str(a) for a in arguments], folder, dies_after, environment or {}, prepare)
    process = context.Process(target=_run, args=arguments)
    process.start()
    return process


def run(
    *arguments: object,
    folder: Path,
    dies_after: int | str | None = None,
    environment: dict[str, str | None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> int | None:
    """The exit code of ``mslm`` in ``folder``; negative for a signal. See ``start``."""
    process = start(*arguments, folder=folder, dies_after=dies_after, environment=environment, prepare=prepare)
    process.join()
    return process.exitcode


def die_after_blocks(n: int, number: int | None = None) -> None:
    """Let this process die, or get the signal ``number``, when the journal has ``n`` blocks."""
    from mslm_cli.corpus.over_blocks import Journal

    add = Journal.add

    def added(self: Journal, outcome: Any) -> None:
        add(self, outcome)
        with self._path.open() as lines:
            n_blocks = sum(1 for _ in lines)
        if n_blocks == n and number is None:
            os._exit(DIED)
        elif n_blocks == n:
            os.kill(os.getpid(), number)

    Journal.add = added  # type: ignore[method-assign]  # in a process that ends


def _run(
    arguments: Sequence[str],
    folder: Path,
    dies_after: int | str | None,
    environment: dict[str, str | None],
    prepare: Callable[[], None] | None,
) -> None:
    os.chdir(folder)
    for variable, value in environment.items():
        os.environ.pop(variable, None)
        if value is not None:
            os.environ[variable] = value
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a forkserver ignores it, and so would its children
    if dies_after is not None:
        _die_after(dies_after)
    if prepare is not None:
        prepare()
    from mslm_cli.cli.app import app

    app(list(arguments), prog_name="mslm")


def _die_after(moment: int | str) -> None:
    n_done = 0

    def fatal(rename: Any) -> Any:
        def rename_and_die(source: Path, target: Path) -> Path:
            nonlocal n_done
            renamed: Path = rename(source, target)
            n_done += 1
            if moment in (n_done, Path(target).name):
                sys.stderr.flush()
                os._exit(DIED)
            return renamed

        return rename_and_die

    Path.rename, Path.replace = fatal(Path.rename), fatal(Path.replace)  # type: ignore[method-assign]  # the fault
