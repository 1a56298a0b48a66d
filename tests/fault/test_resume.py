"""Killed in the middle and run again, training ends in the bits of an undisturbed run."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import child_process
import pytest
from training_log import logged
from typer.testing import Result

from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]

_TRAINING = "--epochs 2 --tokens-per-step 64 --batch-tokens 64 --threads 1 --checkpoint-every 2steps -o out"
ADAPT = f"adapt shards --model encoder --head-warmup-steps 8 --detect 0.5 {_TRAINING}".split()
FINETUNE = f"finetune --train train.tsv --dev dev.tsv --model adapted --learning-rate 0.01 {_TRAINING}".split()
COMMANDS = pytest.mark.parametrize("command", [ADAPT, FINETUNE], ids=["adapt", "finetune"])


@pytest.fixture(scope="session")
def undisturbed(chain: Path, mslm: Mslm, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], Path]:
    """The output of a command that is never disturbed and writes no checkpoint on its way."""
    made: dict[str, Path] = {}

    def output(command: list[str]) -> Path:
        if command[0] not in made:
            folder = tmp_path_factory.mktemp("undisturbed")
            shutil.copytree(chain, folder, dirs_exist_ok=True)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                done = mslm(*with_checkpoints(command, "1h"))
            assert done.exit_code == 0, done.stderr
            made[command[0]] = folder / "out"
        return made[command[0]]

    return output


Undisturbed = Callable[[list[str]], Path]


def with_checkpoints(command: list[str], every: str) -> list[str]:
    return [*command[: command.index("--checkpoint-every") + 1], every, *command[-2:]]


def assert_same(output: Path, expected: Path) -> None:
    weights, others = ({p.name: sha256_of(p) for p in folder.glob("*.safetensors")} for folder in (output, expected))
    assert weights == others
    assert logged(output) == logged(expected)
    left = [p.name for p in output.parent.iterdir() if p.name.startswith((output.name, f".{output.name}"))]
    assert left == [output.name]


def kill_at_checkpoint(command: list[str], folder: Path, number: int) -> None:
    """Run ``command`` until step ``number`` is saved, then send SIGKILL."""
    process = child_process.start(*command, folder=folder)
    while process.is_alive():
        if any(int(p.name.removeprefix("checkpoint-")) >= number for p in folder.glob("out.work/checkpoint-*")):
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        time.sleep(0.0005)
    assert process.exitcode == -signal.SIGKILL, "the process ended before it could be killed"
    assert not (folder / "out").exists()


@COMMANDS
def test_killed_from_outside_and_run_again(
    workplace: Path, command: list[str], undisturbed: Undisturbed, mslm: Mslm
) -> None:
    expected = undisturbed(command)
    assert json.loads((expected / "config.json").read_text())["hidden_dropout_prob"] > 0
    steps = [record for record in logged(expected) if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, len(steps) + 1))
    assert len(steps) > 12, "too short to be killed in the middle"
    for number in (2, len(steps) // 2):
        kill_at_checkpoint(command, workplace, number)
    again = mslm(*command)
    assert again.exit_code == 0, again.stderr
    assert "resuming from out.work/checkpoint-" in again.stderr
    assert_same(workplace / "out", expected)


def test_both_phases_of_adapt_can_be_interrupted(undisturbed: Undisturbed) -> None:
    phases = [record["phase"] for record in logged(undisturbed(ADAPT))]
    assert phases[2] == "head"
    assert phases[len(phases) // 2] == "adapt"


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        (ADAPT, "checkpoint-0000008"),  # the last one of the first phase
        (ADAPT, "out"),
        (FINETUNE, "best-0001"),  # it is kept, and the checkpoint that says so is not yet written
        (FINETUNE, "checkpoint-{n:07}"),  # the last one of an epoch
        (FINETUNE, "out"),
    ],
)
def test_killed_when_two_things_must_agree(
    workplace: Path, command: list[str], moment: str, undisturbed: Undisturbed
) -> None:
    expected = undisturbed(command)
    scored = [int(str(record["step"])) for record in logged(expected) if "dev" in record]
    command = with_checkpoints(command, "1steps")
    name = moment.format(n=scored[0] if scored else None)
    assert child_process.run(*command, folder=workplace, dies_after=name) == child_process.DIED
    assert child_process.run(*command, folder=workplace) == 0, Path("stderr").read_text()
    assert_same(workplace / "out", expected)


@COMMANDS
@pytest.mark.slow
def test_killed_between_the_renames_that_replace_an_output(
    workplace: Path, command: list[str], undisturbed: Undisturbed
) -> None:
    assert child_process.run(*command, "--seed", "7", folder=workplace) == 0
    old = sha256_of(Path("out/model.safetensors"))
    assert child_process.run(*command, "--overwrite", folder=workplace, dies_after=".out.old") == child_process.DIED
    assert not Path("out").exists()
    assert child_process.run(*command, folder=workplace) == 2, "the old one is back, and not overwritten unasked"
    assert sha256_of(Path("out/model.safetensors")) == old
    assert child_process.run(*command, "--overwrite", folder=workplace) == 0
    assert_same(workplace / "out", undisturbed(command))


@pytest.fixture
def stopped(workplace: Path) -> Callable[[list[str]], None]:
    """Leave the OUT.work of a command that was killed."""

    def stop(command: list[str]) -> None:
        assert child_process.run(*command, folder=workplace, dies_after="checkpoint-0000004") == child_process.DIED

    return stop


Stopped = Callable[[list[str]], None]


@pytest.mark.parametrize(
    ("command", "option", "said"),
    [
        (ADAPT, ["--seed", "7"], "other options: seed"),
        (ADAPT, ["--learning-rate", "0.5", "--weights", "uniform"], "other options: learning_rate, weights"),
        (FINETUNE, ["--overlap", "3"], "other options: overlap"),
        (FINETUNE, ["--dev", "test.tsv"], "other inputs: dev"),
        (FINETUNE, ["--model", "encoder"], "other inputs: model"),
    ],
)
def test_a_run_with_other_options_does_not_resume(
    stopped: Stopped, mslm: Mslm, command: list[str], option: list[str], said: str
) -> None:
    stopped(command)
    before = sorted(p.name for p in Path("out.work").iterdir())
    refused = mslm(*command, *option)
    assert refused.exit_code == 2
    line = refused.stderr.splitlines()[-1]
    assert line.startswith(f"error: out.work holds a run with {said} (")
    assert "--resume never" in line
    assert sorted(p.name for p in Path("out.work").iterdir()) == before
    assert not Path("out").exists()


@COMMANDS
def test_resume_never_starts_over(stopped: Stopped, mslm: Mslm, command: list[str], undisturbed: Undisturbed) -> None:
    stopped([*command, "--seed", "7"])
    again = mslm(*command, "--resume", "never")
    assert again.exit_code == 0, again.stderr
    assert "going on" not in again.stderr
    assert_same(Path("out"), undisturbed(command))


def test_resume_takes_a_checkpoint_by_its_path(stopped: Stopped, mslm: Mslm, undisturbed: Undisturbed) -> None:
    stopped(ADAPT)
    elsewhere = mslm(*ADAPT[:-1], "elsewhere", "--resume", "out.work/checkpoint-0000004")
    assert elsewhere.exit_code == 4
    assert "elsewhere.work" in elsewhere.stderr
    assert not Path("elsewhere.work").exists()
    again = mslm(*ADAPT, "--resume", "out.work/checkpoint-0000004")
    assert again.exit_code == 0, again.stderr
    assert_same(Path("out"), undisturbed(ADAPT))


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "../identity.json", "../metrics.jsonl"])
def test_a_damaged_checkpoint_is_not_resumed_from(
    stopped: Stopped, mslm: Mslm, file: str, undisturbed: Undisturbed
) -> None:
    stopped(ADAPT)
    path = Path("out.work/checkpoint-0000004", file)
    path.write_bytes(path.read_bytes()[:-30])
    refused = mslm(*ADAPT)
    assert refused.exit_code == 4, refused.stderr
    assert "damaged" in refused.stderr.splitlines()[-1]
    assert "--resume never" in refused.stderr.splitlines()[-1]
    assert mslm(*ADAPT, "--resume", "never").exit_code == 0
    assert_same(Path("out"), undisturbed(ADAPT))


def test_a_folder_of_the_users_own_is_left_alone(workplace: Path, mslm: Mslm) -> None:
    Path("out.work").mkdir()
    Path("out.work/thesis.tex").write_text("years of work")
    for command in (ADAPT, FINETUNE):
        for resume in ("auto", "never"):
            refused = mslm(*command, "--resume", resume)
            assert refused.exit_code == 2
            assert "out.work exists and is not a work folder" in refused.stderr
    assert Path("out.work/thesis.tex").exists()


@COMMANDS
def test_an_interrupt_keeps_and_reports_the_checkpoint(workplace: Path, command: list[str]) -> None:
    process = child_process.start(*command, folder=workplace)
    while process.is_alive():
        if any(workplace.glob("out.work/checkpoint-*")):
            os.kill(process.pid or 0, signal.SIGINT)
            process.join()
        time.sleep(0.0005)
    assert process.exitcode == 130
    said = Path("stderr").read_text().splitlines()
    assert said[-1] == "error: interrupted"
    assert "is kept: run the same command again to resume from it" in said[-2]
    assert not Path("out").exists()
    assert not Path(".out.partial").exists()


def test_two_runs_do_not_share_an_output(workplace: Path, mslm: Mslm) -> None:
    process = child_process.start(*ADAPT, "--epochs", "1000", folder=workplace)
    while process.is_alive() and not any(workplace.glob("out.work/checkpoint-*")):
        time.sleep(0.0005)
    refused = mslm(*ADAPT)
    process.kill()
    process.join()
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1] == "error: out.work is being written by another process"


@COMMANDS
def test_a_run_with_other_code_resumes_only_if_told_to(
    stopped: Stopped, mslm: Mslm, command: list[str], undisturbed: Undisturbed
) -> None:
    stopped(command)
    identity = Path("out.work/identity.json")
    found = json.loads(identity.read_text())
    found["code"]["mslm_cli.training.losses"] = "0123456789abcdef"
    identity.write_text(json.dumps(found))
    refused = mslm(*command)
    assert refused.exit_code == 2
    line = refused.stderr.splitlines()[-1]
    assert line.startswith("error: out.work holds a run with other code (training.losses) (use --resume-anyway")
    assert mslm(*command, "--resume-anyway").exit_code == 0
    assert_same(Path("out"), undisturbed(command))
