"""A full disk ends in one clear line, and leaves nothing half-written; an output that was there stays.

MSLM_ALL_FAULTS=1 tries twice as many places at which it can be full.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from mslm_cli import artifacts
from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]

DISK_BYTES = 1 << 20
PAGE = 4096
COMMANDS = {
    "lexicon": "extract-terms text.txt",
    "shards": "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 --copies 3",
    "encoder": "adapt shards --model encoder --epochs 1 --head-warmup-steps 2 --tokens-per-step 256 --threads 1"
    " --checkpoint-every 1steps",
    "ner": "finetune --train train.tsv --dev dev.tsv --model adapted --epochs 2 --threads 1 --checkpoint-every 1steps",
    "eval": "eval ner --data test.tsv --threads 1",
}


@pytest.fixture
def small_disk(workplace: Path) -> Iterator[Path]:
    """A mounted disk of its own, of ``DISK_BYTES``, in the working folder."""
    disk = Path("disk")
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def leave_free(disk: Path, n_bytes: int) -> None:
    """Fill the disk up to ``n_bytes``."""
    (disk / "ballast").unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(b"\0" * max(0, free - n_bytes))


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_of(p) for p in folder.rglob("*") if p.is_file()}


def assert_nothing_is_half_written(disk: Path) -> None:
    """What is left is at most the work folder of a run, with whole checkpoints or a journal that it can go on from."""
    left = {p.name for p in disk.iterdir()} - {"ballast"}
    assert left <= {"out.work"}
    if left:
        inside = [p.name for p in (disk / "out.work").iterdir()]
        assert not [name for name in inside if name.startswith(".")]
        assert "journal.jsonl" in inside or any((disk / "out.work").glob("checkpoint-*/state.*"))


def assert_full(result: Result, named: str) -> None:
    assert result.exit_code == 5, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [lines[-1]]
    assert "No space left on device" in lines[-1]
    assert named in lines[-1]


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_disk_that_fills_up_at_any_point(small_disk: Path, mslm: Mslm, kind: artifacts.ArtifactKind) -> None:
    """With ever more space, every place at which it can run out is met; then the same command ends well."""
    command = [*COMMANDS[kind].split(), "-o", "disk/out"]
    n_refused = 0
    step = 20 if kind == "eval" else 7  # charts fill many pages
    step *= 1 if os.environ.get("MSLM_ALL_FAULTS") else 2
    for n_pages in (0, 1, 2, 3, 4, *range(6, DISK_BYTES // PAGE, step)):
        leave_free(small_disk, n_pages * PAGE)
        result = mslm(*command, *(["--resume", "never"] if kind in ("encoder", "ner") else []))
        if result.exit_code == 0:
            break
        assert_full(result, "disk/out")
        assert_nothing_is_half_written(small_disk)
        n_refused += 1
    assert n_refused > 2
    artifacts.load(Path("disk/out"), kind)
    assert {p.name for p in small_disk.iterdir()} == {"ballast", "out"}


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_existing_output_is_kept(small_disk: Path, mslm: Mslm, kind: artifacts.ArtifactKind) -> None:
    command = [*COMMANDS[kind].split(), "-o", "disk/out"]
    made = mslm(*command)
    assert made.exit_code == 0, made.stderr
    before = content(small_disk / "out")
    for n_pages in (0, 3):
        leave_free(small_disk, n_pages * PAGE)
        assert_full(mslm(*command, "--overwrite"), "disk/out")
        assert content(small_disk / "out") == before
        shutil.rmtree(small_disk / "out.work", ignore_errors=True)
        assert {p.name for p in small_disk.iterdir()} == {"ballast", "out"}


@pytest.mark.parametrize("kind", ["encoder", "ner"])
def test_a_run_that_ran_out_of_space_can_be_resumed(small_disk: Path, mslm: Mslm, kind: artifacts.ArtifactKind) -> None:
    command = [*COMMANDS[kind].split(), "-o", "disk/out"]
    made = mslm(*command)
    assert made.exit_code == 0, made.stderr
    needed = shutil.disk_usage(small_disk).used
    expected = sha256_of(Path("disk/out/model.safetensors"))
    shutil.rmtree("disk/out")
    n_pages = 1
    while not any(small_disk.glob("out.work/checkpoint-*")):
        leave_free(small_disk, n_pages * PAGE)
        assert n_pages * PAGE < 9 * needed
        assert_full(mslm(*command), "disk/out")
        n_pages += 4
    leave_free(small_disk, DISK_BYTES)
    again = mslm(*command)
    assert again.exit_code == 0, again.stderr
    assert "resuming from disk/out.work/checkpoint-" in again.stderr
    assert sha256_of(Path("disk/out/model.safetensors")) == expected
