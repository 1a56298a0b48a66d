"""``mslm`` in a shell: stdout carries the result alone, ``-`` reads it, failures travel down the pipe."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import child_process
import pytest
from typer.testing import Result

Mslm = Callable[..., Result]

ESCAPE = "\x1b"
CHAIN = """
set -o pipefail
cat text.txt \
  | mslm extract-terms - -o out/lexicon \
  | mslm preprocess text.txt --lexicon - --model encoder --max-length 64 -o out/shards \
  | mslm adapt - --model encoder --epochs 1 --head-warmup-steps 2 --threads 1 -o out/adapted \
  | mslm finetune --train train.tsv --dev dev.tsv --model - --epochs 1 --threads 1 -o out/ner \
  | mslm eval - --data test.tsv --threads 1 -o out/scores --json
"""
PREPROCESS = "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o out"
BROKEN_CHAIN = """
mslm extract-terms nowhere.txt -o out/lexicon \
  | mslm preprocess text.txt --lexicon - --model encoder --max-length 64 -o out/shards \
  | mslm adapt - --model encoder -o out/adapted
echo "${PIPESTATUS[@]}"
"""


def bash(script: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)


def test_the_whole_chain_in_one_pipe(workplace: Path) -> None:
    done = bash(CHAIN)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results == json.loads(Path("out/scores/results.json").read_text())
    assert results["exact_match"]["mode"] == "strict"
    assert ESCAPE not in done.stderr
    made = sorted(p.name for p in Path("out").iterdir())
    assert made == ["adapted", "lexicon", "ner", "scores", "shards"]


def test_a_failure_travels_down_the_pipe(workplace: Path) -> None:
    done = bash(BROKEN_CHAIN)
    assert done.stdout == "3 4 4\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "error: nowhere.txt: no such file or folder" in lines
    assert sum("found nothing (the previous command in the pipe failed" in line for line in lines) == 2
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("command", "stdin"),
    [
        ("extract-terms - -o out", "text.txt"),
        ("preprocess - --lexicon lexicon --model encoder --max-length 64 -o out", "text.txt"),
        ("preprocess text.txt --lexicon - --model encoder --max-length 64 -o out", b"lexicon\n"),
        ("adapt - --model encoder --epochs 1 --head-warmup-steps 2 --threads 1 -o out", b"shards\n"),
        ("finetune --train - --dev dev.tsv --model adapted --epochs 1 --threads 1 -o out", "train.tsv"),
        ("finetune --train train.tsv --dev - --model adapted --epochs 1 --threads 1 -o out", "dev.tsv"),
        ("finetune --train train.tsv --dev dev.tsv --model - --epochs 1 --threads 1 -o out", b"adapted\n"),
        ("eval - --data test.tsv --threads 1 -o out", b"ner\n"),
        ("eval ner --data - --threads 1 -o out", "test.tsv"),
    ],
)
def test_standard_input_stands_for_a_file_and_quiet_is_silent(
    workplace: Path, mslm: Mslm, command: str, stdin: str | bytes
) -> None:
    piped = mslm(*command.split(), "-q", stdin=Path(stdin).read_bytes() if isinstance(stdin, str) else stdin)
    assert (piped.exit_code, piped.stdout) == (0, "out\n"), piped.stderr
    warnings = [line for line in piped.stderr.splitlines() if line.startswith("warning: ")]
    assert piped.stderr.splitlines() == warnings
    assert not warnings or command.startswith("eval"), "nothing here should be warned about"
    named = command.replace(" - ", f" {stdin if isinstance(stdin, str) else stdin.decode().strip()} ")
    again = mslm(*named.split())
    assert again.exit_code == 0
    assert "out is up to date" in again.stderr, "the same work by another name"


def test_an_input_that_can_be_read_only_once(workplace: Path, mslm: Mslm) -> None:
    os.mkfifo("pipe")
    refused = mslm("extract-terms", "pipe", "-o", "out")
    assert refused.exit_code == 3
    assert refused.stderr.startswith("error: pipe: a pipe can be read only once (")


@pytest.mark.parametrize("result", ["--json -o out", "--latex", ""])
def test_a_closed_pipe(workplace: Path, result: str) -> None:
    os.mkfifo("stdout")
    process = child_process.start("eval", "ner", "--data", "test.tsv", "-q", *result.split(), folder=workplace)
    os.close(os.open("stdout", os.O_RDONLY))
    process.join()
    assert process.exitcode == 141
    assert "error" not in Path("stderr").read_text().lower()
    assert Path("out/results.json").is_file() == ("-o" in result)


def test_an_interrupt_is_one_line(workplace: Path) -> None:
    Path("text.txt").write_text("the patients with heart failure\n\n" * 100_000)
    process = child_process.start(*PREPROCESS.split(), "-q", folder=workplace)
    partial = Path(".out.partial")
    while process.is_alive() and not (partial.exists() and any(partial.iterdir())):
        pass
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert Path("stderr").read_text() == "error: interrupted\n"
    assert not partial.exists()
    assert not Path("out").exists()


@pytest.fixture
def terminal(workplace: Path) -> Iterator[Callable[..., str]]:
    """Run a command whose stderr is a terminal; what it shows there."""
    ours, theirs = pty.openpty()
    Path("stderr").symlink_to(os.ttyname(theirs))

    def show(*arguments: str, **environment: str) -> str:
        shutil.rmtree("out", ignore_errors=True)
        clean = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm-256color", **environment}
        process = child_process.start(*arguments, folder=workplace, environment=clean)
        shown = b""
        while process.is_alive() or select.select([ours], [], [], 0)[0]:
            if select.select([ours], [], [], 0.01)[0]:
                shown += os.read(ours, 65536)
        return shown.decode()

    yield show
    os.close(ours)
    os.close(theirs)


def test_colour_is_for_terminals_that_want_it(terminal: Callable[..., str]) -> None:
    wrong = ["preprocess", "nowhere.txt", "--strategy", "token", "-o", "out"]
    colour = re.compile(ESCAPE + r"\[[0-9;]*m")
    for command in (PREPROCESS.split(), wrong):
        assert colour.search(terminal(*command))
        assert not colour.search(terminal(*command, NO_COLOR="1"))
    assert "error: nowhere.txt: no such file or folder" in terminal(*wrong, NO_COLOR="1")
