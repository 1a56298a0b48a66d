"""Work spread over processes."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mslm_cli import signals
from mslm_cli.errors import UnavailableError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_state: dict[str, Any] = {}


def map_in_order(
    prepare: Callable[[], Callable[[_Item], _Result]], items: Iterable[_Item], *, workers: int
) -> Iterator[_Result]:
    """The results for ``items``, in their order, whatever the number of ``workers``.

    ``prepare`` makes what turns an item into its result, once in each process; with one worker that is this
    process. Items are asked for when they are needed, few of them ahead. The processes end with this one,
    however it ends.

    Raises:
        UnavailableError: a process died.
    """
    if workers == 1:
        yield from map(prepare(), items)
        return
    # Forked processes would share locks of the libraries that run threads here.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(prepare,))
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(_work, item))
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        hint = "was it killed for want of memory? try fewer --workers"
        raise UnavailableError("a worker process died", hint=hint) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


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
        hint = "run the same command again to go on; if it was for want of memory, with fewer --jobs"
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
