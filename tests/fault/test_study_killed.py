"""A study that is killed goes on, and processes that work on one study share its trials."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import pytest
import tiny_study
from typer.testing import Result

SWEEP = ("sweep", "study.toml", "-o", "study", "--threads", "1")
CREATE_TRIAL, SET_TRIAL_STATE, RUNNING, COMPLETE = 4, 6, 0, 1


@pytest.fixture(scope="module")
def undisturbed(chain: Path, mslm: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The verdict of the study when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    tiny_study.write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert mslm(*SWEEP).exit_code == 0
    return verdict(folder)


def verdict(folder: Path) -> dict[str, Any]:
    """verdict.json without what depends on the clock."""
    found: dict[str, Any] = json.loads((folder / "study" / "verdict.json").read_bytes())
    for arm in found["arms"]:
        del arm["cost"]["minutes"]
        for on in arm["data"].values():
            on["cost"] = {name: value for name, value in on["cost"].items() if not name.endswith("minutes")}
    return found


def states(folder: Path) -> list[tuple[int, int]]:
    """Number and new state of each change of a trial's state, from Optuna's journal."""
    lines = (folder / "study" / "trials.journal").read_text().splitlines()
    return [(e["trial_id"], e["state"]) for e in map(json.loads, lines) if e["op_code"] == SET_TRIAL_STATE]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_in_the_same_table(
    workplace: Path, undisturbed: dict[str, Any], seed: int
) -> None:
    tiny_study.write(workplace)
    rng = random.Random(seed)
    ends = [child_process.run(*SWEEP, folder=workplace, dies_after=rng.randrange(1, 40)) for _ in range(3)]
    assert ends[0] == child_process.DIED
    assert child_process.run(*SWEEP, folder=workplace) == 0
    assert verdict(workplace) == undisturbed
    done = Counter(number for number, state in states(workplace) if state == COMPLETE)
    assert done == dict.fromkeys(range(6), 1)


def test_two_processes_share_the_trials_and_never_do_one_twice(workplace: Path, undisturbed: dict[str, Any]) -> None:
    tiny_study.write(workplace)
    processes = [child_process.start(*SWEEP, folder=workplace) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert verdict(workplace) == undisturbed
    changes = Counter(states(workplace))
    assert changes == {(number, state): 1 for number in range(6) for state in (RUNNING, COMPLETE)}


@pytest.mark.slow
def test_jobs_run_side_by_side_to_the_same_end(workplace: Path, undisturbed: dict[str, Any]) -> None:
    tiny_study.write(workplace)
    assert child_process.run(*SWEEP, "--jobs", "2", folder=workplace) == 0
    assert verdict(workplace) == undisturbed
    assert Counter(states(workplace)) == {(n, state): 1 for n in range(6) for state in (RUNNING, COMPLETE)}
