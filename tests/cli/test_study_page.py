"""The page of a study: who reads only its first screen knows what to do."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest

from mslm_cli.reporting.study import write_study

SENTENCE = "mslm gains 1.2 points (95 % interval 0.4 to 2.0) over vanilla; the data do not separate it from span."
DATA = ("NCBI-disease", "BC5CDR-disease")


def estimate(value: float, p: float = 0.5) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "p": p, "corrected_p": p}


def arm(name: str, kind: str, over: float | None, options: dict[str, Any] | None = None) -> dict[str, Any]:
    difference = None if over is None else estimate(over, 0.001)
    on = {
        "seeds": [1, 2, 3],
        "f1": estimate(0.8),
        "f1_of_seeds": [0.79, 0.8, 0.81],
        "precision": 0.8,
        "recall": 0.8,
        "dev_score": 0.81,
        "over_vanilla": difference,
        "slices": {g: {"n_gold": 100.0, "f1": 0.7, "over_vanilla": difference} for g in ("words: 1", "in train: seen")},
        "outcomes": {n: {"n_gold": 9, "exact": 0.8, "wrong boundary": 0.1, "missed": 0.1} for n in ("1", "2", "3+")},
        "cost": {"adapt_minutes": 9.0, "adapt_tokens": 1e6, "finetune_minutes": 5.0, "finetune_tokens": 9e5},
        "probe": {"mention": {"loss": 4.0, "top1": 0.2}} if kind == "mslm" else None,
    }
    return {
        "name": name,
        "kind": kind,
        "options": options or {},
        "dev_score": 0.81 + (over or 0),
        "f1": estimate(0.8 + (over or 0)),
        "over_vanilla": difference,
        "chosen_over_it": estimate(0.004) if name == "span" else None,
        "data": dict.fromkeys(DATA, on),
    }


@pytest.fixture
def verdict() -> dict[str, Any]:
    rates = [(0.25, 0.1), (0.5, 0.1), (0.25, 0.2), (0.5, 0.2)]
    grid = [
        arm(f"mslm elm {elm} blm {blm}", "mslm", 0.01 * elm, {"elm_rate": elm, "blm_rate": blm}) for elm, blm in rates
    ]
    return {
        "outcome": "gain",
        "primary_metric": "strict F1",
        "sentence": SENTENCE,
        "advice": "Use the model of mslm.",
        "use": "mslm",
        "chosen_on_dev": "mslm",
        "vanilla": "vanilla",
        "resampled": {DATA[0]: "documents", DATA[1]: "sentences"},
        "correction": "Holm, over 6 arms",
        "seen_upstream": {DATA[0]: {"preprocess": 1}, DATA[1]: {"preprocess": 0}},
        "n_sentences": dict.fromkeys(DATA, 900),
        "arms": [arm("vanilla", "vanilla", None), arm("span", "span", 0.008), arm("mslm", "mslm", 0.012), *grid],
        "caveats": ["All seeds of an arm share one adaptation."],
        "failed": {},
        "best": {"arm": "mslm", "models": {d: {"path": f"best/{d}", "seed": 1} for d in DATA}},
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    if browser.CHROMIUM is None:
        pytest.skip("no Chromium here to look at the page with")
    with browser.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_first_screen_has_the_verdict_the_advice_and_the_model(
    verdict: dict[str, Any], page: browser.Page, tmp_path: Path
) -> None:
    write_study(tmp_path, verdict)
    for width, height, dark in ((1280, 800, False), (375, 812, True)):
        page.open(tmp_path / "index.html", width=width, height=height, dark=dark)
        bottom = page.run("document.querySelector('.answer').getBoundingClientRect().bottom")
        assert bottom < height
        assert page.run("document.querySelector('h1').textContent") == SENTENCE
        said = page.run("document.querySelector('.answer').textContent")
        assert "Use the model of mslm." in said
        assert all(f"best/{data}" in said for data in DATA)
        assert page.run("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    assert all(request.startswith(("file:", "data:")) for request in page.requests)


def test_every_arm_and_chart_is_shown(verdict: dict[str, Any], tmp_path: Path) -> None:
    write_study(tmp_path, verdict)
    text = (tmp_path / "index.html").read_text()
    assert not re.search(r"""(src|href)=["']?http""", text)
    for one in verdict["arms"]:
        assert f'<th scope="row">{one["name"]}</th>' in text
    drawn = {path.name for path in (tmp_path / "charts").iterdir()}
    names = ("over-vanilla", "data-sets", "rates", "slices-0", "slices-1")
    assert drawn == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    assert "alert" not in text
    assert "All seeds of an arm share one adaptation." in text


def test_leaks_and_failures_are_at_the_top(verdict: dict[str, Any], tmp_path: Path) -> None:
    verdict["seen_upstream"][DATA[0]]["preprocess"] = 30
    verdict["failed"] = {"toy · greedy · seed 1": "a budget of 0.01"}
    write_study(tmp_path, verdict)
    text = (tmp_path / "index.html").read_text()
    assert f"30 of 900 test sentences of {DATA[0]} were seen by preprocess." in text
    assert "1 trials failed" in text
    assert "a budget of 0.01" in text


def test_names_cannot_break_the_page(verdict: dict[str, Any], tmp_path: Path) -> None:
    verdict["arms"][1]["name"] = "<script>alert(1)</script>"
    write_study(tmp_path, verdict)
    assert "<script>" not in (tmp_path / "index.html").read_text()


def test_an_old_page_is_replaced(verdict: dict[str, Any], tmp_path: Path) -> None:
    write_study(tmp_path, verdict)
    before = (tmp_path / "index.html").read_bytes()
    shutil.rmtree(tmp_path / "charts")
    write_study(tmp_path, json.loads(json.dumps(verdict)))
    assert (tmp_path / "index.html").read_bytes() == before
