"""`mslm finetune --folds`: every training sentence is scored once, by a model that has not seen it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import child_process
import pytest
from typer.testing import Result

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.fsio import sha256_of
from mslm_cli.studies import cross_validation

Mslm = Callable[..., Result]
_TRAINING = "--model encoder --threads 1 --epochs 2 --tokens-per-step 128 --learning-rate 0.01"
FINETUNE = f"finetune --train train.tsv --dev dev.tsv {_TRAINING}".split()


def test_every_sentence_is_scored_once(workplace: Path, mslm: Mslm) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "_pool", None)
        assert mslm(*FINETUNE, "--folds", "2", "-o", "own").exit_code != 0
    assert Path("own.folds.work").exists(), "other folds are left there"
    done = mslm(*FINETUNE, "--folds", "3", "-o", "own")
    assert done.exit_code == 0, done.stderr
    assert "3-fold cross-validation: strict F1" in done.stderr
    lines = [json.loads(line) for line in Path("own.folds/predictions.jsonl").read_text().splitlines()]
    train = read_labelled(Path("train.tsv")).sentences
    assert sorted(tuple(line["words"]) for line in lines) == sorted(s.words for s in train)
    assert len({line["id"] for line in lines}) == len(lines)
    gold = sorted(tuple(map(tuple, line["gold"])) for line in lines)
    assert gold == sorted(s.mentions for s in train)
    assert Path("own.folds/report.html").is_file()
    assert not Path("own.folds.work").exists()
    # the model is that of all sentences
    assert mslm(*FINETUNE, "-o", "plain").exit_code == 0
    assert sha256_of(Path("own/model.safetensors")) == sha256_of(Path("plain/model.safetensors"))


def test_what_is_up_to_date_is_not_made_again(workplace: Path, mslm: Mslm) -> None:
    tiny = [*FINETUNE, "--epochs", "1", "-o", "own"]
    assert mslm(*tiny).exit_code == 0
    scored = mslm(*tiny, "--folds", "2")
    assert scored.exit_code == 0, scored.stderr
    assert "own is up to date" in scored.stderr
    made = {path: path.stat().st_mtime_ns for path in (*Path("own").iterdir(), *Path("own.folds").iterdir())}
    Path("own.folds.work/2-0").mkdir(parents=True)  # as a kill at the very end leaves it
    again = mslm(*tiny, "--folds", "2")
    assert again.exit_code == 0, again.stderr
    for output in ("own", "own.folds"):
        assert f"{output} is up to date" in again.stderr
    assert not Path("own.folds.work").exists()
    for options, said in (
        (["--folds", "3"], "own.folds exists: made with other folds"),
        (["--folds", "2", "--seed", "1"], "own exists: made with other options (seed was 0, is 1)"),
    ):
        refused = mslm(*tiny, *options)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert mslm(*tiny, "--folds", "3", "--overwrite").exit_code == 0
    lines = Path("own.folds/predictions.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"][0] for line in lines} == set("012")


def test_no_model_has_seen_what_it_is_scored_on(workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_validation, "shutil", SimpleNamespace(rmtree=lambda path, **options: None))
    assert mslm(*FINETUNE, "--folds", "3", "-o", "own").exit_code == 0
    held_out = set()
    (folder,) = Path("own.folds.work").iterdir()
    for number in range(3):
        train, test = (read_labelled(folder / f"fold{number}" / name) for name in ("train.tsv", "test.tsv"))
        seen = {s.words for s in train.sentences}
        assert not seen & {s.words for s in test.sentences}
        manifest = json.loads((folder / f"ner{number}" / "manifest.json").read_text())
        assert manifest["run"]["n_sequences"] == len(train.sentences)
        held_out |= {s.words for s in test.sentences}
    assert held_out == {s.words for s in read_labelled(Path("train.tsv")).sentences}


def test_two_runs_are_compared(workplace: Path, mslm: Mslm) -> None:
    for name, rate in (("slow", "0.0001"), ("fast", "0.01")):
        done = mslm(*FINETUNE, "--learning-rate", rate, "--folds", "2", "-o", name)
        assert done.exit_code == 0, done.stderr
    compared = mslm("compare", "slow=slow.folds", "fast=fast.folds", "--json")
    assert compared.exit_code == 0, compared.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on(workplace: Path) -> None:
    command = [*FINETUNE, "--folds", "2", "-o"]
    assert child_process.run(*command, "whole", folder=workplace) == 0, Path("stderr").read_text()
    assert child_process.run(*command, "killed", folder=workplace, dies_after=16) == child_process.DIED
    assert child_process.run(*command, "killed", folder=workplace) == 0, Path("stderr").read_text()
    assert "up to date" in Path("stderr").read_text()
    for file in ("model.safetensors",):
        assert sha256_of(Path("killed", file)) == sha256_of(Path("whole", file))
    assert Path("killed.folds/predictions.jsonl").read_bytes() == Path("whole.folds/predictions.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--folds 1", "--folds 1: expected at least 2"),
        ("--folds 2 --rank-sources dev.tsv", "without --rank-sources"),
        ("--folds 99", "make no 99 folds"),
    ],
)
def test_what_it_refuses(workplace: Path, mslm: Mslm, options: str, said: str) -> None:
    done = mslm(*FINETUNE, *options.split(), "-o", "own")
    assert done.exit_code in (2, 3)
    assert said in done.stderr
    assert not Path("own").exists()


def test_silver_labels_are_refused(workplace: Path, mslm: Mslm) -> None:
    label = "label text.txt --model ner --min-confidence 0 --threads 1 -o silver"
    assert mslm(*label.split()).exit_code == 0
    done = mslm(*FINETUNE, "--folds", "2", "--silver", "silver", "-o", "own")
    assert (done.exit_code, "may have learnt from every fold" in done.stderr) == (2, True)
