"""How long `mslm finetune` trains: patience, and what it says of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import child_process
import pytest
from typer.testing import Result

from mslm_cli.fsio import sha256_of
from mslm_cli.tasks.ner import Ner

Mslm = Callable[..., Result]
_DATA = "finetune --train train.tsv --dev dev.tsv --model encoder --threads 1"
FINETUNE = f"{_DATA} --tokens-per-step 128 -o tuned".split()


def give_scores(scores: Iterator[float]) -> None:
    """Have the dev scores of successive epochs be these."""
    real = Ner.score

    def score(self: Ner, *arguments: Any) -> dict[str, Any]:
        return real(self, *arguments) | {"f1": next(scores)}

    Ner.score = score  # type: ignore[method-assign]  # in a test or a child process of one


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(Ner, "score", Ner.score)
    return lambda *values: give_scores(iter(values))


def run_of(folder: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text())["run"]
    return run


def test_it_stops_when_dev_shows_no_better_score_for_a_while(
    workplace: Path, mslm: Mslm, scores: Callable[..., None]
) -> None:
    scores(0.1, 0.3, 0.2, 0.3, 0.9)
    done = mslm(*FINETUNE, "--epochs", "10", "--patience", "2")
    assert done.exit_code == 0, done.stderr
    assert "stopped after 4 of 10 epochs: no better score on dev since" in done.stderr
    assert "best epoch 2 of 4: strict F1 30.00 on dev" in done.stderr
    assert "more --epochs may help" not in done.stderr
    run = run_of("tuned")
    assert (run["best_epoch"], run["n_epochs"], run["max_epochs"]) == (2, 4, 10)
    assert "4 epochs in steps of 128 tokens" in Path("tuned/README.md").read_text()


def test_without_patience_it_runs_all_epochs(workplace: Path, mslm: Mslm, scores: Callable[..., None]) -> None:
    scores(0.3, 0.2, 0.2, 0.2, 0.4)
    done = mslm(*FINETUNE, "--epochs", "5", "--patience", "0")
    assert done.exit_code == 0, done.stderr
    assert "best epoch 5 of 5: strict F1 40.00 on dev" in done.stderr
    assert "the best epoch is the last one: more --epochs may help" in done.stderr


def test_a_run_that_was_killed_stops_at_the_same_epoch(workplace: Path) -> None:
    options = "--tokens-per-step 128 --epochs 12 --patience 3 --learning-rate 0.01 --checkpoint-every 1steps -o"
    command = f"{_DATA} {options}".split()
    assert child_process.run(*command, "tuned", folder=workplace) == 0, Path("stderr").read_text()
    weights, run = sha256_of(Path("tuned/model.safetensors")), run_of("tuned")
    assert run["n_epochs"] < 12
    for dies_after in (9, 30):
        again = [*command, f"tuned{dies_after}"]
        assert child_process.run(*again, folder=workplace, dies_after=dies_after) == child_process.DIED
        assert child_process.run(*again, folder=workplace) == 0, Path("stderr").read_text()
        assert sha256_of(Path(f"tuned{dies_after}/model.safetensors")) == weights
        assert {**run_of(f"tuned{dies_after}"), "duration_s": 0} == {**run, "duration_s": 0}


def test_the_numbers_that_auto_stands_for_are_recorded(workplace: Path, mslm: Mslm) -> None:
    assert mslm(*_DATA.split(), "-o", "tuned", "--patience", "1").exit_code == 0
    manifest = json.loads(Path("tuned/manifest.json").read_text())
    assert (manifest["config"]["epochs"], manifest["config"]["tokens_per_step"]) == ("auto", "auto")
    assert manifest["run"]["max_epochs"] > 5
    assert manifest["run"]["tokens_per_step"] == 256
