"""Every command explains itself, at once: help loads none of the heavy libraries."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

from mslm_cli.cli import _command
from mslm_cli.cli.app import app

COMMANDS = [command.name or "" for command in app.registered_commands]
HEAVY = ("torch", "transformers", "spacy", "scispacy", "pyarrow", "tokenizers", "numpy", "optuna", "scipy")
ALL_HELP = f"""
import json, sys
from mslm_cli.cli.app import app

for arguments in (["--help"], ["--version"], *([command, "--help"] for command in {COMMANDS!r})):
    try:
        app(arguments)
    except SystemExit as end:
        assert not end.code, arguments
print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))), file=sys.stderr)
"""


def test_help_loads_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", ALL_HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == []
    assert all(f"Usage: -c {command} " in done.stdout for command in COMMANDS), done.stdout


def test_each_command_is_registered_by_its_own_module() -> None:
    assert list(_command.COMMANDS) == COMMANDS
    for name, module in _command.COMMANDS.items():
        registered = [c.callback.__module__ for c in app.registered_commands if c.callback and c.name == name]
        assert registered == [f"mslm_cli.cli.{module}"]


def test_the_commands_are_those_of_the_chain() -> None:
    chain = ["extract-terms", "preprocess", "adapt", "finetune", "eval"]
    assert [command for command in COMMANDS if command in chain] == chain
    assert {"demo", "models"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples_that_parse(mslm: Callable[..., Result], command: str) -> None:
    for flag in ("--help", "-h"):
        shown = mslm(command, flag)
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert f"Usage: mslm {command} " in shown.stdout
    examples = [line for line in shown.stdout.splitlines() if line.strip().startswith(f"mslm {command} ")]
    assert examples
    options = {word for line in shown.stdout.splitlines() for word in line.split() if word.startswith("--")}
    for example in examples:
        used = {word for word in example.split() if word.startswith("--")}
        assert used <= {option.rstrip(",") for option in options}


def test_no_arguments_show_the_help_on_stderr(mslm: Callable[..., Result]) -> None:
    shown = mslm()
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == mslm("--help").stdout


def test_the_version(mslm: Callable[..., Result]) -> None:
    import mslm_cli

    assert mslm("--version").stdout == f"mslm {mslm_cli.__version__}\n"
