"""What users see, compared to files; ``UPDATE_GOLDEN=1 pytest tests/golden`` writes them anew."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mslm_cli import console
from mslm_cli.cli.app import app
from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.evaluation.exact_match import exact_match
from mslm_cli.stages import evaluate

FOLDER = Path(__file__).parent
COMMANDS = ["", "extract-terms", "match", "preprocess", "show-masks", "adapt", "finetune", "eval", "demo", "models"]


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


def test_the_table_of_eval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.configure()
    gold = [[(0, 2, "Disease"), (3, 4, "Drug")], [(1, 2, "Disease")], []]
    predicted = [[(0, 2, "Disease"), (3, 4, "Disease")], [(1, 3, "Disease")], [(0, 1, "Drug")]]
    sentences = tuple(
        LabelledSentence(str(i), None, ("word",) * 5, tuple(mentions)) for i, mentions in enumerate(gold, 1)
    )
    corpus = LabelledCorpus(sentences, ("Disease", "Drug"), "IOB2", 2, 0)
    evaluate.report(exact_match(gold, predicted), corpus, {"finetune-train": 1}, Path("test.tsv"))
    compare("eval-table.txt", capsys.readouterr().err)
