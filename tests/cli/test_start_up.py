"""What commands import, and what they do without."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mslm_cli.text.spacy_rules import english_rules

HEAVY = ("torch", "transformers", "spacy", "scipy", "sklearn", "sympy", "accelerate", "pandas", "optuna", "matplotlib")
_BLOCKED = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1].split(',')))"
_RUN = "del sys.argv[1]; from mslm_cli.__main__ import main; main()"
_REPORT = """
import atexit, sys
atexit.register(lambda: print("loaded", *[n for n in sys.argv_heavy.split(",") if sys.modules.get(n)], file=sys.stderr))
sys.argv_heavy = sys.argv[1]
"""

TEXT = "Chronic kidney disease (CKD) is common. It was treated with aspirin, e.g. in mice.\n\nA second text of CKD.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    english_rules()  # spaCy is imported once on a machine
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "terms.csv").write_text("term\nchronic kidney disease\naspirin\n", encoding="utf-8")
    (tmp_path / "predictions.tsv").write_text("CKD\tB-X\tB-X\nis\tO\tO\n\n", encoding="utf-8")
    return tmp_path


def python(program: str, modules: Sequence[str], arguments: Sequence[object], folder: Path) -> str:
    """Run a command in a process of its own; what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", program, ",".join(modules), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def loaded(arguments: Sequence[object], folder: Path) -> list[str]:
    """Which of ``HEAVY`` a command imports."""
    said = python(_REPORT + _RUN, HEAVY, arguments, folder)
    return said.splitlines()[-1].split()[1:]


def without(modules: Sequence[str], arguments: Sequence[object], folder: Path) -> None:
    """Run a command where ``modules`` cannot be imported."""
    python(f"{_BLOCKED}; {_RUN}", modules, arguments, folder)


LEXICON = ["extract-terms", "text.txt", "--pipeline", "none", "--terms", "terms.csv", "-o", "lexicon"]


def test_preparing_text_loads_no_heavy_library(folder: Path, tiny_encoder: Path) -> None:
    preprocess = ["preprocess", "text.txt", "--lexicon", "lexicon", "--model", tiny_encoder, "--max-length", "32"]
    assert loaded(LEXICON, folder) == []
    assert loaded([*preprocess, "-o", "shards"], folder) == []
    assert loaded(["match", "text.txt", "--lexicon", "lexicon"], folder) == []
    assert loaded(["show-masks", "shards"], folder) == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["eval", "--predictions", "predictions.tsv", "--json"]], ids=str
)
def test_other_commands_load_what_they_use(arguments: list[str], folder: Path) -> None:
    assert loaded(arguments, folder) == []


def test_text_is_prepared_without_spacy(folder: Path, tiny_encoder: Path) -> None:
    preprocess = ["preprocess", "text.txt", "--lexicon", "lexicon", "--model", tiny_encoder, "--max-length", "32"]
    blocked = ["spacy", "scispacy", "torch", "transformers"]
    without(blocked, LEXICON, folder)
    without(blocked, [*preprocess, "-o", "shards"], folder)
    assert json.loads((folder / "shards" / "stats.json").read_bytes())["n_sentences"] == 3


def test_models_label_text_without_spacy_and_transformers(folder: Path, tiny_encoder: Path) -> None:
    (folder / "train.tsv").write_text("CKD\tB-X\nis\tO\ncommon\tO\n.\tO\n\naspirin\tB-X\nhelps\tO\n.\tO\n\n" * 8)
    labels = ["--train", "train.tsv", "--dev", "train.tsv", "--epochs", "1", "--max-length", "32"]
    without(["spacy", "scispacy"], ["finetune", "--model", tiny_encoder, *labels, "-o", "ner"], folder)
    assert loaded(["predict", "ner", "text.txt", "-o", "found.jsonl"], folder) == ["torch"]
    assert loaded(["eval", "ner", "--data", "train.tsv", "--json"], folder) == ["torch"]
    without(
        ["spacy", "scispacy", "transformers"],
        ["label", "text.txt", "--model", "ner", "--min-confidence", "0", "-o", "silver"],
        folder,
    )
    stats = json.loads((folder / "silver" / "stats.json").read_bytes())
    assert stats["n_drawn"] == 3
