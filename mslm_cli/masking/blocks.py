"""All sequences of a corpus, block by block, for what is computed over them before masking."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from mslm_cli.masking.batch import RaggedBatch

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class Blocks:
    """All sequences, as often as they are asked for; a subclass may do the work on them in other processes.

    Args:
        read: begins to read them.
        folder: where temporary files are made, if not in the system's folder for such files.
    """

    def __init__(self, read: Callable[[], Iterable[RaggedBatch]], folder: Path | None = None) -> None:
        self._read, self.folder = read, folder

    def __call__(self) -> Iterable[RaggedBatch]:
        """The blocks, in order."""
        return self._read()

    def map(self, prepare: Callable[[], Callable[[RaggedBatch], _Found]]) -> Iterator[_Found]:
        """What the function that ``prepare`` makes finds in each block, in order."""
        return map(prepare(), self())

    def run(self, prepare: Callable[[], Callable[[_Item], _Found]], items: Iterable[_Item]) -> Iterator[_Found]:
        """What the function that ``prepare`` makes finds for each item, in order: other work, done where ``map`` is."""
        return map(prepare(), items)
