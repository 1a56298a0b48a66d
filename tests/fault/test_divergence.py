"""A step whose loss is not finite, or explodes, is skipped; many in a row end the run and name the last checkpoint."""

import functools
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import child_process
import pytest
import torch
from test_stopping import at_step
from training_log import logged

from mslm_cli.fsio import sha256_of
from mslm_cli.training.labelled import LabelledBatch
from mslm_cli.training.loop import MAX_SKIPPED, MicrobatchOptions, TrainState, train
from mslm_cli.training.masked import MaskedBatch
from mslm_cli.training.optim import make_optimizer, make_schedule

_TRAINING = "--tokens-per-step 64 --threads 1 --checkpoint-every 2steps -o out"
ADAPT = f"adapt shards --model encoder --head-warmup-steps 3 --epochs 2 {_TRAINING}".split()
FINETUNE = f"finetune --train train.tsv --dev dev.tsv --model adapted --epochs 2 {_TRAINING}".split()
COMMANDS = pytest.mark.parametrize("command", [ADAPT, FINETUNE], ids=["adapt", "finetune"])


def poison(name: str, factor: float, after: int, every: int) -> None:
    """Multiply losses by ``factor``: those of batches whose length ``every`` divides, from batch ``after`` on."""
    batch: Any = {"adapt": MaskedBatch, "finetune": LabelledBatch}[name]
    unharmed, n_batches = batch.loss, 0

    def poisoned(self: Any, model: Any) -> torch.Tensor:
        nonlocal n_batches
        if not torch.is_grad_enabled():  # the held-out loss
            measured: torch.Tensor = unharmed(self, model)
            return measured
        n_batches += 1
        size = self.n_tokens if name == "adapt" else len(self.targets.positions)
        loss: torch.Tensor = unharmed(self, model)
        return loss * (factor if n_batches > after and size % every == 0 else 1.0)

    batch.loss = poisoned


@COMMANDS
def test_bad_steps_are_skipped_reported_and_reproduced_after_a_resume(workplace: Path, command: list[str]) -> None:
    fault = functools.partial(poison, command[0], math.nan, 0, 5)
    assert child_process.run(*command, folder=workplace, prepare=fault) == 0, Path("stderr").read_text()
    said = [line for line in Path("stderr").read_text().splitlines() if " was skipped: loss " in line]
    records = [record for record in logged(Path("out")) if "learning_rate" in record]
    skipped = [record for record in records if "skipped" in record]
    assert 0 < len(skipped) < len(records)
    assert [f"warning: step {record['step']} was skipped: {record['skipped']}" for record in skipped] == said
    assert not any("loss" in record for record in skipped)
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    weights, log = sha256_of(Path("out/model.safetensors")), logged(Path("out"))
    if command is ADAPT:
        assert json.loads(Path("out/manifest.json").read_text())["run"]["n_skipped"] == len(skipped)

    shutil.rmtree("out")
    assert child_process.run(*command, folder=workplace, prepare=fault, dies_after=8) == child_process.DIED
    assert child_process.run(*command, folder=workplace, prepare=fault) == 0, Path("stderr").read_text()
    assert "resuming from out.work/checkpoint-" in Path("stderr").read_text()
    assert (sha256_of(Path("out/model.safetensors")), logged(Path("out"))) == (weights, log)


@COMMANDS
def test_many_in_a_row_end_the_run(workplace: Path, command: list[str]) -> None:
    fault = functools.partial(poison, command[0], math.nan, 4, 1)
    assert child_process.run(*command, folder=workplace, prepare=fault) == 6
    lines = Path("stderr").read_text().splitlines()
    in_a_row = (
        f"error: training diverged: {MAX_SKIPPED + 1} steps in a row were skipped,"
        f" the last with loss nan and gradient norm nan"
    )
    assert lines[-1].startswith(in_a_row)
    assert "lower --learning-rate" in lines[-1]
    assert len([line for line in lines if " was skipped: loss nan" in line]) == MAX_SKIPPED
    kept = sorted(Path("out.work").glob("checkpoint-*"))
    assert lines[-2] == f"warning: {kept[-1]} is the last good checkpoint"
    assert not Path("out").exists()
    if command is ADAPT:  # at the end of an epoch finetune writes one in any case
        assert kept[-1].name == "checkpoint-0000003"
        assert json.loads((kept[-1] / "state.json").read_text())["n_skipped"] == 0


@COMMANDS
@pytest.mark.parametrize(("n_good", "exit_code"), [(0, 6), (1, 6), (2, 0)])
def test_a_short_run_that_mostly_skipped_publishes_nothing(
    workplace: Path, command: list[str], n_good: int, exit_code: int
) -> None:
    whole = ["--epochs", "3", "--tokens-per-step", "1000000", "--batch-tokens", "1000000"]  # three steps
    if command is ADAPT:
        whole += ["--head-warmup-steps", "0"]
    fault = functools.partial(poison, command[0], math.nan, n_good, 1)
    assert child_process.run(*command, *whole, folder=workplace, prepare=fault) == exit_code
    assert Path("out").exists() == (exit_code == 0)
    if exit_code:
        line = Path("stderr").read_text().splitlines()[-1]
        assert line.startswith(f"error: training diverged: {3 - n_good} of 3 steps were skipped")


def poison_and_end(name: str, after: int, n: int) -> None:
    """``poison`` all after batch ``after``, and have the process be asked to end in its n-th step."""
    poison(name, math.nan, after, 1)
    at_step(n, [signal.SIGTERM])


def test_consecutive_skips_are_counted_across_a_resume(workplace: Path) -> None:
    assert child_process.run(*ADAPT, folder=workplace, prepare=functools.partial(poison_and_end, "adapt", 4, 9)) == 143
    assert json.loads(Path("out.work/checkpoint-0000009/state.json").read_text())["n_skipped"] == 5
    assert child_process.run(*ADAPT, folder=workplace, prepare=functools.partial(poison, "adapt", math.nan, 0, 1)) == 6
    said = [line.split(":")[1] for line in Path("stderr").read_text().splitlines() if " was skipped: " in line]
    assert said == [f" step {n} was skipped" for n in range(10, 4 + MAX_SKIPPED + 1)]


class Squares(NamedTuple):
    """An update of one microbatch, itself, whose loss is the squared output."""

    data: torch.Tensor

    def microbatches(self, max_tokens: int) -> "list[Squares]":
        return [self]

    @property
    def reported(self) -> None:
        """Nothing."""

    def loss(self, model: Any) -> torch.Tensor:
        found: torch.Tensor = model(self.data).square().sum()
        return found


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e4], ids=["nan", "inf", "exploding"])
def test_a_skipped_step_changes_nothing_but_the_schedule(factor: float) -> None:
    model: Any = torch.nn.Linear(3, 1)
    optimizer = make_optimizer(model.named_parameters(), 0.1, 0.01)
    state = TrainState(model, optimizer, make_schedule(optimizer, 10, 0.0))
    updates = [Squares(torch.tensor([[1.0, 2.0, third]])) for third in (1.0, factor, 1.0)]
    found = []
    for step in train(state, updates, 1.0, MicrobatchOptions(64)):
        moments = [s["exp_avg"].clone() for s in optimizer.state.values()]
        found.append((step, [p.detach().clone() for p in model.parameters()] + moments))
    (one, before), (two, after), (three, end) = found
    assert [step.is_skipped for step in (one, two, three)] == [False, True, False]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(after, end, strict=True))
    assert [step.number for step in (one, two, three)] == [1, 2, 3]
    assert one.learning_rate > two.learning_rate > three.learning_rate
    assert state.n_skipped == 0
