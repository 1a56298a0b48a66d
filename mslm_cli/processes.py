"""Running work over a corpus, in this process or in worker processes.

Only ``executor`` decides which. ``map_in_order`` gives the same results in the same order either way, so no output
depends on where the work ran.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mslm_cli import signals
from mslm_cli.errors import UnavailableError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_state: dict[str, Any] = {}


class Executor(Protocol):
    """Runs a function on items."""

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield the results for ``items``, in order.

        Args:
            prepare: makes the function from an item to its result, once in each process; it, items and results must be
                picklable.
            items: consumed lazily, only a few ahead.
        """


class ThisProcess:
    """Runs items one after the other in this process."""

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See ``Executor``."""
        yield from map(prepare(), items)


@dataclass(frozen=True)
class WorkerProcesses:
    """Runs items in ``n`` worker processes, which end when this process ends, for whatever reason."""

    n: int

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See ``Executor``.

        Raises:
            UnavailableError: a worker process died.
        """
        # Forked processes would inherit locks of libraries with running threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.n, mp_context=context, initializer=_begin, initargs=(prepare,))
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(_work, item))
                if len(waiting) == 2 * self.n:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            hint = "it may have run out of memory; try fewer --workers"
            raise UnavailableError("a worker process died", hint=hint) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def executor(workers: int) -> Executor:
    """The executor for this number of processes."""
    return ThisProcess() if workers == 1 else WorkerProcesses(workers)


def map_in_order(
    prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item], *, workers: int
) -> Iterator[_Result]:
    """``Executor.map_in_order`` with the executor for this number of processes."""
    return executor(workers).map_in_order(prepare, items)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with signals.raising():
            work(number)
    except signals.Terminated:
        sys.exit(128 + signal.SIGTERM)


def _begin(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _state["prepare"] = prepare


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: Any) -> Any:
    # Made here instead of in _begin, whose errors would reach the parent without a message.
    if "work" not in _state:
        _state["work"] = _state["prepare"]()
    return _state["work"](item)
