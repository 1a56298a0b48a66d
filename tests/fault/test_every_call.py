"""Whatever moment a process dies at, and whenever the power goes, the next run ends as an undisturbed one.

MSLM_ALL_FAULTS=1 goes on from every state of the disk that can arise; without it, from some where there are many.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import child_process
import pytest
from crash_states import Recorder, State, Tree, durable, recorded, restore
from training_log import logged
from typer.testing import Result

from mslm_cli import artifacts, workspace
from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]

_TRAINING = "--tokens-per-step 256 --threads 1 --checkpoint-every 3steps --keep-checkpoints 1 -o out"
COMMANDS = {
    "extract-terms": "extract-terms text.txt --pipeline none -o out",
    "preprocess": "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o out",
    "overwrite": "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 --overwrite -o out",
    "adapt": f"adapt shards --model encoder --epochs 1 --head-warmup-steps 2 {_TRAINING}",
    "finetune": f"finetune --train train.tsv --dev dev.tsv --model adapted --epochs 2 {_TRAINING}",
}
N_RUNS = 20
"""So many of the states are gone on from, where not all are."""


class Undisturbed(NamedTuple):
    """A command that was never disturbed: what it made, and all states of the disk on its way."""

    command: list[str]
    folder: Path
    store: Path
    states: list[State]


@pytest.fixture(scope="module", params=COMMANDS)
def undisturbed(request: pytest.FixtureRequest, chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder, store = tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("states")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    command = COMMANDS[request.param].split()
    if request.param == "overwrite":
        assert child_process.run(*command, "--seed", 7, folder=folder) == 0
        shutil.copytree(folder / "out", folder / "before")
    assert child_process.run(*command, folder=folder, prepare=Recorder(store, "out")) == 0, (
        folder / "stderr"
    ).read_text()
    return Undisturbed(command, folder, store, recorded(store))


@pytest.fixture
def place(undisturbed: Undisturbed, in_tmp: Path) -> Path:
    """The working folder, with all that the command needs and nothing that it made."""
    left_out = shutil.ignore_patterns("out", "before", "stdout", "stderr")
    shutil.copytree(undisturbed.folder, in_tmp, ignore=left_out, dirs_exist_ok=True)
    return in_tmp


def made(output: Path) -> dict[str, Any]:
    """What is in an artifact, less what depends on the clock."""
    content: dict[str, Any] = {str(p.relative_to(output)): sha256_of(p) for p in output.rglob("*") if p.is_file()}
    manifest = json.loads((output / "manifest.json").read_bytes())
    del manifest["run"]["duration_s"], manifest["digest"]
    if "metrics.jsonl" in content:
        content["metrics.jsonl"] = logged(output)
        manifest["files"] = [f for f in manifest["files"] if f["path"] != "metrics.jsonl"]
    content["manifest.json"] = manifest
    return content


def names(place: Path) -> set[str]:
    return {p.name for p in place.iterdir()}


def clear(place: Path) -> None:
    for path in place.iterdir():
        if path.name.startswith(("out", ".out")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_file_under_its_final_name_is_complete(undisturbed: Undisturbed, in_tmp: Path) -> None:
    """In every state the output is the old one, the new one, or not there, and the newest checkpoint is whole."""
    kind = artifacts.kind_at(undisturbed.folder / "out")
    assert kind is not None
    checked: set[str] = set()
    has_old = (undisturbed.folder / "before").exists()
    n_whole = n_steps = 0
    for cause, call, tree in undisturbed.states:
        key = json.dumps({p: sha for p, sha in tree.items() if ".partial" not in p})
        if key in checked:
            continue
        checked.add(key)
        clear(in_tmp)
        restore(tree, undisturbed.store)
        at = f"{cause} at call {call}"
        there = [p for p in (Path("out"), Path(".out.old")) if p.exists()]
        for output in there[:1]:
            assert artifacts.load(output, kind), at
            n_whole += 1
        assert there or not has_old, f"{at}: neither the old nor the new one is there"
        for step in workspace.checkpoints(Path("out.work"))[-1:]:
            workspace.verify_checkpoint(step)
            n_steps += 1
    assert n_whole
    assert n_steps or kind in ("lexicon", "shards"), "which have a journal"


def test_finished_writes_survive_a_power_loss(undisturbed: Undisturbed, in_tmp: Path) -> None:
    """The output when the command has ended, and a checkpoint or a journal before there is an output."""
    trees = durable(undisturbed.store)
    restore(trees[-1], undisturbed.store)
    assert made(Path("out")) == made(undisturbed.folder / "out")
    kept = (
        "out.work/journal.jsonl"
        if undisturbed.command[0] in ("extract-terms", "preprocess")
        else "out.work/checkpoint-"
    )
    if "--overwrite" not in undisturbed.command:
        assert any("out" not in tree and any(p.startswith(kept) for p in tree) for tree in trees)


def test_the_next_run_ends_like_an_uninterrupted_one(undisturbed: Undisturbed, place: Path, mslm: Mslm) -> None:
    expected = made(undisturbed.folder / "out")
    clean = names(place) | {"out"}
    states = undisturbed.states
    n = len(states) if os.environ.get("MSLM_ALL_FAULTS") else min(N_RUNS, len(states))
    for number in sorted({i * (len(states) - 1) // (n - 1) for i in range(n)}):
        cause, call, tree = states[number]
        at = f"{cause} at call {call} (state {number} of {len(states)}): {sorted(tree)}"
        clear(place)
        restore(tree, undisturbed.store)
        done = mslm(*undisturbed.command)
        assert done.exit_code == 0, f"{at}\n{done.stderr}"
        assert made(place / "out") == expected, at
        assert names(place) == clean, at


def test_simulated_crash_states_equal_real_ones(undisturbed: Undisturbed, place: Path) -> None:
    killed = [state for state in undisturbed.states if state.cause == "killed"]
    if (undisturbed.folder / "before").exists():
        shutil.copytree(undisturbed.folder / "before", "out")
    _, call, tree = killed[len(killed) * 2 // 3]
    fault = Recorder(place.parent / "store", "out", dies_at=call)
    assert child_process.run(*undisturbed.command, folder=place, prepare=fault) == child_process.DIED
    left: Tree = {
        str(p.relative_to(place)): None if p.is_dir() else sha256_of(p)
        for top in place.iterdir()
        if top.name.startswith(("out", ".out"))
        for p in (top, *top.rglob("*"))
    }
    timed = ("metrics.jsonl", "state.json", "hashes.json", "manifest.json", "manifest.json.partial")  # hold times
    assert left.keys() == tree.keys()
    assert {p: s for p, s in left.items() if not p.endswith(timed)} == {
        p: s for p, s in tree.items() if not p.endswith(timed)
    }
