"""Killed while the held-out loss decides what comes next, and run again, adaptation ends in the same bits."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import pytest
from training_log import logged
from typer.testing import Result

from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]

COMMAND = (
    *("adapt", "shards", "--model", "encoder", "--held-out", "0.5", "--tokens", "12000", "--tokens-per-step", "64"),
    *(
        "--learning-rate",
        "3",
        "--warmup-share",
        "1",
        "--precision",
        "fp32",
        "--threads",
        "1",
        "--keep-checkpoints",
        "1",
        "-o",
        "out",
    ),
)
"""The head's phase ends where its loss flattens, a step before the last one is the best, and training stops early."""


@pytest.fixture(scope="module")
def undisturbed(chain: Path, mslm: Mslm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the command when it is never disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed-held-out")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = mslm(*COMMAND, "--checkpoint-every", "1h")
    assert done.exit_code == 0, done.stderr
    return folder / "out"


def steps(lines: list[dict[str, Any]], phase: str) -> list[int]:
    return [line["step"] for line in lines if line["phase"] == phase and "learning_rate" in line]


def moments(output: Path) -> dict[str, int]:
    """The steps at which something is decided."""
    lines = logged(output)
    measured = [line for line in lines if line["phase"] == "adapt" and "held_out" in line]
    losses = [line["held_out"]["loss"] for line in measured]
    best = measured[losses.index(min(losses))]["step"]
    return {"head ends": steps(lines, "head")[-1], "best": best, "stops": steps(lines, "adapt")[-1]}


def test_the_command_is_what_it_should_be(undisturbed: Path) -> None:
    found = moments(undisturbed)
    assert 10 < found["head ends"] < found["best"] < found["stops"] < 12_000 // 64


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("head ends", "checkpoint-{:07}"),  # and nothing of the next phase is written
        pytest.param("head ends", "best-{:07}", marks=pytest.mark.slow),  # the start is kept, and no checkpoint says so
        ("best", "best-{:07}"),
        pytest.param("best", "checkpoint-{:07}", marks=pytest.mark.slow),
        ("stops", "checkpoint-{:07}"),
        pytest.param("stops", "out", marks=pytest.mark.slow),
    ],
)
def test_killed_when_something_is_decided(workplace: Path, undisturbed: Path, moment: str, name: str) -> None:
    command = [*COMMAND, "--checkpoint-every", "1steps"]
    dies_after = name.format(moments(undisturbed)[moment])
    assert child_process.run(*command, folder=workplace, dies_after=dies_after) == child_process.DIED
    assert child_process.run(*command, folder=workplace) == 0, Path("stderr").read_text()
    assert sha256_of(Path("out/model.safetensors")) == sha256_of(undisturbed / "model.safetensors")
    assert logged(Path("out")) == logged(undisturbed)
    assert not Path("out.work").exists()


def test_damaged_weights_of_the_best_step_are_not_published(workplace: Path, undisturbed: Path) -> None:
    found = moments(undisturbed)
    command = [*COMMAND, "--checkpoint-every", "1steps"]
    dies_after = f"checkpoint-{found['stops']:07}"
    assert child_process.run(*command, folder=workplace, dies_after=dies_after) == child_process.DIED
    weights = Path(f"out.work/best-{found['best']:07}/parameters.safetensors")
    weights.write_bytes(weights.read_bytes()[:-30] + bytes(30))
    assert child_process.run(*command, folder=workplace) == 4
    assert "damaged" in Path("stderr").read_text()
    assert not Path("out").exists()
