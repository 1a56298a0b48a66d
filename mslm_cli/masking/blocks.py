"""All sequences of a corpus, block by block, for what is computed over them before masking."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mslm_cli.masking.batch import RaggedBatch

_Found = TypeVar("_Found")


class Blocks:
    """All sequences, as often as they are asked for.

    Args:
        read: begins to read them.
    """

    def __init__(self, read: Callable[[], Iterable[RaggedBatch]]) -> None:
        self._read = read

    def __call__(self) -> Iterable[RaggedBatch]:
        """The blocks, in order."""
        return self._read()

    def map(self, prepare: Callable[[], Callable[[RaggedBatch], _Found]]) -> Iterator[_Found]:
        """What the function that ``prepare`` makes finds in each block, in order; a subclass may run it elsewhere."""
        return map(prepare(), self())
