"""Documents and lines that are too long for what reads them are split or left out, in bounded memory."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import spacy
from typer.testing import Result

from mslm_cli.corpus import source
from mslm_cli.corpus.documents import MAX_DOCUMENT_CHARS
from mslm_cli.corpus.lines import read_lines
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents
from mslm_cli.terms.termlists import read_term_list

Mslm = Callable[..., Result]


@pytest.fixture
def ruler(in_tmp: Path) -> Path:
    nlp = spacy.blank("en")
    nlp.max_length = 150_000  # as with a large pipeline, whose bound is reached sooner
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "Drug", "pattern": "sulindac"}])  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk(in_tmp / "ruler")
    return in_tmp / "ruler"


@pytest.mark.parametrize("gap", ["of ", "\n", ". "])
def test_a_document_of_ten_million_characters(in_tmp: Path, gap: str) -> None:
    """One line, one paragraph of many lines, one line of many sentences."""
    Path("long.txt").write_text(("sulindac " + gap) * (10_000_000 // (9 + len(gap))))
    n_sulindac = n_chars = 0
    for document in read_documents([Path("long.txt")], DataOptions()):
        assert len(document.text) <= MAX_DOCUMENT_CHARS
        n_sulindac += document.text.count("sulindac")
        n_chars += len(document.text)
    assert n_sulindac == 10_000_000 // (9 + len(gap))
    assert n_chars > 9_900_000


def test_a_long_document_goes_through_every_source(ruler: Path, mslm: Mslm) -> None:
    n = 50_000
    Path("long.txt").write_text("sulindac of the " * n)
    Path("mine.txt").write_text("sulindac\n")
    made = mslm("extract-terms", "long.txt", "--pipeline", "ruler", "--terms", "mine.txt", "-o", "lexicon")
    assert made.exit_code == 0, made.stderr
    (term,) = [json.loads(line) for line in Path("lexicon/terms.jsonl").read_text().splitlines()]
    assert (term["term"], term["type"], term["count"]) == ("sulindac", "Drug", n)
    assert term["sources"] == ["pipeline:ruler", "termhood", "user"]
    matched = mslm("match", "long.txt", "--lexicon", "lexicon")
    assert matched.exit_code == 0
    assert len(matched.stdout.splitlines()) == n


def test_one_word_of_a_million_characters(in_tmp: Path, mslm: Mslm) -> None:
    Path("long.txt").write_text("sulindac " + "x" * 1_000_000 + " sulindac of sulindac")
    made = mslm("extract-terms", "long.txt", "-o", "lexicon")
    assert made.exit_code == 0, made.stderr
    assert '"sulindac"' in Path("lexicon/terms.jsonl").read_text()


def test_a_line_of_a_hundred_megabytes_in_a_term_list(in_tmp: Path) -> None:
    with Path("mine.txt").open("w") as file:
        file.write("aspirin\n")
        for _ in range(100):
            file.write("x" * 1_000_000)
        file.write("\nheart failure\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_term_list(read_lines(Path("mine.txt")), "mine.txt")
    assert [term.term for term in found.terms] == ["aspirin", "heart failure"]
    assert found.n_too_long == 1
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 500_000


def test_files_are_read_one_by_one(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many files only what is asked for is read."""
    for number in range(50):
        Path(f"{number:02}.txt").write_text(f"Heart failure {number}.\n")
    opened: list[str] = []
    read = source.read_blocks

    def noted(file: Path, *arguments: object) -> Iterator[bytes]:
        opened.append(file.name)
        return read(file, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(source, "read_blocks", noted)
    documents = read_documents(sorted(Path().glob("*.txt")), DataOptions())
    for _ in range(3):
        next(documents)
    assert opened == ["00.txt", "01.txt", "02.txt"]
