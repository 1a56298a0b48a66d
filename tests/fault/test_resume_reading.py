"""``extract-terms`` killed in the midst of its text goes on from what it has read, with any number of workers."""

import functools
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import child_process
import pytest
import spacy
from typer.testing import Result

from mslm_cli.corpus import documents
from mslm_cli.fsio import sha256_of
from mslm_cli.stages import extract_terms

Mslm = Callable[..., Result]

EXTRACT = ["extract-terms", "text", "--pipeline", "ruler", "--terms", "mine.txt", "-o", "out"]
N_BATCHES = 3
FIRST_BLOCK = functools.partial(child_process.die_after_blocks, 1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Path:
    """A folder with many files of text, a pipeline, a term list, and ``out``, the lexicon made of them."""
    folder = tmp_path_factory.mktemp("reading")
    rng = random.Random(0)
    words = ["renal", "heart", "failure", "carcinoma", "IL-2", "the", "of", "was", "syndrome", "(HF)", "aspirin", "in"]
    (folder / "text").mkdir()
    n_chars = N_BATCHES * documents.BATCH_CHARS
    for number in range(40):
        paragraphs = [" ".join(rng.choices(words, k=n_chars // 40 // 60)) + "." for _ in range(10)]
        (folder / f"text/{number:02}.txt").write_text("\n\n".join(paragraphs))
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "Drug", "pattern": "aspirin"}])  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk(folder / "ruler")
    (folder / "mine.txt").write_text("heart failure\ngout\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = mslm(*EXTRACT)
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def place(undisturbed: Path, in_tmp: Path) -> Path:
    """The working folder, with all but the lexicon."""
    shutil.copytree(undisturbed, in_tmp, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out"))
    return in_tmp


def assert_same(place: Path, undisturbed: Path) -> None:
    for name in ("terms.jsonl", "stats.json", "seen/extract-terms.u64"):
        assert sha256_of(place / "out" / name) == sha256_of(undisturbed / "out" / name), name
    assert [p.name for p in place.iterdir() if p.name.startswith(("out", ".out"))] == ["out"]


def test_the_number_of_workers_changes_nothing(place: Path, undisturbed: Path, mslm: Mslm) -> None:
    done = mslm(*EXTRACT, "--workers", 2)
    assert done.exit_code == 0, done.stderr
    assert_same(place, undisturbed)
    stats = json.loads(Path("out/stats.json").read_text())
    assert stats["n_documents"] == 400
    assert stats["n_terms_by_type"] == {"Drug": 1}
    again = mslm(*EXTRACT)
    assert "up to date" in again.stderr


def children(process_id: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to find the worker processes in")
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_from_outside_and_run_again(place: Path, undisturbed: Path, mslm: Mslm, workers: int) -> None:
    process = child_process.start(*EXTRACT, "--workers", workers, folder=place)
    workers_seen: list[int] = []
    while process.is_alive():
        if (place / "out.work/journal.jsonl").exists():
            workers_seen = children(process.pid or 0)
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        time.sleep(0.0005)
    assert process.exitcode == -signal.SIGKILL, "the process ended before it could be killed"
    assert not (place / "out").exists()
    assert len(workers_seen) >= (workers if workers > 1 else 0)
    while any(map(is_running, workers_seen)):
        time.sleep(0.001)
    # however many workers began it
    again = mslm(*EXTRACT)
    assert again.exit_code == 0, again.stderr
    assert "resuming from out.work (" in again.stderr
    assert_same(place, undisturbed)


def test_killed_when_two_things_must_agree(place: Path, undisturbed: Path) -> None:
    assert child_process.run(*EXTRACT, folder=place, dies_after="out") == child_process.DIED
    assert child_process.run(*EXTRACT, folder=place) == 0, Path("stderr").read_text()
    assert_same(place, undisturbed)


def test_text_already_read_is_not_read_again(place: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert child_process.run(*EXTRACT, folder=place, prepare=FIRST_BLOCK) == child_process.DIED
    n_read = 0
    read = extract_terms._passage

    def counted(document: extract_terms.Document) -> extract_terms.Passage:
        nonlocal n_read
        n_read += 1
        return read(document)

    monkeypatch.setattr(extract_terms, "_passage", counted)
    assert mslm(*EXTRACT).exit_code == 0
    n_documents = json.loads(Path("out/stats.json").read_text())["n_documents"]
    assert 0 < n_read < n_documents * (N_BATCHES - 0.5) / N_BATCHES


def test_another_run_does_not_resume_from_it(place: Path, mslm: Mslm) -> None:
    assert child_process.run(*EXTRACT, folder=place, prepare=FIRST_BLOCK) == child_process.DIED
    refused = mslm(*EXTRACT, "--min-count", 7)
    assert refused.exit_code == 2
    assert "out.work holds a run with other options: min_count" in refused.stderr
    text = Path("text/00.txt").read_text()
    Path("text/00.txt").write_text("Gout.")
    refused = mslm(*EXTRACT)
    assert "out.work holds a run with other inputs: text" in refused.stderr
    Path("text/00.txt").write_text(text)
    assert mslm(*EXTRACT, "--resume", "never").exit_code == 0
    assert not Path("out.work").exists()


@pytest.mark.parametrize("table", ["candidates", "words", "seen"])
def test_what_is_damaged_is_read_again(place: Path, undisturbed: Path, mslm: Mslm, table: str) -> None:
    assert child_process.run(*EXTRACT, folder=place, prepare=FIRST_BLOCK) == child_process.DIED
    (damaged,) = Path("out.work").glob(f"{table}-*")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = mslm(*EXTRACT)
    assert done.exit_code == 0, done.stderr
    assert_same(place, undisturbed)


def test_a_file_that_is_in_place_already_is_taken_for_finished(place: Path, mslm: Mslm) -> None:
    """Killed after the output file had its name, and before its work folder was gone."""
    command = ["match", "text", "--lexicon", "lexicon", "--block-chars", 100_000, "-o", "found.jsonl"]
    assert mslm("extract-terms", "--terms", "mine.txt", "-o", "lexicon").exit_code == 0
    assert child_process.run(*command, folder=place, dies_after="found.jsonl") == child_process.DIED
    found = Path("found.jsonl").read_bytes()
    assert Path("found.jsonl.work").exists()
    again = mslm(*command)
    assert again.exit_code == 0, again.stderr
    assert Path("found.jsonl").read_bytes() == found
    assert not Path("found.jsonl.work").exists()
    refused = mslm(*command)
    assert refused.exit_code == 2
    assert "found.jsonl exists" in refused.stderr
