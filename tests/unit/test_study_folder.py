"""The folder of a study: begun by several processes at once, and never a folder that is something else."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mslm_cli.errors import UsageError
from mslm_cli.studies.sweep import STUDY, claim

N_AT_ONCE, N_ROUNDS = 8, 40


def test_processes_that_start_at_once_all_find_the_study(tmp_path: Path) -> None:
    barrier = threading.Barrier(N_AT_ONCE)

    def begin(i: int) -> None:
        barrier.wait()
        claim(tmp_path / str(i), "seeds = [1]\n")

    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        for i in range(N_ROUNDS):
            for begun in [pool.submit(begin, i) for _ in range(N_AT_ONCE)]:
                begun.result()
            assert (tmp_path / str(i) / STUDY).read_text() == "seeds = [1]\n"
            assert sorted(path.name for path in (tmp_path / str(i)).iterdir()) == ["locks", STUDY, "work"]


def test_a_study_killed_at_its_start_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "study" / "locks").mkdir(parents=True)
    (tmp_path / "study" / f".{STUDY}.partial").write_text("seeds")
    claim(tmp_path / "study", "seeds = [1]\n")
    assert (tmp_path / "study" / STUDY).read_text() == "seeds = [1]\n"


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a study"):
        claim(tmp_path, "seeds = [1]\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
