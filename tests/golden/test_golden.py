"""What users see, compared to files; ``UPDATE_GOLDEN=1 pytest tests/golden`` writes them anew."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mslm_cli.cli.app import app

FOLDER = Path(__file__).parent
COMMANDS = [
    "",
    "extract-terms",
    "match",
    "preprocess",
    "show-masks",
    "adapt",
    "finetune",
    "predict",
    "eval",
    "compare",
    "inspect",
    "convert",
    "study",
    "sweep",
    "demo",
    "models",
]


def compare(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} changed; look at it, then UPDATE_GOLDEN=1"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    result = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="mslm")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    compare(f"help{'-' if command else ''}{command}.txt", result.stdout)


def test_the_tables_of_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["eval", "--predictions", str(FOLDER.parent / "data" / "scores" / "predictions.jsonl")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    compare("eval-tables.txt", shown.stdout)
    compare("eval-conlleval.txt", CliRunner().invoke(app, [*arguments, "--conlleval"]).stdout)
