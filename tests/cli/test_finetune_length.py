"""How long `mslm finetune` trains: patience, and what it says of it."""

import json
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import child_process
import pytest
from typer.testing import Result

from mslm_cli.fsio import sha256_of
from mslm_cli.stages import finetune as stage
from mslm_cli.tasks.ner import Ner

Mslm = Callable[..., Result]
_DATA = "finetune --train train.tsv --dev dev.tsv --model encoder --threads 1"
FINETUNE = f"{_DATA} --tokens-per-step 128 -o tuned".split()


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the dev scores of successive epochs be these, and their standard error ``noise``."""
    real = Ner.score

    def give(*values: float, noise: float = 0.0) -> None:
        following = chain(values, repeat(0.0))

        def score(self: Ner, *arguments: Any) -> dict[str, Any]:
            return real(self, *arguments) | {"f1": next(following)}

        monkeypatch.setattr(Ner, "score", score)
        monkeypatch.setattr(stage._Dev, "standard_error", lambda self, score: noise)

    return give


def run_of(folder: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text())["run"]
    return run


def test_it_stops_when_dev_gets_clearly_worse(workplace: Path, mslm: Mslm, scores: Callable[..., None]) -> None:
    scores(0.1, 0.3, 0.2, 0.2, 0.9)
    done = mslm(*FINETUNE, "--epochs", "10", "--patience", "2")
    assert done.exit_code == 0, done.stderr
    assert "stopped after 4 of 10 epochs: the last were clearly worse on dev" in done.stderr
    assert "kept epoch 2 of 4: strict F1 30.00 on dev\n" in done.stderr
    assert "more --epochs may help" not in done.stderr
    run = run_of("tuned")
    assert (run["best_epoch"], run["n_epochs"], run["max_epochs"]) == (2, 4, 10)
    assert "4 epochs in steps of 128 tokens" in Path("tuned/README.md").read_text()


def test_the_last_epoch_within_the_noise_of_the_best_is_kept(
    workplace: Path, mslm: Mslm, scores: Callable[..., None]
) -> None:
    scores(0.30, 0.50, 0.46, 0.47, 0.44, noise=0.05)
    done = mslm(*FINETUNE, "--epochs", "5", "--patience", "2")
    assert done.exit_code == 0, done.stderr
    said = "kept epoch 4 of 5: strict F1 47.00 on dev (best 50.00, which may be luck on so few mentions)"
    assert said in done.stderr
    assert run_of("tuned")["dev_score"] == 0.47


def test_a_tie_is_the_later_epoch(workplace: Path, mslm: Mslm, scores: Callable[..., None]) -> None:
    scores(0.2, 0.4, 0.4, 0.3)
    assert mslm(*FINETUNE, "--epochs", "4").exit_code == 0
    assert run_of("tuned")["best_epoch"] == 3


def test_without_patience_it_runs_all_epochs(workplace: Path, mslm: Mslm, scores: Callable[..., None]) -> None:
    scores(0.3, 0.2, 0.2, 0.2, 0.4)
    done = mslm(*FINETUNE, "--epochs", "5", "--patience", "0")
    assert done.exit_code == 0, done.stderr
    assert "kept epoch 5 of 5: strict F1 40.00 on dev\n" in done.stderr
    assert "the last epoch is the best: more --epochs may help" in done.stderr


def test_the_standard_error_is_that_of_a_fraction_of_the_mentions(workplace: Path, mslm: Mslm) -> None:
    done = mslm(*FINETUNE, "--epochs", "6", "--learning-rate", "0.01")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in Path("tuned/metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if "dev_score" in line]
    n_mentions = epochs[0]["dev"]["gold"]
    kept, best = 0, 0.0
    for number, epoch in enumerate(epochs, 1):
        best = max(best, epoch["dev_score"])
        if epoch["dev_score"] >= best - (best * (1 - best) / n_mentions) ** 0.5:
            kept = number
    assert run_of("tuned")["best_epoch"] == kept


def get_worse() -> None:
    """Have the dev scores fall after the second epoch."""
    real, epochs = Ner.score, [0.2, 0.4]

    def score(self: Ner, gold: Any, predicted: Any) -> dict[str, Any]:
        log = next(Path().glob("tuned*.work/metrics.jsonl"))
        n_scored = sum('"dev_score"' in line for line in log.read_text().splitlines())
        return real(self, gold, predicted) | {"f1": epochs[n_scored] if n_scored < len(epochs) else 0.1}

    Ner.score = score  # type: ignore[method-assign]  # in a process of its own


@pytest.mark.slow
def test_a_run_that_was_killed_stops_at_the_same_epoch(workplace: Path) -> None:
    options = "--tokens-per-step 128 --epochs 12 --patience 3 --learning-rate 0.01 --checkpoint-every 1steps -o"
    command = f"{_DATA} {options}".split()
    assert child_process.run(*command, "tuned", folder=workplace, prepare=get_worse) == 0, Path("stderr").read_text()
    weights, run = sha256_of(Path("tuned/model.safetensors")), run_of("tuned")
    assert (run["best_epoch"], run["n_epochs"]) == (2, 5)
    for dies_after in (9, 30):
        again = [*command, f"tuned{dies_after}"]
        died = child_process.run(*again, folder=workplace, dies_after=dies_after, prepare=get_worse)
        assert died == child_process.DIED
        assert child_process.run(*again, folder=workplace, prepare=get_worse) == 0, Path("stderr").read_text()
        assert sha256_of(Path(f"tuned{dies_after}/model.safetensors")) == weights
        assert {**run_of(f"tuned{dies_after}"), "duration_s": 0} == {**run, "duration_s": 0}


def test_the_numbers_that_auto_stands_for_are_recorded(workplace: Path, mslm: Mslm) -> None:
    assert mslm(*_DATA.split(), "-o", "tuned", "--patience", "1").exit_code == 0
    manifest = json.loads(Path("tuned/manifest.json").read_text())
    assert (manifest["config"]["epochs"], manifest["config"]["tokens_per_step"]) == ("auto", "auto")
    assert manifest["run"]["max_epochs"] > 5
    assert manifest["run"]["tokens_per_step"] == 256
