"""docs/metrics.md: what its commands print is what it says, and its sums by hand are ours.

``UPDATE_GOLDEN=1`` writes the output anew.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from mslm_cli.evaluation.label_efficiency import Cell, LabelEfficiency, Labelled

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
Mslm = Callable[..., Result]


@pytest.fixture
def page(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of the page, with its files in the working folder."""
    monkeypatch.setenv("COLUMNS", "80")
    text = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"```text (\S+)\n(.*?)```", text, re.DOTALL):
        Path(name).write_text(content)
    return text


def test_the_output_of_commands_matches_the_page(page: str, mslm: Mslm) -> None:
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        command = block.splitlines()[0].removeprefix("$ mslm ")
        done = mslm(*command.split())
        assert done.exit_code == 0, done.stderr
        shown = "\n".join(line.rstrip() for line in f"$ mslm {command}\n{done.stdout}".splitlines()) + "\n"
        if os.environ.get("UPDATE_GOLDEN"):
            PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(block, shown), encoding="utf-8")
        else:
            assert shown == block


def test_the_hand_computed_scores(page: str, mslm: Mslm) -> None:
    found = json.loads(mslm("eval", "--predictions", "example.tsv", "--json").stdout)
    match = found["exact_match"]
    assert (match["correct"], match["predicted"], match["gold"]) == (2, 5, 5)
    assert match["f1"] == pytest.approx(0.4)
    assert [of["f1"] for of in match["per_type"].values()] == pytest.approx([1 / 3, 1 / 2])
    assert (match["macro"]["f1"], match["weighted"]["f1"]) == pytest.approx((5 / 12, 0.4))
    assert found["seqeval"]["default"]["f1"] == pytest.approx(6 / 11)
    partial = {name: (of["correct"], of["partial"]) for name, of in found["partial_match"].items()}
    assert partial == {"exact": (2, 0), "boundary": (3, 0), "partial": (3, 1), "type": (3, 0)}
    assert found["partial_match"]["partial"]["f1"] == pytest.approx(3.5 / 5)
    bias = found["length_bias"]
    assert (bias["predicted_mean_words"], bias["gold_mean_words"]) == pytest.approx((1.4, 1.8))
    assert (bias["shorter"], bias["longer"]) == (1, 0)
    scored = json.loads(mslm("eval", "--predictions", "scored.jsonl", "--json").stdout)["confidence"]
    points = [(p["threshold"], p["precision"], p["recall"]) for p in scored["curve"]]
    assert points == [pytest.approx(p) for p in ((0.9, 1, 1 / 3), (0.8, 1 / 2, 1 / 3), (0.6, 2 / 3, 2 / 3))]
    assert scored["average_precision"] == pytest.approx(1 / 3 + 2 / 9)
    assert scored["ece"] == pytest.approx(1.3 / 3)


def test_the_worked_example_of_labelled_sentences(page: str) -> None:
    rows = {
        name: cells.split(" | ") for name, cells in re.findall(r"^\| ([\w ]+) \| ([\d. |]+) \|$", page, re.MULTILINE)
    }
    numbers = [float(n) for n in rows["labelled sentences"]]
    cells = [
        Cell(arm, n, (1,), np.array([[[100.0, 100.0, float(f1)]] * 9]))
        for arm in ("vanilla", "an arm")
        for n, f1 in zip(numbers, rows[f"F1 of {arm}"], strict=True)
    ]
    found = LabelEfficiency(cells, {n: Labelled(n, 0) for n in numbers}, "vanilla", n_replicates=10)
    saved = [found.sentences_saved("an arm", n) for n in (100, 1600)]
    assert [(round(of["value"]), of["is_fitted"]) for of in saved if of] == [(100, False), (900, True)]
    law = found.forecast["law"]
    assert (law["a"], law["b"], law["c"]) == pytest.approx((0.8, 2, 0.5), abs=1e-4)
    assert found.forecast["gain"]["value"] == pytest.approx(0.0029, abs=5e-5)
    assert found.forecast["error"] == pytest.approx(0, abs=1e-6)
