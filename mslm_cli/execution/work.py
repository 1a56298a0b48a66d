"""What an executor does with items, and what it hands out for one that cannot be done."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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


def n_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
