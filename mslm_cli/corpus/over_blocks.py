"""Work over a corpus, block by block: on an executor, resumed from a journal, without documents that are not wanted."""

import functools
import json
import os
import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple

from mslm_cli import console, fsio
from mslm_cli.corpus.blocks import Block, Made, Work, blocks
from mslm_cli.corpus.contamination import NO_SENTENCES, TestSentences
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.files import total_bytes
from mslm_cli.corpus.lines import STDIN
from mslm_cli.corpus.options import DataOptions, Way
from mslm_cli.errors import BadDocumentError, DataError, MslmError, UnavailableError
from mslm_cli.execution.work import Executor, Lost
from mslm_cli.workspace import JOURNAL

DUPLICATE, LEAKING, BAD = "duplicates", "with_test_sentences", "bad"
"""Why documents are left out."""

_LEFT_OUT = {
    DUPLICATE: "the same as an earlier one, or nearly",
    LEAKING: "with a sentence of --without",
    BAD: "impossible to process",
}


class Kept(NamedTuple):
    """The result of a block for a journal: JSON values, and files written to the journal's folder, with hashes."""

    result: Any
    files: dict[str, str]


class Journal:
    """The results of finished blocks, as JSON values, with the files that belong to them.

    A result whose files are missing or damaged counts as not there.

    Args:
        folder: where the journal and the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        self._outcomes: dict[int, _Outcome[Kept]] = {}
        n_good = 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                try:
                    number, files, result, n_leaking, bad = json.loads(line)
                except (ValueError, TypeError):
                    break  # a kill cut it off
                if not line.endswith(b"\n"):
                    break
                self._outcomes[number] = _Outcome(number, Kept(result, files), n_leaking, tuple(bad))
                n_good += len(line)
            os.truncate(self._path, n_good)

    def __len__(self) -> int:
        return len(self._outcomes)

    def outcome(self, number: int) -> "_Outcome[Any] | None":
        """What became of a block, if it is there."""
        found = self._outcomes.get(number)
        files = ((self.folder / name, expected) for name, expected in (found.made.files if found else {}).items())
        return found if all(path.is_file() and fsio.sha256_of(path) == expected for path, expected in files) else None

    def add(self, outcome: "_Outcome[Any]") -> None:
        """Keep what became of a block."""
        record = [outcome.number, outcome.made.files, outcome.made.result, outcome.n_leaking, outcome.bad]
        is_new = not self._path.exists()
        with self._path.open("ab") as file:
            file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            fsio.sync(self.folder)


class _Outcome(NamedTuple, Generic[Made]):
    """What became of a block; n_leaking: documents left out for test sentences. bad: those for errors, with these."""

    number: int
    made: Made
    n_leaking: int
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class OverBlocks:
    """How to work over blocks.

    skip_bad: how many documents may be left out because processing them fails. journal: for results of type ``Kept``.
    without: documents with one of these sentences are left out. way: which duplicates of earlier documents are.
    left_out: the numbers of documents that were left out, by why; grows.
    """

    executor: Executor
    options: DataOptions
    skip_bad: int = 0
    journal: Journal | None = None
    without: TestSentences = NO_SENTENCES
    way: Way = "off"
    left_out: Counter[str] = field(default_factory=Counter)

    def blocks(self, files: Sequence[Path], n_chars: int, bar: console.ProgressLine) -> Iterator[Block]:
        """The blocks of ``files`` (see ``blocks.blocks``), without duplicates, which are looked for first.

        Raises: as ``map``.
        """
        every = blocks(files, self.options, n_chars, bar.advance)
        if self.way == "off":
            yield from every
            return
        from mslm_cli.corpus import duplicates  # numpy would slow the start of commands that have no such option

        with console.progress("looking for duplicates", total_bytes(files) or None, unit="bytes") as first_bar:
            plain = OverBlocks(self.executor, self.options, self.skip_bad)
            first = blocks(files, self.options, n_chars, first_bar.advance)
            sign = functools.partial(duplicates.signer, self.way)
            dropped = duplicates.duplicates(self.way, plain.map(sign, first, first_bar))
        self.left_out[DUPLICATE] = sum(map(len, dropped))
        if STDIN in files:
            sys.stdin.buffer.seek(0)
        for block, positions in zip(every, dropped, strict=True):
            yield replace(block, dropped=positions)

    def map(self, prepare: Callable[[], Work[Any]], every: Iterable[Block], bar: console.ProgressLine) -> Iterator[Any]:
        """The results of the blocks ``every``, in order; with a journal, what ``Kept.result`` holds.

        Raises:
            BadDocumentError: more than ``skip_bad`` documents cannot be processed; the message names one.
            UnavailableError: a worker died again and again, and not of a single document.
        """
        order: deque[tuple[Block, _Outcome[Any] | None]] = deque()

        def missing() -> Iterator[Block]:
            for block in every:
                order.append((block, None if self.journal is None else self.journal.outcome(block.number)))
                if order[-1][1] is None:
                    yield block

        def finished(outcome: _Outcome[Any]) -> Any:
            block, _ = order.popleft()
            self.left_out.update({LEAKING: outcome.n_leaking} if outcome.n_leaking else {})
            self.left_out.update({BAD: len(outcome.bad)} if outcome.bad else {})
            if self.left_out[BAD] > self.skip_bad:
                raise _too_many(outcome.bad[-1], self.skip_bad)
            for bad in outcome.bad:
                console.warn(f"left out {bad}")
            bar.advance(block.n_bytes)
            return outcome.made.result if isinstance(outcome.made, Kept) else outcome.made

        if self.journal is not None and len(self.journal):
            console.note(f"resuming from {self.journal.folder} ({console.count(len(self.journal), 'block')})")
        careful = functools.partial(_careful, prepare, self.options, self.skip_bad, self.without)
        for found in self.executor.map_in_order(careful, missing()):
            while (earlier := order[0][1]) is not None:
                yield finished(earlier)
            outcome = self._without_killers(careful, found.item) if isinstance(found, Lost) else found
            if self.journal is not None:
                self.journal.add(outcome)
            yield finished(outcome)
        while order and (earlier := order[0][1]) is not None:
            yield finished(earlier)

    def _without_killers(self, careful: Callable[[], Callable[[Block], _Outcome[Any]]], block: Block) -> _Outcome[Any]:
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


def packed(numbers: Iterable[int]) -> str:
    """A set of numbers from 0 as hexadecimal digits, a bit for each: small in a journal, and on the way to one."""
    chosen = set(numbers)
    bits = bytearray(1 + max(chosen, default=0) // 8)
    for number in chosen:
        bits[number // 8] |= 1 << number % 8
    return bits.hex()


def unpacked(digits: str) -> set[int]:
    """The set that ``packed`` made the digits of."""
    return {8 * i + bit for i, byte in enumerate(bytes.fromhex(digits)) if byte for bit in range(8) if byte >> bit & 1}


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


def _careful(
    prepare: Callable[[], Work[Made]], options: DataOptions, skip_bad: int, without: TestSentences
) -> Callable[[Block], _Outcome[Made]]:
    """The function that works on a block without documents with test sentences, and those that raise errors, if few."""
    work, leaks = prepare(), without.finder()

    def done(block: Block, documents: Iterable[Document]) -> _Outcome[Made]:
        n_leaking = 0

        def clean() -> Iterator[Document]:
            nonlocal n_leaking
            for document in documents:
                if leaks(document.text):
                    n_leaking += 1
                else:
                    yield document

        made = work(block, clean())
        return _Outcome(block.number, made, n_leaking)

    def careful(block: Block) -> _Outcome[Made]:
        try:
            return done(block, block.documents(options))
        except MslmError:
            raise
        except Exception as error:
            failing = _failing(done, block, options)
            if not failing:
                raise
            bad = tuple(failing.values())
            if len(bad) > skip_bad:
                raise _too_many(bad[0], skip_bad) from error
        positions = range(sum(1 for _ in block.documents(options)))
        rest = block.restricted(i for i in positions if i not in failing)
        return done(rest, rest.documents(options))._replace(bad=bad)

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


def check_some_are_left(n_documents: int, left_out: Mapping[str, int]) -> None:
    """Refuse to go on without any document.

    Raises:
        DataError: there were some, and all were left out.
    """
    if not n_documents and left_out:
        why = ", ".join(f"{n:,} {_LEFT_OUT[name]}" for name, n in sorted(left_out.items()))
        raise DataError(f"every document is left out: {why}")


def report_left_out(left_out: Mapping[str, int]) -> None:
    """Print how many documents were left out."""
    for why, what in _LEFT_OUT.items():
        if n := left_out.get(why, 0):
            console.note(f"{console.count(n, 'document')} left out: {what}")


def _too_many(bad: str, skip_bad: int) -> BadDocumentError:
    allowed = f" (--skip-bad {skip_bad})" if skip_bad else ""
    return BadDocumentError(f"cannot process {bad}{allowed}", hint=f"--skip-bad {skip_bad + 1} leaves it out")
