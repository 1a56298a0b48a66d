"""The dial between precision and recall: measured on dev by `finetune`, used by `predict` and `eval`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Mslm = Callable[..., Result]


def scores(mslm: Mslm, threshold: str, data: str = "dev.tsv") -> dict[str, Any]:
    done = mslm("eval", "ner", "--data", data, "--threshold", threshold, "--json", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["exact_match"]
    return found


def test_the_curve_on_dev_is_what_eval_finds(workplace: Path, mslm: Mslm) -> None:
    curve = [json.loads(line) for line in Path("ner/thresholds.jsonl").read_text().splitlines()]
    assert len({(point["precision"], point["recall"]) for point in curve}) > 2
    for point in curve[::14]:
        found = scores(mslm, str(point["threshold"]))
        for name in ("precision", "recall", "f1"):
            assert found[name] == pytest.approx(point[name], abs=1e-6)


def test_a_recall_on_dev_is_reached(workplace: Path, mslm: Mslm) -> None:
    plain = scores(mslm, "0.5")
    curve = [json.loads(line) for line in Path("ner/thresholds.jsonl").read_text().splitlines()]
    wanted = sorted({point["recall"] for point in curve})[-2]
    assert scores(mslm, f"recall:{wanted:.4f}")["recall"] >= wanted - 1e-4
    assert scores(mslm, "f1")["f1"] >= plain["f1"]


def test_predict_takes_it(workplace: Path, mslm: Mslm) -> None:
    counts = []
    for threshold in ("0.01", "0.5", "0.99"):
        done = mslm("predict", "ner", "text.txt", "--threshold", threshold, "--threads", "1")
        assert done.exit_code == 0, done.stderr
        counts.append(len(done.stdout.splitlines()))
    assert counts[0] > counts[-1]


@pytest.mark.parametrize("wrong", ["0", "1", "1.5", "recall", "recall:2", "accuracy:0.5", ""])
def test_what_is_no_threshold(workplace: Path, mslm: Mslm, wrong: str) -> None:
    done = mslm("eval", "ner", "--data", "dev.tsv", "--threshold", wrong)
    assert done.exit_code == 2
    assert "--threshold" in done.stderr


def test_the_page_shows_the_curve(workplace: Path, mslm: Mslm) -> None:
    assert mslm("eval", "ner", "--data", "dev.tsv", "--threads", "1", "-o", "scored").exit_code == 0
    assert Path("scored/charts/thresholds.svg").is_file()
