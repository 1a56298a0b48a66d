"""`mslm finetune --rank-sources`: other corpora are tried on dev before one of them, or none, is learnt first."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import child_process
import pytest
from typer.testing import Result

from mslm_cli.fsio import sha256_of
from mslm_cli.studies import ranking

Mslm = Callable[..., Result]
_TRAINING = "--model encoder --threads 1 --epochs 3 --tokens-per-step 128 --learning-rate 0.01"
FINETUNE = f"finetune --train train.tsv --dev dev.tsv {_TRAINING}".split()


@pytest.fixture
def sources(workplace: Path) -> list[str]:
    """A corpus like the training data, and one whose mentions are elsewhere."""
    rows = [line.split("\t") for line in Path("test.tsv").read_text().splitlines()]
    tags = [row[1] for row in rows if len(row) == 2]
    shifted = iter(tags[7:] + tags[:7])
    lines = [f"{row[0]}\t{next(shifted).replace('I-', 'B-')}" if len(row) == 2 else "" for row in rows]
    Path("other.tsv").write_text("\n".join(lines) + "\n")
    return ["test.tsv", "other.tsv"]


def run_of(folder: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text())["run"]
    return run


def test_all_sources_and_none_are_tried(sources: Sequence[str], mslm: Mslm) -> None:
    done = mslm(*FINETUNE, "--rank-sources", *sources, "-o", "best")
    assert done.exit_code == 0, done.stderr
    scores = run_of("best")["sources"]
    assert set(scores) == {"none", *sources}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    for name, score in scores.items():
        assert f"{100 * score:.2f}" in next(line for line in done.stderr.splitlines() if name in line.split())
    assert not Path("best.sources").exists()


def test_what_is_up_to_date_is_not_made_again(
    sources: Sequence[str], mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.6])
    monkeypatch.setattr(ranking, "_try", lambda *arguments: next(scores))
    command = [*FINETUNE, "--epochs", "1", "--rank-sources", "test.tsv", "-o", "best"]
    assert mslm(*command).exit_code == 0
    made = {path: path.stat().st_mtime_ns for path in Path("best").iterdir()}
    Path("best.sources").mkdir()  # as a kill at the very end leaves it
    again = mslm(*command)
    assert again.exit_code == 0, again.stderr
    assert "best is up to date" in again.stderr
    assert not Path("best.sources").exists()
    shutil.copyfile("test.tsv", "same.tsv")
    assert mslm(*FINETUNE, "--epochs", "1", "--rank-sources", "same.tsv", "-o", "best").exit_code == 0
    for options in (["other.tsv"], ["--seed", "1"]):
        refused = mslm(*command, *options)
        assert (refused.exit_code, "best exists: made from other data" in refused.stderr) == (2, True), refused.stderr
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_the_best_is_learnt_first(sources: Sequence[str], mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.6, 0.4])
    monkeypatch.setattr(ranking, "_try", lambda *arguments: next(scores))
    done = mslm(*FINETUNE, "--rank-sources", *sources, "-o", "best")
    assert done.exit_code == 0, done.stderr
    assert run_of("best")["sources"] == {"test.tsv": 0.6, "none": 0.5, "other.tsv": 0.4}
    seen = mslm("eval", "best", "--data", "test.tsv", "--threads", "1").stderr
    assert "`model-finetune-train`" in seen


def test_none_is_an_answer(sources: Sequence[str], mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.5, 0.4])
    monkeypatch.setattr(ranking, "_try", lambda *arguments: next(scores))
    assert mslm(*FINETUNE, "--rank-sources", *sources, "-o", "best").exit_code == 0
    assert mslm(*FINETUNE, "-o", "plain").exit_code == 0
    assert sha256_of(Path("best/model.safetensors")) == sha256_of(Path("plain/model.safetensors"))


def test_a_large_source_is_tried_on_a_sample(
    sources: Sequence[str], mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_TRIAL_SENTENCES", 8)
    sizes: list[int] = []
    real = ranking.finetune.run

    def run(train: Path, *arguments: Any, **options: Any) -> Path:
        sizes.append(train.read_text().strip().count("\n\n") + 1)
        return real(train, *arguments, **options)

    monkeypatch.setattr(ranking.finetune, "run", run)
    done = mslm(*FINETUNE, "--rank-sources", "test.tsv", "-o", "best")
    assert done.exit_code == 0, done.stderr
    assert min(sizes) == 7  # eight, less one for dev


def test_a_killed_run_goes_on(sources: Sequence[str], workplace: Path) -> None:
    command = [*FINETUNE, "--rank-sources", *sources, "-o"]
    assert child_process.run(*command, "whole", folder=workplace) == 0, Path("stderr").read_text()
    assert child_process.run(*command, "killed", folder=workplace, dies_after=24) == child_process.DIED
    assert Path("killed.sources").exists()
    assert child_process.run(*command, "killed", folder=workplace) == 0, Path("stderr").read_text()
    assert "up to date" in Path("stderr").read_text()
    assert sha256_of(Path("killed/model.safetensors")) == sha256_of(Path("whole/model.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rank-sources"], "need each other"),
        (["test.tsv"], "need each other"),
        (["--rank-sources", "test.tsv", "test.tsv"], "named twice"),
        (["--rank-sources", "nowhere.tsv"], "nowhere.tsv"),
    ],
)
def test_what_it_refuses(sources: Sequence[str], mslm: Mslm, arguments: list[str], said: str) -> None:
    done = mslm(*FINETUNE, *arguments, "-o", "best")
    assert done.exit_code in (2, 3)
    assert said in done.stderr
    assert not Path("best").exists()
