"""Work over a corpus, block by block: on an executor, resumed from a journal, without documents that break it."""

import functools
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from mslm_cli import console, fsio
from mslm_cli.corpus.blocks import Block
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import BadDocumentError, MslmError, UnavailableError
from mslm_cli.execution.work import Executor, Lost
from mslm_cli.workspace import JOURNAL

Made = TypeVar("Made")

Work = Callable[[Block, Iterable[Document]], Made]
"""From the documents of a block, which may be fewer than it has, to a result."""


class Journal:
    """The results of finished blocks, as JSON values, with the files that belong to them.

    A result whose files are missing or damaged counts as not there.

    Args:
        folder: where the journal and the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        self._results: dict[int, Any] = {}
        self._files: dict[int, dict[str, str]] = {}
        n_good = 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                try:
                    number, files, result = json.loads(line)
                except (ValueError, TypeError):
                    break  # a kill cut it off
                if not line.endswith(b"\n"):
                    break
                self._files[number], self._results[number] = files, result
                n_good += len(line)
            os.truncate(self._path, n_good)

    def __len__(self) -> int:
        return len(self._results)

    def result(self, number: int) -> Any:
        """The result of a block, None if it is not there."""
        files = self._files.get(number, {})
        is_whole = all((self.folder / n).is_file() and fsio.sha256_of(self.folder / n) == h for n, h in files.items())
        return self._results.get(number) if is_whole else None

    def add(self, number: int, result: Any, files: dict[str, str]) -> None:
        """Keep the result of a block; ``files``: their names in the folder, and their SHA-256."""
        line = json.dumps([number, files, result], separators=(",", ":"))
        with self._path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


class Kept(NamedTuple):
    """The result of a block for a journal: JSON values, and files written to the journal's folder."""

    result: Any
    files: dict[str, str]


@dataclass(frozen=True)
class OverBlocks:
    """How to work over blocks.

    skip_bad: how many documents may be left out because work on them fails. journal: for results of type ``Kept``.
    """

    executor: Executor
    options: DataOptions
    skip_bad: int = 0
    journal: Journal | None = None

    def map(
        self, prepare: Callable[[], Work[Any]], blocks: Iterable[Block], bar: console.ProgressLine
    ) -> Iterator[Any]:
        """The results of all blocks, in order; with a journal, what ``Kept.result`` holds.

        Raises:
            BadDocumentError: work on more than ``skip_bad`` documents fails; the message names one.
            UnavailableError: a worker died again and again, and not of a single document.
        """
        order: deque[Any] = deque()

        def missing() -> Iterator[Block]:
            for block in blocks:
                order.append(self.journal.result(block.number) if self.journal is not None else None)
                if order[-1] is None:
                    yield block
                else:
                    bar.advance(block.n_bytes)

        if self.journal is not None and len(self.journal):
            console.note(f"resuming from {self.journal.folder} ({console.count(len(self.journal), 'block')})")
        careful = functools.partial(_careful, prepare, self.options, self.skip_bad)
        n_bad = 0
        for outcome in self.executor.map_in_order(careful, missing()):
            while order[0] is not None:
                yield order.popleft()
            order.popleft()
            found = self._without_killers(careful, outcome.item) if isinstance(outcome, Lost) else outcome
            n_bad += len(found.bad)
            if n_bad > self.skip_bad:
                raise _too_many(found.bad[-1], self.skip_bad)
            for bad in found.bad:
                console.warn(f"left out {bad}")
            if self.journal is not None and isinstance(found.made, Kept):
                self.journal.add(found.number, *found.made)
            bar.advance(found.n_bytes)
            yield found.made.result if isinstance(found.made, Kept) else found.made
        yield from order

    def _without_killers(
        self, careful: "Callable[[], Callable[[Block], _Outcome[Any]]]", block: Block
    ) -> "_Outcome[Any]":
        """The outcome of a block without the documents that kill a worker."""
        documents = list(block.documents(self.options))

        def killers(positions: Sequence[int]) -> list[int]:
            (outcome,) = self.executor.map_in_order(careful, [block.restricted(positions)])
            if not isinstance(outcome, Lost):
                return []
            half = len(positions) // 2
            return killers(positions[:half]) + killers(positions[half:]) if half else list(positions)

        found = killers(range(len(documents)))
        bad = tuple(f"document {documents[i].id!r}: a worker process died of it" for i in found)
        if len(bad) > self.skip_bad:
            raise _too_many(bad[0], self.skip_bad)
        rest = block.restricted(i for i in range(len(documents)) if i not in found)
        (outcome,) = self.executor.map_in_order(careful, [rest])
        if isinstance(outcome, Lost):
            hint = "they may have run out of memory; try fewer --workers"
            raise UnavailableError(f"worker processes died again and again (block {block.number})", hint=hint)
        return outcome._replace(bad=outcome.bad + bad)


def piece(folder: Path, block: Block, text: str, result: Any) -> Kept:
    """Keep ``text`` as the piece of an output file that the block becomes, beside ``result``."""
    path = folder / f"piece-{block.number:07}"
    path.write_text(text, encoding="utf-8", newline="")
    return Kept(result, {path.name: fsio.sha256_of(path)})


def join_pieces(folder: Path, output: Path) -> None:
    """Write the pieces of all blocks, in order, to ``output``, whole or not at all."""
    with fsio.staged_file(output) as file:
        for path in sorted(folder.glob("piece-*")):
            with path.open("rb") as source:
                shutil.copyfileobj(source, file.buffer)


class _Outcome(NamedTuple, Generic[Made]):
    number: int
    made: Made
    bad: tuple[str, ...]
    n_bytes: int


def _careful(
    prepare: Callable[[], Work[Made]], options: DataOptions, skip_bad: int
) -> Callable[[Block], _Outcome[Made]]:
    """The function that works on a block without the documents that raise errors, if they are few."""
    work = prepare()

    def careful(block: Block) -> _Outcome[Made]:
        try:
            return _Outcome(block.number, work(block, block.documents(options)), (), block.n_bytes)
        except MslmError:
            raise
        except Exception as error:
            failing = _failing(work, block, options)
            if not failing:
                raise
            bad = tuple(failing.values())
            if len(bad) > skip_bad:
                raise _too_many(bad[0], skip_bad) from error
        positions = range(sum(1 for _ in block.documents(options)))
        rest = block.restricted(i for i in positions if i not in failing)
        return _Outcome(block.number, work(rest, rest.documents(options)), bad, block.n_bytes)

    return careful


def _failing(work: Work[Any], block: Block, options: DataOptions) -> dict[int, str]:
    """What work on each document alone fails with, by its position."""
    failing: dict[int, str] = {}
    for position, document in enumerate(block.documents(options)):
        try:
            work(block, [document])
        except MslmError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            failing[position] = f"document {document.id!r}: {type(error).__name__}{f': {reason:.200}' * bool(reason)}"
    return failing


def _too_many(bad: str, skip_bad: int) -> BadDocumentError:
    allowed = f" (--skip-bad {skip_bad})" if skip_bad else ""
    return BadDocumentError(f"cannot work on {bad}{allowed}", hint=f"--skip-bad {skip_bad + 1} leaves it out")
