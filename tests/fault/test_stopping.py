"""SIGTERM and Ctrl-C end a command in good order; what it can go on from, and in what environment."""

import functools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import child_process
import pytest
from typer.testing import Result

from mslm_cli.fsio import sha256_of
from mslm_cli.signals import Terminated
from mslm_cli.stages import preprocess
from mslm_cli.training import checkpoint, ranks
from mslm_cli.training.checkpoint import Workspace

Mslm = Callable[..., Result]
_TRAINING = "--tokens-per-step 64 --threads 1 --checkpoint-every 1h -o out"
ADAPT = f"adapt shards --model encoder --epochs 2 --head-warmup-steps 3 {_TRAINING}".split()
FINETUNE = f"finetune --train train.tsv --dev dev.tsv --model adapted --epochs 2 --learning-rate 0.01 {_TRAINING}"
FINETUNE = FINETUNE.split()
COMMANDS = pytest.mark.parametrize("command", [ADAPT, FINETUNE], ids=["adapt", "finetune"])
SIGNALS = pytest.mark.parametrize(
    ("number", "exit_code", "said"),
    [(signal.SIGTERM, 143, "error: terminated"), (signal.SIGINT, 130, "error: interrupted")],
    ids=["SIGTERM", "Ctrl-C"],
)


@pytest.fixture(scope="module")
def undisturbed(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], Path]:
    """The output of a command that is never disturbed."""

    @functools.cache
    def output(name: str) -> Path:
        folder = tmp_path_factory.mktemp("undisturbed")
        shutil.copytree(chain, folder, dirs_exist_ok=True)
        command = ADAPT if name == "adapt" else FINETUNE
        assert child_process.run(*command, folder=folder) == 0, (folder / "stderr").read_text()
        return folder / "out"

    return lambda command: output(command[0])


Undisturbed = Callable[[list[str]], Path]


def assert_same(expected: Path) -> None:
    assert sha256_of(Path("out/model.safetensors")) == sha256_of(expected / "model.safetensors")
    assert [p.name for p in Path().iterdir() if p.name.startswith(("out", ".out"))] == ["out"]


def at_step(n: int, signals: list[signal.Signals]) -> None:
    """Have the process send itself signals in the midst of its n-th step."""
    log = Workspace.log
    n_logged = 0

    def signalled(self: Workspace, record: dict[str, Any]) -> None:
        nonlocal n_logged
        n_logged += "held_out" not in record
        if n_logged == n and "held_out" not in record:
            for number in signals:
                os.kill(os.getpid(), number)
        log(self, record)

    Workspace.log = signalled  # type: ignore[method-assign]  # the fault


def stopped(folder: Path, command: list[str], n: int) -> int | None:
    """The exit code of a command that is asked to end in its n-th step."""
    return child_process.run(*command, folder=folder, prepare=functools.partial(at_step, n, [signal.SIGTERM]))


@SIGNALS
@COMMANDS
def test_training_finishes_the_step_and_writes_a_checkpoint(
    workplace: Path, command: list[str], number: signal.Signals, exit_code: int, said: str, undisturbed: Undisturbed
) -> None:
    fault = functools.partial(at_step, 5, [number])
    assert child_process.run(*command, folder=workplace, prepare=fault) == exit_code, Path("stderr").read_text()
    lines = Path("stderr").read_text().splitlines()
    assert lines[-2:] == ["out.work/checkpoint-0000005 is kept: run the same command again to resume from it", said]
    assert not Path("out").exists()
    assert child_process.run(*command, folder=workplace) == 0, Path("stderr").read_text()
    assert "resuming from out.work/checkpoint-0000005 (step 5)" in Path("stderr").read_text()
    assert_same(undisturbed(command))


def test_the_last_step_of_an_epoch_is_not_scored_before_the_end(workplace: Path, undisturbed: Undisturbed) -> None:
    records = [json.loads(line) for line in (undisturbed(FINETUNE) / "metrics.jsonl").read_text().splitlines()]
    n = next(i for i, record in enumerate(records) if "dev" in record)
    fault = functools.partial(at_step, n, [signal.SIGTERM])
    assert child_process.run(*FINETUNE, folder=workplace, prepare=fault) == 143
    assert "dev strict F1" not in Path("stderr").read_text()
    assert child_process.run(*FINETUNE, folder=workplace) == 0, Path("stderr").read_text()
    assert_same(undisturbed(FINETUNE))


