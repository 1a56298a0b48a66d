"""``mslm extract-terms`` with the packaged detector, which is its default."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mslm_cli import fsio
from mslm_cli.terms import pipeline

Mslm = Callable[..., Result]

TEXT = """\
Warfarin was stopped in a patient with atrial fibrillation. Warfarin had caused gastrointestinal bleeding.

In mice, warfarin delayed atrial fibrillation.
"""


def terms(lexicon: str) -> dict[str, Any]:
    return {t["term"]: t for t in map(json.loads, Path(lexicon, "terms.jsonl").read_text("utf-8").splitlines())}


def manifest(lexicon: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(lexicon, "manifest.json").read_text("utf-8"))
    return found


@pytest.fixture
def text(in_tmp: Path) -> Path:
    (in_tmp / "text.txt").write_text(TEXT, encoding="utf-8")
    return in_tmp / "text.txt"


def test_terms_have_types(text: Path, mslm: Mslm) -> None:
    result = mslm("extract-terms", text, "-o", "lexicon", "--min-score", 99)
    assert result.exit_code == 0, result.stderr
    found = {name: (term["type"], term["count"], term["sources"]) for name, term in terms("lexicon").items()}
    assert found["Warfarin"] == ("Chemical", 3, ["pipeline:biomedical"])
    assert found["atrial fibrillation"] == ("Disease", 2, ["pipeline:biomedical"])


def test_the_name_and_the_content_of_the_detector_identify_the_lexicon(
    text: Path, mslm: Mslm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mslm("extract-terms", text, "-o", "lexicon").exit_code == 0
    assert manifest("lexicon")["config"]["pipeline"] == "biomedical"
    (detector,) = (i for i in manifest("lexicon")["inputs"] if i["role"] == "pipeline")
    assert detector["path"] == "biomedical"
    assert "up to date" in mslm("extract-terms", text, "-o", "lexicon", "--pipeline", "biomedical").stderr
    shutil.copytree(fsio.resource("detector"), tmp_path / "resources" / "detector")
    (tmp_path / "resources" / "detector" / "README.md").write_text("another one")
    resource = fsio.resource
    monkeypatch.setattr(
        fsio, "resource", lambda name: tmp_path / "resources" / name if name == "detector" else resource(name)
    )
    refused = mslm("extract-terms", text, "-o", "lexicon")
    assert refused.exit_code == 2
    assert mslm("extract-terms", text, "-o", "lexicon", "--overwrite").exit_code == 0
    assert detector not in manifest("lexicon")["inputs"]


def test_without_a_detector_terms_have_no_types(text: Path, mslm: Mslm) -> None:
    assert mslm("extract-terms", text, "-o", "lexicon", "--pipeline", "none", "--min-score", 0).exit_code == 0
    assert {term["type"] for term in terms("lexicon").values()} == {None}
    assert [i["role"] for i in manifest("lexicon")["inputs"]] == ["text"]


@pytest.mark.slow
def test_a_document_of_ten_million_characters(in_tmp: Path, mslm: Mslm) -> None:
    word = "ACGT" * 1_000
    Path("long.txt").write_text("warfarin " + f"{word} " * 2_500 + "warfarin")
    assert Path("long.txt").stat().st_size > 10_000_000
    result = mslm("extract-terms", "long.txt", "-o", "lexicon")
    assert result.exit_code == 0, result.stderr
    assert terms("lexicon")["warfarin"]["count"] == 2


def test_a_detector_that_cannot_be_loaded(text: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "version", lambda name: "4.1.0")
    result = mslm("extract-terms", text, "-o", "lexicon")
    assert (result.exit_code, result.stdout) == (5, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "the packaged detector cannot be loaded" in line
    assert "--pipeline none" in line
    assert not Path("lexicon").exists()
