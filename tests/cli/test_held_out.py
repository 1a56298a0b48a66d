"""What `mslm adapt` says of its held-out loss, which step it keeps, and how long it trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_log import logged
from typer.testing import Result

from mslm_cli import models
from mslm_cli.config import PreprocessConfig
from mslm_cli.masking.recipe import open_masks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.stages import adapt
from mslm_cli.training.held_out import HeldOut, divide
from mslm_cli.training.masked import MaskedData, Objectives
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.packing import make_collator

Mslm = Callable[..., Result]
TRAINING = ["--model", "lm", "--tokens-per-step", "128", "--threads", "1", "-o", "out"]


@pytest.fixture
def lm(workplace: Path, tiny_masked_lm: Path) -> Path:
    """The working folder, with an encoder that has an MLM head: ``lm``."""
    (workplace / "lm").symlink_to(tiny_masked_lm)
    return workplace


def run_of(output: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(output, "manifest.json").read_text())["run"]
    return found


def measured(output: str = "out") -> list[dict[str, Any]]:
    return [line for line in logged(Path(output)) if "held_out" in line]


def test_start_kept_and_last_are_in_the_summary_the_manifest_and_the_card(lm: Path, mslm: Mslm) -> None:
    done = mslm("adapt", "shards", *TRAINING, "--held-out", 0.5, "--epochs", 12, "--learning-rate", 0.01)
    assert done.exit_code == 0, done.stderr
    found = run_of()["held_out"]
    lines = measured()
    assert [lines[0]["step"], lines[-1]["step"]] == [0, run_of()["n_steps"]]
    assert 8 <= len(lines) <= 13
    assert (found["start"], found["last"]) == (lines[0]["held_out"], lines[-1]["held_out"])
    assert found["kept"]["loss"] == min(line["held_out"]["loss"] for line in lines)
    assert found["kept"]["loss"] < found["start"]["loss"]
    assert not found["is_training_text"]
    assert "the last step" in done.stderr or f"step {found['kept_step']} of" in done.stderr
    for scores in (found["start"], found["kept"], found["last"]):
        for said in (done.stderr, Path("out/README.md").read_text()):
            assert f"{scores['ds_term']['loss']:.3f}" in said
            assert f"{scores['generic']['loss']:.3f}" in said
    assert "of held-out text" in done.stderr


def test_the_published_weights_have_the_loss_of_the_kept_step(lm: Path, mslm: Mslm) -> None:
    """At a rate that rises to the end the loss falls first and rises then."""
    options = ["--epochs", 10, "--learning-rate", 3, "--warmup-share", 1, "--precision", "fp32"]
    done = mslm("adapt", "shards", *TRAINING, "--held-out", 0.5, *options)
    assert done.exit_code == 0, done.stderr
    found = run_of()["held_out"]
    assert 0 < found["kept_step"] < found["last_step"]
    assert found["kept"]["loss"] < found["last"]["loss"]
    assert f"kept: step {found['kept_step']} of {found['last_step']}" in done.stderr
    reader = ShardReader(Path("shards"))
    masks = open_masks(reader, PreprocessConfig(), models.load_tokenizer(Path("out")))
    model, fresh = load_masked_lm(Path("out"), allow_pickle=False, seed=0)
    assert not fresh
    data = MaskedData(
        reader, kind_weights("ratio:2", 1, 1), Objectives(), make_collator(model, 0, torch.float32), model.device
    )
    sequences = divide(reader.doc, 0.5).measured[: found["kept"]["n_sequences"]]
    again = HeldOut(data, masks.epoch(0), sequences, 1024, torch.float32).measure(model)
    assert again["loss"] == pytest.approx(found["kept"]["loss"], abs=1e-4)


def test_a_run_that_only_gets_worse_keeps_the_start_and_says_so(lm: Path, mslm: Mslm) -> None:
    done = mslm("adapt", "shards", *TRAINING, "--held-out", 0.5, "--epochs", 4, "--learning-rate", 5)
    assert done.exit_code == 0, done.stderr
    assert run_of()["held_out"]["kept_step"] == 0
    assert "no step had a lower held-out loss than the start" in done.stderr
    assert "another --learning-rate" in done.stderr
    before, after = load_file("lm/model.safetensors"), load_file("out/model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_auto_stops_where_the_loss_no_longer_falls(lm: Path, mslm: Mslm) -> None:
    options = ["--held-out", 0.5, "--learning-rate", 3, "--warmup-share", 1, "--tokens", 20_000]
    done = mslm("adapt", "shards", *TRAINING, *options)
    assert done.exit_code == 0, done.stderr
    assert run_of()["n_tokens"] < 15_000
    losses = [line["held_out"]["loss"] for line in measured()][1:]
    assert min(losses[-3:]) >= min(losses[:-3])
    done = mslm("adapt", "shards", *TRAINING[:-1], "all", *options, "--epochs", 1000)
    assert done.exit_code == 0, done.stderr
    assert run_of("all")["n_tokens"] >= 20_000


def test_few_sequences_are_measured_on_the_training_text(lm: Path, mslm: Mslm) -> None:
    done = mslm("adapt", "shards", *TRAINING, "--epochs", 2)
    assert done.exit_code == 0, done.stderr
    assert "60 sequences are too few to hold out 5 %: the loss is measured on the training text" in done.stderr
    assert run_of()["held_out"]["is_training_text"]
    n_tokens = sum(line["n_tokens"] for line in logged(Path("out")) if "n_tokens" in line)
    assert n_tokens == 2 * ShardReader(Path("shards")).lengths.sum()


def test_nothing_is_measured_with_held_out_0(lm: Path, mslm: Mslm) -> None:
    done = mslm("adapt", "shards", *TRAINING, "--epochs", 2, "--held-out", 0)
    assert done.exit_code == 0, done.stderr
    assert not measured()
    assert "held_out" not in run_of()
    assert "averages over the last tenth" in done.stderr


def test_a_run_never_trains_on_a_held_out_sequence(lm: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    update = MaskedData.update

    def watched(self: MaskedData, masks: Any, sequences: Any) -> Any:
        seen[torch.is_grad_enabled()] |= set(sequences.tolist())
        return update(self, masks, sequences)

    monkeypatch.setattr(MaskedData, "update", watched)
    done = mslm("adapt", "shards", *TRAINING, "--model", "encoder", "--held-out", 0.5, "--epochs", 3)
    assert done.exit_code == 0, done.stderr
    division = divide(ShardReader(Path("shards")).doc, 0.5)
    assert seen[True] == set(division.training.tolist())
    assert seen[False]
    assert seen[False] <= set(division.measured.tolist())


def test_epochs_beyond_the_stored_copies_have_new_masks(chain: Path) -> None:
    reader = ShardReader(chain / "shards")
    tokenizer = models.load_tokenizer(chain / "shards" / "tokenizer")
    masks = open_masks(reader, PreprocessConfig.model_validate({"copies": 1}), tokenizer)
    masks.prepare(4)
    found = [masks.training_epoch(epoch).batch(np.arange(60)).positions.tolist() for epoch in range(4)]
    assert found[0] == reader.epoch(0).batch(np.arange(60)).positions.tolist()
    assert len({tuple(positions) for positions in found}) == 4


def test_not_all_text_can_be_held_out(lm: Path, mslm: Mslm) -> None:
    refused = mslm("adapt", "shards", *TRAINING, "--held-out", 1)
    assert refused.exit_code == 2
    assert "--held-out: expected less than 1" in refused.stderr


def test_steps_and_tokens_exclude_each_other(lm: Path, mslm: Mslm) -> None:
    for option in ("--tokens", "--minutes"):
        refused = mslm("adapt", "shards", *TRAINING, "--steps", 5, option, 9)
        assert refused.exit_code == 2
        assert "--steps is the length of the run: drop --tokens and --minutes" in refused.stderr


def test_minutes_are_turned_into_tokens_once(lm: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time the machine is faster, and nothing changes."""
    speeds = iter([1500, 9000])
    command = ["adapt", "shards", *TRAINING, "--minutes", 1, "--checkpoint-every", "1steps"]
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "tokens_in", lambda *_: next(speeds))
        patch.setattr(adapt.model_card, "encoder", _fail)
        assert mslm(*command).exit_code != 0
    assert json.loads(Path("out.work/identity.json").read_text())["options"]["tokens"] == 1500
    monkeypatch.setattr(adapt, "tokens_in", lambda *_: next(speeds))
    again = mslm(*command)
    assert again.exit_code == 0, again.stderr
    assert "resuming from" in again.stderr
    config = json.loads(Path("out/manifest.json").read_text())["config"]
    assert (config["minutes"], config["tokens"]) == (1.0, 1500)
    assert "is up to date" in mslm(*command).stderr


def test_minutes_are_measured(lm: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    done = mslm("adapt", "shards", *TRAINING, "--minutes", 0.0005, "--epochs", 2)
    assert done.exit_code == 0, done.stderr
    tokens = json.loads(Path("out/manifest.json").read_text())["config"]["tokens"]
    assert f"--minutes 0.0005 are {tokens:,} token" in done.stderr


def _fail(*_: object) -> str:
    raise RuntimeError("the disk is full")