def test_a_second_signal_ends_it_at_once(workplace: Path) -> None:
    fault = functools.partial(at_step, 5, [signal.SIGINT, signal.SIGTERM])
    assert child_process.run(*ADAPT, folder=workplace, prepare=fault) == 143
    assert [p.name for p in Path("out.work").glob("checkpoint-*")] == ["checkpoint-0000003"], (
        "the one at the end of the first phase"
    )


def in_extract_terms(number: signal.Signals) -> None:
    """After the first block was noted in the journal."""
    child_process.die_after_blocks(1, number)


def in_preprocess(number: signal.Signals) -> None:
    """While the shards are being written."""
    write = preprocess.write_masks

    def signalled(*arguments: Any) -> None:
        write(*arguments)
        os.kill(os.getpid(), number)

    preprocess.write_masks = signalled


@SIGNALS
@pytest.mark.parametrize(
    ("command", "fault", "made", "resumed"),
    [
        ("extract-terms text.txt --pipeline none -o out", in_extract_terms, "terms.jsonl", " (1 block)"),
        (
            "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o out",
            in_preprocess,
            "masks-000-00000.arrow",
            " (1 block)",
        ),
    ],
    ids=["extract-terms", "preprocess"],
)
def test_other_commands_leave_nothing_half_written(
    workplace: Path,
    command: str,
    fault: Callable[[signal.Signals], None],
    made: str,
    resumed: str,
    number: signal.Signals,
    exit_code: int,
    said: str,
) -> None:
    before = {p.name for p in workplace.iterdir()} | {"stdout", "stderr"}
    ended = child_process.run(*command.split(), folder=workplace, prepare=functools.partial(fault, number))
    assert ended == exit_code, Path("stderr").read_text()
    assert Path("stderr").read_text().splitlines()[-1] == said
    assert {p.name for p in workplace.iterdir()} == before | {"out.work"}
    assert child_process.run(*command.split(), folder=workplace) == 0, Path("stderr").read_text()
    assert f"resuming from out.work{resumed}" in Path("stderr").read_text()
    assert Path("out", made).is_file()


def test_resuming_in_another_environment_is_refused_with_the_difference(workplace: Path) -> None:
    assert stopped(workplace, ADAPT, 5) == 143
    other = ["2" if option == "1" else option for option in ADAPT]
    assert child_process.run(*other, folder=workplace) == 2
    line = Path("stderr").read_text().splitlines()[-1]
    assert "out.work/checkpoint-0000005 was written in another environment (threads was 1, is 2)" in line
    assert "--resume-anyway" in line
    assert child_process.run(*other, "--resume-anyway", folder=workplace) == 0, Path("stderr").read_text()
    assert "resuming in another environment (threads was 1, is 2)" in Path("stderr").read_text()


@COMMANDS
def test_memory_can_be_saved_in_a_resumed_run(workplace: Path, command: list[str]) -> None:
    assert stopped(workplace, command, 5) == 143
    smaller = [*command, "--batch-tokens", "32"]
    assert child_process.run(*smaller, folder=workplace) == 2
    assert "in another environment (batch tokens was auto, is 32)" in Path("stderr").read_text()
    assert child_process.run(*smaller, "--resume-anyway", folder=workplace) == 0, Path("stderr").read_text()
    assert "resuming from out.work/checkpoint-0000005" in Path("stderr").read_text()
    assert child_process.run(*command, folder=workplace) == 0
    assert "out is up to date" in Path("stderr").read_text()


