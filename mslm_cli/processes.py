"""Where work over a corpus runs: in this process, or spread over others.

``executor`` is the one place that decides; whatever it returns, ``map_in_order`` gives the same results in the same
order, so nothing that is written depends on where the work ran.
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
    """Where the work on single items runs."""

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield the results for ``items``, in their order.

        Args:
            prepare: makes the function that turns an item into its result, once wherever the work runs; must be
                picklable, as must items and results.
            items: are drawn as they are needed, few of them ahead.
        """


class ThisProcess:
    """Work done here, one item after the other."""

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See ``Executor``."""
        yield from map(prepare(), items)


@dataclass(frozen=True)
class WorkerProcesses:
    """Work spread over ``n`` processes, which end with this one, however it ends."""

    n: int

    def map_in_order(
        self, prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See ``Executor``.

        Raises:
            UnavailableError: a process died.
        """
        # Forked processes would share locks of the libraries that run threads here.
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
            hint = "was it killed for lack of memory? try fewer --workers"
            raise UnavailableError("a worker process died", hint=hint) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def executor(workers: int) -> Executor:
    """The executor for this number of processes."""
    return ThisProcess() if workers == 1 else WorkerProcesses(workers)


def map_in_order(
    prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item], *, workers: int
) -> Iterator[_Result]:
    """``Executor.map_in_order`` of the executor for this number of processes."""
    return executor(workers).map_in_order(prepare, items)


def run_beside(work: Callable[[int], None], n: int) -> None:
    """Run ``work(0)`` to ``work(n - 1)`` in processes side by side, to the end of the last one.

    The processes end with this one, however it ends.

    Raises:
        UnavailableError: a process failed; it has said why.
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
        hint = "run the same command again to go on; if it was for lack of memory, with fewer --jobs"
        raise UnavailableError(f"{failed} of {n} worker processes died", hint=hint)


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
    # Made here and not in _begin, whose errors come to the parent without their message.
    if "work" not in _state:
        _state["work"] = _state["prepare"]()
    return _state["work"](item)
