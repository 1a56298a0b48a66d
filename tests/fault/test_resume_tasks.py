"""Fine-tuning for relations, killed and run again, ends in the bits of an undisturbed run."""

import json
from collections.abc import Callable
from pathlib import Path

import child_process
import pytest
import relation_data
from training_log import logged
from typer.testing import Result

from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]
COMMAND = [*relation_data.FINETUNE.split(), "--checkpoint-every", "1steps", "-o", "out"]


@pytest.mark.parametrize("moment", ["checkpoint-0000003", "best-0001", "out"])
def test_killed_and_run_again(related_workplace: Path, related: Path, moment: str) -> None:
    assert child_process.run(*COMMAND, folder=related_workplace, dies_after=moment) == child_process.DIED
    assert child_process.run(*COMMAND, folder=related_workplace) == 0, Path("stderr").read_text()
    files = ("model.safetensors", "config.json", "thresholds.jsonl", "README.md")
    assert [sha256_of(Path("out", name)) for name in files] == [sha256_of(related / "rel" / name) for name in files]
    assert logged(Path("out")) == logged(related / "rel")
    assert json.loads(Path("out/manifest.json").read_bytes())["run"]["task"] == "relations"
