"""report.html: what it says, that it runs in a browser on a small screen, and that it asks for nothing."""

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import pytest
from typer.testing import Result

Mslm = Callable[..., Result]

SCORES = Path(__file__).resolve().parents[1] / "data" / "scores"
EVIL = '<script>alert("1")</script>'


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


class _Text(HTMLParser):
    """The elements and the text of a page, styles and scripts left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.said).split())


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Path:
    """The scores of predictions with markup, long words, and formulas where they can stand."""
    folder = tmp_path_factory.mktemp("evil")
    wide, formula = "x" * 300, "a$b$_{c"
    rows = [
        {"id": f"{EVIL}{i}", "doc": f"d{i % 5}", "words": [EVIL, wide, "&amp;", "kidney"], "scores": [0.4, 0.9],
         "gold": [[0, 2, EVIL], [3, 4, formula]], "pred": [[0, 1, EVIL], [3, 4, wide if i % 2 else formula]]}
        for i in range(40)
    ]  # fmt: skip
    (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = mslm("eval", "--predictions", folder / "predictions.jsonl", "-o", folder / "scores", "--replicates", "50")
    assert made.exit_code == 0, made.stderr
    assert "Glyph" not in made.stderr
    return folder / "scores"


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Path:
    folder = tmp_path_factory.mktemp("scores") / "scores"
    made = mslm("eval", "--predictions", SCORES / "predictions.jsonl", "-o", folder, "--replicates", "50")
    assert made.exit_code == 0, made.stderr
    return folder


def test_the_page_shows_the_results(scores: Path) -> None:
    results = json.loads((scores / "results.json").read_text())
    page = _Text((scores / "report.html").read_text())
    match = results["exact_match"]
    low, high = match["intervals"]["f1"]
    assert f"F1{100 * match['f1']:.1f}{100 * low:.1f} to {100 * high:.1f}" in page.text.replace(" F1 ", " F1")
    for kind, of in match["per_type"].items():
        assert f"{kind}{100 * of['precision']:.1f}{100 * of['recall']:.1f}{100 * of['f1']:.1f}" in page.text
    with_errors = [line for line in lines(scores) if "errors" in line]
    assert page.tags.count("article") == len(with_errors) > 5
    for line in with_errors:
        assert " ".join(line["words"]) in page.text
    assert page.tags.count("figure") == len(list((scores / "charts").glob("*.svg"))) == 4
    manifest = json.loads((scores / "manifest.json").read_text())
    assert manifest["fingerprint"] in page.text
    assert {f["path"] for f in manifest["files"]} >= {"report.html", "charts/calibration.png", "charts/calibration.svg"}


def test_the_same_results_are_the_same_bytes(scores: Path, tmp_path: Path, mslm: Mslm) -> None:
    again = tmp_path / "again"
    mslm("eval", "--predictions", SCORES / "predictions.jsonl", "-o", again, "--replicates", "50")
    made = [p.relative_to(scores) for p in scores.rglob("*") if p.is_file() and p.name != "manifest.json"]
    assert [p for p in made if (scores / p).read_bytes() != (again / p).read_bytes()] == []


def test_all_text_is_escaped(evil: Path) -> None:
    page = (evil / "report.html").read_text()
    assert EVIL not in page
    parsed = _Text(page)
    assert parsed.tags.count("script") == 1
    assert f"sentence {EVIL}0" in parsed.text


def test_without_text_the_page_has_none(tmp_path: Path, mslm: Mslm) -> None:
    made = mslm("eval", "--predictions", SCORES / "predictions.jsonl", "-o", tmp_path / "scores", "--no-text")
    assert made.exit_code == 0, made.stderr
    words = {w for line in lines(SCORES) for w in line["words"] if len(w) > 8 and w.isalpha()}
    said = [made.stderr, *(p.read_text() for p in (tmp_path / "scores").rglob("*.*") if p.suffix != ".png")]
    found = {word for word in words for text in said if re.search(rf"\b{word}\b", text)}
    assert found <= {"predicted", "different"}
    assert len(words) > 50
    assert {key for line in lines(tmp_path / "scores") for key in line} == {
        "id", "doc", "n_words", "hash", "gold", "pred", "scores", "errors"
    }  # fmt: skip
    assert "gold [6, 7) Drug" in _Text((tmp_path / "scores" / "report.html").read_text()).text


def test_a_model_brings_its_learning_curves_and_its_options(workplace: Path, mslm: Mslm) -> None:
    made = mslm("eval", "ner", "--data", "test.tsv", "-o", "scores", "--replicates", "50")
    assert made.exit_code == 0, made.stderr
    names = {p.stem for p in Path("scores/charts").glob("*.png")}
    assert names >= {"learning-ner", "learning-encoder", "slices", "types"}
    page = _Text(Path("scores/report.html").read_text()).text
    assert "label-pieces first" in page
    assert "test.tsv" in page


def test_leaks_are_above_the_headline(workplace: Path, mslm: Mslm) -> None:
    assert mslm("eval", "ner", "--data", "train.tsv", "-o", "scores", "--replicates", "50").exit_code == 0
    page = _Text(Path("scores/report.html").read_text()).text
    assert page.index("test sentences were seen upstream") < page.index("Precision")
    assert "likely inflated" in page


needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.opened(tmp_path_factory.mktemp("profile")) as page:
        yield page


@needs_chromium
@pytest.mark.parametrize("name", ["scores", "evil"])
def test_it_fits_a_phone_and_loads_nothing(name: str, window: browser.Page, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(name) / "report.html"
    window.complaints.clear()
    window.requests.clear()
    ground = set()
    for dark in (False, True):
        for width, media in ((375, ""), (1280, ""), (700, "print")):
            window.open(file, width=width, dark=dark, media=media)
            assert window.run("document.documentElement.scrollWidth") <= width
            if not media:
                ground.add(window.run("getComputedStyle(document.body).backgroundColor"))
    assert len(ground) == 2
    assert window.complaints == []
    assert set(window.requests) == {file.resolve().as_uri()}


@needs_chromium
def test_errors_are_filtered_by_kind_and_text(scores: Path, window: browser.Page) -> None:
    shown = "[...document.querySelectorAll('.sentence')].filter(x => !x.hidden)"
    window.open(scores / "report.html", width=375)
    n_all = window.run(f"{shown}.length")
    assert n_all == min(25, sum("errors" in line for line in lines(scores)))
    window.run("document.querySelector('[data-kind=missed]').click()")
    expected = sum(any(e["kind"] == "missed" for e in line.get("errors", [])) for line in lines(scores))
    assert window.run(f"{shown}.length") == expected
    assert 0 < expected < n_all
    assert window.run(f"{shown}.every(x => x.querySelector('.faults').textContent.includes('missed'))")
    window.run("document.querySelector('[data-kind=\"\"]').click()")
    window.run("const s = document.querySelector('input'); s.value = 'Sacubitril'; s.dispatchEvent(new Event('input'))")
    assert window.run(f"{shown}.map(x => x.textContent.toLowerCase().includes('sacubitril'))") == [True]
    assert window.run("document.getElementById('count').textContent") == "1 sentence"
    assert window.complaints == []


def test_the_page_and_the_terminal_name_rows_alike(workplace: Path, mslm: Mslm) -> None:
    done = mslm("eval", "ner", "--data", "test.tsv", "--train", "train.tsv", "--threads", "1", "-o", "scored")
    assert done.exit_code == 0, done.stderr
    page = Path("scored/report.html").read_text()
    for name in ("all (micro)", "seqeval strict", "seqeval default", "partial match (SemEval-2013)"):
        assert name in page
        assert name in done.stderr
    assert ("macro average" in page) == ("macro average" in done.stderr)
