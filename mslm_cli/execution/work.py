"""What an executor does with items, and what it hands out for one that cannot be done."""

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mslm_cli.errors import UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

Prepare = Callable[[], Callable[[Item], Result]]
"""Makes the function from an item to its result, once in each process; it, items and results must be picklable."""


@dataclass(frozen=True)
class Lost:
    """Takes the place of a result: the worker died of this item, or died each time for another reason."""

    item: Any


class Executor(Protocol):
    """Runs a function on items."""

    def map_in_order(self, prepare: Prepare[Item, Result], items: Iterable[Item]) -> Iterator[Result | Lost]:
        """Yield the results for ``items``, in order; items are consumed lazily, only a few ahead."""


class ThisProcess:
    """Runs items one after the other in this process."""

    def map_in_order(self, prepare: Prepare[Item, Result], items: Iterable[Item]) -> Iterator[Result | Lost]:
        """See ``Executor``."""
        yield from map(prepare(), items)


def results(
    executor: Executor, prepare: Prepare[Item, Result], items: Iterable[Item], name: Callable[[Item], str]
) -> Iterator[Result]:
    """The results for ``items``, in order.

    Raises:
        UnavailableError: a worker died again and again; the message has the item's ``name``.
    """
    for found in executor.map_in_order(prepare, items):
        if isinstance(found, Lost):
            hint = "it may have run out of memory; try fewer --workers"
            raise UnavailableError(f"a worker process died again and again ({name(found.item)})", hint=hint)
        yield found


def n_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collect_rarely() -> None:
    """Look for cycles of objects less often than every 700 new ones.

    Imports and corpora are hundreds of thousands of objects and hardly a cycle, so that saves a tenth of the time.
    """
    gc.set_threshold(50_000)