def test_an_epoch_alone_is_no_reason_for_a_checkpoint(
    workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a checkpoint")

    monkeypatch.setattr(checkpoint, "save_checkpoint", fail)
    done = mslm(*FINETUNE)
    assert done.exit_code == 0, done.stderr
    assert not Path("out.work").exists()


def test_the_checkpoint_records_what_affects_the_last_bits(workplace: Path) -> None:
    assert stopped(workplace, ADAPT, 2) == 143
    state = json.loads(Path("out.work/checkpoint-0000002/state.json").read_text())
    assert state["numerics"].keys() >= {
        "torch", "transformers", "numpy", "processes", "threads", "cpu_capability", "machine", "device"
    }  # fmt: skip
    assert state["generators"].keys() == {"python", "numpy"}


@COMMANDS
def test_going_back_to_an_older_checkpoint(workplace: Path, command: list[str], undisturbed: Undisturbed) -> None:
    """Also over the end of an epoch; what came after it is gone, and a kill in between changes nothing."""
    command = [
        *command[: command.index("1h")],
        "2steps",
        *command[command.index("1h") + 1 :],
        "--keep-checkpoints",
        "9",
    ]
    records = [json.loads(line) for line in (undisturbed(command) / "metrics.jsonl").read_text().splitlines()]
    n = len([r for r in records if "learning_rate" in r]) - 2
    assert stopped(workplace, command, n) == 143
    kept = sorted(p.name for p in Path("out.work").glob("checkpoint-*"))
    assert 5 < len(kept) <= 9
    older = f"out.work/{kept[2]}"
    assert child_process.run(*command, "--resume", older, folder=workplace, dies_after=kept[3]) == child_process.DIED
    assert sorted(p.name for p in Path("out.work").glob("checkpoint-*")) == kept[:4]
    assert child_process.run(*command, folder=workplace) == 0, Path("stderr").read_text()
    assert_same(undisturbed(command))


def test_the_best_model_of_every_kept_checkpoint_is_kept(workplace: Path) -> None:
    command = [*FINETUNE[: FINETUNE.index("1h")], "4steps", *FINETUNE[FINETUNE.index("1h") + 1 :]]
    command += ["--epochs", "4", "--keep-checkpoints", "99"]
    assert child_process.run(*command, folder=workplace, dies_after="out") == child_process.DIED
    states = [json.loads(path.read_text()) for path in Path("out.work").glob("checkpoint-*/state.json")]
    needed = {state["progress"]["best"]["folder"] for state in states if state["progress"]["best"]}
    assert len(needed) > 1
    found = {path.name for path in Path("out.work").glob("best-*")}
    assert found == needed | {max(found)}  # the last one was about to be published


def test_the_last_checkpoints_are_kept(workplace: Path) -> None:
    command = [*ADAPT[: ADAPT.index("1h")], "1steps", *ADAPT[ADAPT.index("1h") + 1 :]]
    for n_kept in (1, 3):
        fault = functools.partial(at_step, 7, [signal.SIGTERM])
        options = ["--keep-checkpoints", n_kept, "--resume", "never"]
        assert child_process.run(*command, *options, folder=workplace, prepare=fault) == 143
        kept = sorted(p.name for p in Path("out.work").glob("checkpoint-*"))
        assert kept == [f"checkpoint-{n:07}" for n in range(8 - n_kept, 8)]


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (ADAPT, "checkpoint-0000005/state.safetensors"),
        (ADAPT, "checkpoint-0000005/state.json"),
        (FINETUNE, "best-0001/config.json"),
    ],
)
def test_a_flipped_byte_in_a_checkpoint_is_found(
    workplace: Path, command: list[str], file: str, undisturbed: Undisturbed
) -> None:
    records = [json.loads(line) for line in (undisturbed(FINETUNE) / "metrics.jsonl").read_text().splitlines()]
    n = 5
    if command is FINETUNE:
        command = [*FINETUNE, "--epochs", "1"]  # after which only the best model is still needed
        n = 1 + next(i for i, record in enumerate(records) if "dev" in record)
    assert stopped(workplace, command, n) == 143, Path("stderr").read_text()
    path = Path("out.work", file)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert child_process.run(*command, folder=workplace) == 4
    line = Path("stderr").read_text().splitlines()[-1]
    assert f"{path.parent}: damaged" in line
    assert "--resume never" in line
    assert not Path("out").exists()


def test_a_process_ends_with_the_others_that_share_its_steps(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda folder, *_: saved.append(folder.name))
    monkeypatch.setattr(ranks, "total", lambda number: number + 1)  # another one was asked to end
    work = Workspace(in_tmp, "1h", 2, {})
    work.metrics.touch()
    state: Any = SimpleNamespace(n_skipped=0)
    with pytest.raises(Terminated):
        work.save_if_due(5, state, {})
    assert saved == ["checkpoint-0000005"]
