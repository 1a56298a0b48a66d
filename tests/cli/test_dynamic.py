"""``mslm preprocess --dynamic``: no masks on disk, and the same ones when the batch is made."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import numpy as np
import pytest
from training_log import logged
from typer.testing import Result

from mslm_cli import artifacts, models
from mslm_cli.config import PreprocessConfig
from mslm_cli.fsio import sha256_of
from mslm_cli.masking.recipe import open_masks
from mslm_cli.masking.shards import ShardReader

Mslm = Callable[..., Result]
OPTIONS = {
    "token": ["--rate", 0.3],
    "word": ["--schedule", "linear:0.4:0.1"],
    "span": ["--budget", 0.25],
    "pmi": ["--pmi-min-count", 3, "--budget", 0.2],
    "entity": ["--elm-rate", 0.4],
    "mslm": ["--elm-rate", 0.3, "--schedule", "linear:0.4:0.25", "--mask-replace", "0.5,0.3,0.2"],
}


def make(mslm: Mslm, strategy: str, output: str, *more: object) -> None:
    arguments = ["text.txt", "--lexicon", "lexicon", "--model", "encoder", "--max-length", 64, "--strategy", strategy]
    made = mslm("preprocess", *arguments, *OPTIONS[strategy], *more, "-o", output)
    assert made.exit_code == 0, made.stderr


def shown(mslm: Mslm, shards: str, epoch: int) -> list[dict[str, Any]]:
    result = mslm("show-masks", shards, "--n", 1000, "--epoch", epoch, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("strategy", OPTIONS)
def test_drawn_masks_equal_stored_masks(workplace: Path, mslm: Mslm, strategy: str) -> None:
    make(mslm, strategy, "stored", "--copies", 3, "--block-chars", 200)
    make(mslm, strategy, "drawn", "--copies", 3, "--dynamic")
    assert not list(Path("drawn").glob("masks-*"))
    assert Path("stored/stats.json").read_bytes() == Path("drawn/stats.json").read_bytes()
    for epoch in range(3):
        stored = shown(mslm, "stored", epoch)
        assert stored == shown(mslm, "drawn", epoch)
        assert any(any(line["kind"]) for line in stored)


def test_later_epochs_have_new_masks_and_the_last_budget(workplace: Path, mslm: Mslm) -> None:
    make(mslm, "word", "drawn", "--copies", 2, "--dynamic")
    shares = []
    for epoch in (0, 1, 5):
        lines = shown(mslm, "drawn", epoch)
        n_tokens = sum(word is not None for line in lines for word in line["word_ids"])
        shares.append(sum(kind > 0 for line in lines for kind in line["kind"]) / n_tokens)
    assert shares == pytest.approx([0.4, 0.1, 0.1], abs=0.002)
    assert shown(mslm, "drawn", 1) != shown(mslm, "drawn", 5)


@pytest.mark.parametrize(("strategy", "weights"), [("mslm", "frequency"), ("pmi", "ratio:2")])
def test_an_encoder_adapted_on_either_has_the_same_bits(
    workplace: Path, mslm: Mslm, strategy: str, weights: str
) -> None:
    for output, more in (("stored", ()), ("drawn", ("--dynamic",))):
        make(mslm, strategy, output, "--copies", 3, *more)
        training = ["--epochs", 3, "--head-warmup-steps", 2, "--tokens-per-step", 256, "--threads", 1]
        done = mslm("adapt", output, "--model", "encoder", *training, "--weights", weights, "-o", f"{output}-adapted")
        assert done.exit_code == 0, done.stderr
    assert sha256_of(Path("stored-adapted/model.safetensors")) == sha256_of(Path("drawn-adapted/model.safetensors"))


def masks_of(shards: str, first: int, last: int, epoch: int) -> list[list[int]]:
    source = artifacts.load(Path(shards), "shards")
    config = PreprocessConfig.model_validate(source.manifest.config)
    masks = open_masks(ShardReader(Path(shards)), config, models.load_tokenizer(Path(shards, "tokenizer")))
    found = masks.epoch(epoch).batch(np.arange(first, last))
    return [found.offsets.tolist(), found.positions.tolist(), found.kinds.tolist(), found.replacements.tolist()]


@pytest.mark.parametrize("n_workers", [1, 3])
def test_any_number_of_processes_draws_the_same(workplace: Path, mslm: Mslm, n_workers: int) -> None:
    make(mslm, "mslm", "drawn", "--copies", 2, "--dynamic")
    cuts = [(first, first + 7) for first in range(0, 49, 7)]
    expected = [masks_of("drawn", *cut, 1) for cut in cuts]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mslm_cli.stages.adapt"])
    with context.Pool(n_workers) as pool:
        assert pool.starmap(masks_of, [(str(workplace / "drawn"), *cut, 1) for cut in cuts], chunksize=1) == expected


def test_a_killed_run_on_drawn_masks_ends_in_the_same_bits(workplace: Path, mslm: Mslm) -> None:
    make(mslm, "mslm", "drawn", "--copies", 2, "--dynamic")
    training = ["--model", "encoder", "--epochs", 2, "--tokens-per-step", 128, "--head-warmup-steps", 2]
    command = ["adapt", "drawn", *training, "--threads", 1, "--checkpoint-every", "1steps", "-o"]
    assert mslm(*command, "whole").exit_code == 0
    assert child_process.run(*command, "cut", folder=workplace, dies_after="checkpoint-0000009") == child_process.DIED
    again = mslm(*command, "cut")
    assert again.exit_code == 0, again.stderr
    assert "resuming from cut.work/checkpoint-0000009" in again.stderr
    assert sha256_of(Path("cut/model.safetensors")) == sha256_of(Path("whole/model.safetensors"))


def test_a_budget_that_a_later_epoch_cannot_meet_is_refused_before_training(workplace: Path, mslm: Mslm) -> None:
    reader = ShardReader(Path("shards"))
    batch = reader.batch(np.arange(len(reader)))
    ds_share = batch.in_mention.sum() / batch.n_ordinary.sum()
    options = ["--model", "encoder", "--max-length", 64, "--strategy", "mslm", "--elm-rate", 0.5, "--dynamic"]
    refused = None
    for points in range(1, 200):
        budget = ["--budget", round(ds_share / 2 + points / 2000, 4)]
        arguments = ["text.txt", "--lexicon", "lexicon", *options, *budget, "--overwrite", "-o", "tight"]
        if mslm("preprocess", *arguments).exit_code == 0:
            refused = mslm("adapt", "tight", "--model", "encoder", "--epochs", 300, "-o", "adapted2")
            break
    assert refused is not None
    assert refused.exit_code == 2
    assert "the largest feasible --elm-rate is" in refused.stderr
    assert not Path("adapted2.work").exists()


def test_steps_take_as_many_epochs_as_they_need(workplace: Path, mslm: Mslm) -> None:
    """As many steps as the given epochs have end in the same encoder; more begin another epoch."""
    make = "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 --dynamic -o drawn"
    assert mslm(*make.split()).exit_code == 0
    training = "adapt drawn --model encoder --head-warmup-steps 2 --tokens-per-step 128 --threads 1"
    assert mslm(*training.split(), "--epochs", 2, "-o", "by-epochs").exit_code == 0
    steps = [line["phase"] for line in logged(Path("by-epochs")) if "learning_rate" in line]
    n_steps = steps.count("adapt")
    assert mslm(*training.split(), "--steps", n_steps, "-o", "by-steps").exit_code == 0
    assert sha256_of(Path("by-steps/model.safetensors")) == sha256_of(Path("by-epochs/model.safetensors"))
    assert mslm(*training.split(), "--steps", n_steps + 1, "-o", "more").exit_code == 0
    assert len([line for line in logged(Path("more")) if "learning_rate" in line]) == len(steps) + 1
