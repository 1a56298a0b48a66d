"""Worker processes, which end when the process that started them ends."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from mslm_cli import signals
from mslm_cli.errors import UnavailableError
from mslm_cli.execution.work import Item, Lost, Prepare, Result, collect_rarely

MAX_DEATHS = 4
"""Consecutive deaths of workers, without a result in between, after which an item runs alone."""


class WorkerProcesses:
    """Runs items in ``n`` worker processes, which end when this process ends, for whatever reason.

    Workers that die are replaced, and what they worked on is run again.
    """

    def __init__(self, n: int, folder: Path) -> None:
        """``folder``: for what the processes share."""
        self.n, self._folder = n, folder
        self._n_maps = 0
        self._pool = _new_pool(n)

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map_in_order(self, prepare: Prepare[Item, Result], items: Iterable[Item]) -> Iterator[Result | Lost]:
        """See ``Executor``."""
        self._n_maps += 1
        shared = self._folder / str(self._n_maps)
        with shared.open("wb") as file:
            pickle.dump(prepare, file)
        waiting: deque[tuple[Item, Future[Result | Lost]]] = deque()
        n_deaths = 0
        try:
            for item in items:
                waiting.append((item, _submitted(self._pool, shared, item)))
                if len(waiting) == 2 * self.n:
                    result, n_deaths = self._first(waiting, shared, n_deaths)
                    yield result
            while waiting:
                result, n_deaths = self._first(waiting, shared, n_deaths)
                yield result
        finally:
            for _, future in waiting:
                future.cancel()

    def _first(
        self, waiting: "deque[tuple[Item, Future[Result | Lost]]]", shared: Path, n_deaths: int
    ) -> tuple[Result | Lost, int]:
        """Remove the first item; its result, and the consecutive deaths since: 0."""
        while n_deaths < MAX_DEATHS:
            try:
                result = waiting[0][1].result()
            except BrokenProcessPool:
                n_deaths += 1
                self._replace_pool(waiting, shared)
                continue
            waiting.popleft()
            return result, 0
        item, _ = waiting.popleft()
        found = _alone(item, shared)
        self._replace_pool(waiting, shared)
        return found, 0

    def _replace_pool(self, waiting: "deque[tuple[Any, Future[Any]]]", shared: Path) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = _new_pool(self.n)
        for number, (item, future) in enumerate(waiting):
            if not future.done() or future.cancelled() or future.exception() is not None:
                waiting[number] = (item, _submitted(self._pool, shared, item))


def run_in_parallel(work: Callable[[int], None], n: int) -> None:
    """Run ``work(0)`` to ``work(n - 1)`` in parallel processes, and wait for all of them.

    The processes end when this process ends, for whatever reason.

    Raises:
        UnavailableError: a process failed, after printing its error.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run_one, args=(work, number)) for number in range(n)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
                process.join()
    if failed := sum(process.exitcode != 0 for process in processes):
        hint = "run the same command again to continue; use fewer --jobs if memory ran out"
        raise UnavailableError(f"{failed} of {n} worker processes failed", hint=hint)


def _run_one(work: Callable[[int], None], number: int) -> None:
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with signals.raising():
            work(number)
    except signals.Terminated:
        sys.exit(128 + signal.SIGTERM)


def _new_pool(n: int) -> ProcessPoolExecutor:
    # Forked processes would inherit locks of libraries with running threads.
    context: SpawnContext = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n, mp_context=context, initializer=_begin)


def _submitted(pool: ProcessPoolExecutor, shared: Path, item: Item) -> "Future[Any]":
    try:
        return pool.submit(_work, shared, item)
    except BrokenProcessPool as error:
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


def _alone(item: Item, shared: Path) -> Any:
    """The result of ``item`` in a process of its own."""
    with _new_pool(1) as pool:
        try:
            return pool.submit(_work, shared, item).result()
        except BrokenProcessPool:
            return Lost(item)


def _begin() -> None:
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_prepared: dict[Path, Callable[[Any], Any]] = {}


def _work(shared: Path, item: Any) -> Any:
    if shared not in _prepared:
        _prepared.clear()  # a process works on one map at a time
        with shared.open("rb") as file:
            _prepared[shared] = pickle.load(file)()
    return _prepared[shared](item)
