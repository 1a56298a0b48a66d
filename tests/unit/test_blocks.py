"""Blocks of a corpus: every document once, bounds that depend on the input alone, and bad documents left out."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli import console
from mslm_cli.corpus.blocks import Block, Work, blocks, runs
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.over_blocks import Journal, Kept, OverBlocks, join_pieces, packed, piece, unpacked
from mslm_cli.corpus.readers import read_documents
from mslm_cli.errors import BadDocumentError
from mslm_cli.execution import workers
from mslm_cli.execution.executor import executor

OPTIONS = DataOptions()


@given(st.lists(st.text("ab", min_size=1, max_size=9)), st.integers(1, 20))
def test_runs_hold_every_document_once(texts: list[str], n_chars: int) -> None:
    documents = [Document(str(i), text, None, False) for i, text in enumerate(texts)]
    found = [list(run) for run in runs(documents, n_chars)]
    assert [document for run in found for document in run] == documents
    sizes = [sum(len(d.text) for d in run) for run in found]
    assert all(size >= n_chars for size in sizes[:-1])
    assert all(size - len(run[-1].text) < n_chars for size, run in zip(sizes, found, strict=True))


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    """80 small files and a large one."""
    (tmp_path / "corpus").mkdir()
    files = [tmp_path / "corpus" / f"{number:02}.txt" for number in range(81)]
    for number, file in enumerate(files):
        file.write_text("".join(f"text {i} of {number}\n\n" for i in range(400 if number == 40 else 2)))
    return files


@pytest.mark.parametrize("n_chars", [1, 100, 100_000])
def test_blocks_hold_what_readers_read(corpus: list[Path], n_chars: int) -> None:
    every = list(blocks(corpus, OPTIONS, n_chars))
    assert [block.number for block in every] == list(range(len(every)))
    assert [d for b in every for d in b.documents(OPTIONS)] == list(read_documents(corpus, OPTIONS))
    small = {path.name for block in every for path, _ in block.files}
    assert small == {file.name for file in corpus} - {"40.txt"}, "the large one is divided, so it is read here"


def words(_: Block, documents: Iterable[Document]) -> list[str]:
    """The texts of a block; the one with 13 cannot be worked on."""
    found = []
    for document in documents:
        if " 13 " in f" {document.text} ":
            raise RecursionError("too deep")
        found.append(document.text)
    return found


def deadly(_: Block, documents: Iterable[Document]) -> list[str]:
    found = []
    for document in documents:
        if " 13 " in f" {document.text} ":
            os._exit(9)
        found.append(document.text)
    return found


def prepared(work: Work[Any]) -> Work[Any]:
    return work


def worked(text: Path, work: Work[Any], *, n: int = 1, skip_bad: int = 0) -> list[str]:
    with executor(n) as run, console.progress("test") as bar:
        over = OverBlocks(run, OPTIONS, skip_bad)
        return [t for texts in over.map(partial(prepared, work), blocks([text], OPTIONS, 60), bar) for t in texts]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"document {number} here\n\n" for number in range(20)))
    return path


def test_a_bad_document_is_named(text: Path) -> None:
    message = r"cannot process document 'text.txt:14': RecursionError: too deep \(--skip-bad 1 leaves it out\)"
    with pytest.raises(BadDocumentError, match=message):
        worked(text, words)


@pytest.mark.parametrize("n", [1, 2])
def test_a_bad_document_is_left_out(text: Path, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = worked(text, words, n=n, skip_bad=1)
    assert found == [f"document {number} here" for number in range(20) if number != 13]
    assert "left out document 'text.txt:14': RecursionError: too deep" in " ".join(capsys.readouterr().err.split())


def test_a_document_that_kills_its_worker_is_left_out(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "MAX_DEATHS", 1)
    found = worked(text, deadly, n=2, skip_bad=1)
    assert found == [f"document {number} here" for number in range(20) if number != 13]
    assert "left out document 'text.txt:14': a worker process died of it" in " ".join(capsys.readouterr().err.split())


def test_fewer_bad_documents_allowed_than_were_left_out_before(text: Path, tmp_path: Path) -> None:
    """A resumed run still knows which documents they were."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(skip_bad: int) -> None:
        with executor(1) as here, console.progress("test") as bar:
            over = OverBlocks(here, OPTIONS, skip_bad, Journal(folder))
            list(over.map(partial(pieces_but_13, folder), blocks([text], OPTIONS, 60), bar))

    run(1)
    with pytest.raises(BadDocumentError, match=r"cannot process document 'text\.txt:14': RecursionError: too deep"):
        run(0)


def pieces_but_13(folder: Path) -> Callable[[Block, Iterable[Document]], Kept]:
    return lambda block, documents: piece(folder, block, "".join(words(block, documents)), None)


@given(st.sets(st.integers(0, 200)))
def test_numbers_survive_packing(numbers: set[int]) -> None:
    assert unpacked(packed(numbers)) == numbers


def upper(folder: Path) -> Callable[[Block, Iterable[Document]], Kept]:
    def write(block: Block, documents: Iterable[Document]) -> Kept:
        texts = [document.text.upper() for document in documents]
        return piece(folder, block, "".join(f"{t}\n" for t in texts), len(texts))

    return write


def test_a_journal_keeps_whole_results_alone(text: Path, tmp_path: Path) -> None:
    """What a kill cut off, and what is not what it was, is done again."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run() -> tuple[list[int], int]:
        journal = Journal(folder)
        n_before = len(journal)
        with executor(1) as here, console.progress("test") as bar:
            over = OverBlocks(here, OPTIONS, journal=journal)
            return list(over.map(partial(upper, folder), blocks([text], OPTIONS, 60), bar)), n_before

    expected = run()[0]
    join_pieces(folder, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:5])
    (folder / "piece-0000001").write_text("DOCUMENT 0 HERE\n")
    (folder / "piece-0000002").unlink()
    assert run() == (expected, 3)
    join_pieces(folder, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == whole
    assert len(Journal(folder)) == len(expected)
