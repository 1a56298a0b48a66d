"""``mslm extract-terms`` from the command line: what it writes, what it prints, and how it fails."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from typer.testing import CliRunner, Result

from mslm_cli.cli.app import app
from mslm_cli.corpus.seen import Sketch

TEXT = """\
Familial adenomatous polyposis (FAP) is an inherited disease. Mutations of the APC gene cause FAP in most families.

Patients with familial adenomatous polyposis were given sulindac. In FAP, sulindac reduces rectal polyps.

The APC gene was sequenced in 12 patients. Rectal polyps were counted; sulindac was well tolerated.
"""


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """The command without a detector, unless ``arguments`` name one."""
    return CliRunner().invoke(app, ["extract-terms", "--pipeline", "none", *map(str, arguments)], input=stdin)


def terms_of(lexicon: Path) -> dict[str, dict[str, Any]]:
    lines = (lexicon / "terms.jsonl").read_text(encoding="utf-8").splitlines()
    return {term["term"]: term for term in map(json.loads, lines)}


def stats_of(lexicon: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lexicon / "stats.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def text(in_tmp: Path) -> Path:
    path = in_tmp / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def assert_fails(result: Result, code: int, *words: str) -> None:
    """The command ended with ``code``, one line on stderr, nothing on stdout, and nothing half-written."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    for word in words:
        assert word in line
    assert not Path("lexicon").exists()
    assert not list(Path().glob(".lexicon*"))


def test_it_prints_the_lexicons_path_and_finds_terms(text: Path) -> None:
    result = run(text, "-o", "lexicon", "--min-score", 0)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "lexicon\n"
    found = terms_of(Path("lexicon"))
    assert found["FAP"] == {
        "term": "FAP",
        "sources": ["abbreviation", "termhood"],
        "type": None,
        "count": 3,
        "doc_count": 2,
        "score": found["FAP"]["score"],
        "case_sensitive": True,
    }
    assert found["familial adenomatous polyposis"]["sources"] == ["abbreviation", "termhood"]
    assert found["familial adenomatous polyposis"]["count"] == 2
    assert found["sulindac"]["sources"] == ["termhood"]
    assert (found["sulindac"]["count"], found["sulindac"]["doc_count"]) == (3, 2)
    assert {"APC gene", "rectal polyps"} <= found.keys()
    assert {"patients", "Patients", "patients were", "12", "families"}.isdisjoint(found)
    scores = [term["score"] for term in found.values()]
    assert scores == sorted(scores, reverse=True)


def test_the_artifact_holds_numbers_and_a_sketch_of_the_sentences(text: Path) -> None:
    assert run(text, "-o", "lexicon").exit_code == 0
    stats = stats_of(Path("lexicon"))
    assert (stats["n_documents"], stats["n_sentences"]) == (3, 6)
    assert stats["n_terms"] == len(terms_of(Path("lexicon")))
    assert "log2(1 + words)" in stats["score"]
    seen = Sketch.load(Path("lexicon/seen/extract-terms.u64"))
    assert seen.count(["The APC gene was sequenced in 12 patients .", "A sentence that was not there at all."]) == 1
    manifest = json.loads(Path("lexicon/manifest.json").read_text())
    assert manifest["kind"] == "lexicon"
    assert [i["role"] for i in manifest["inputs"]] == ["text"]


def test_the_same_work_is_not_done_twice_and_other_work_is_refused(text: Path) -> None:
    assert run(text, "-o", "lexicon").exit_code == 0
    before = Path("lexicon/manifest.json").read_bytes()
    again = run(text, "-o", "lexicon")
    assert (again.exit_code, again.stdout) == (0, "lexicon\n")
    assert "up to date" in again.stderr
    assert run(text, "-o", "lexicon", "--min-count", 3).exit_code == 2
    assert Path("lexicon/manifest.json").read_bytes() == before
    assert run(text, "-o", "lexicon", "--min-count", 3, "--overwrite").exit_code == 0


@pytest.mark.parametrize("wrap", [str.encode, lambda text: gzip.compress(text.encode(), mtime=0)])
def test_standard_input_gives_the_same_terms(text: Path, wrap: Any) -> None:
    assert run(text, "-o", "lexicon").exit_code == 0
    result = run("-", "-o", "piped", stdin=wrap(TEXT))
    assert result.exit_code == 0, result.stderr
    assert terms_of(Path("piped")) == terms_of(Path("lexicon"))
    (source,) = json.loads(Path("piped/manifest.json").read_text())["inputs"]
    assert source["path"] == "<stdin>"


def test_tokenised_files_give_the_same_terms_and_their_tags_are_ignored(text: Path) -> None:
    conll = Path("text.tsv")
    detector = spacy.blank("en")
    words = [[token.text for token in detector(line)] for line in TEXT.replace("-", " - ").split("\n\n")]
    conll.write_text("\n\n".join("\n".join(f"{w}\tO" for w in sentence if w.strip()) for sentence in words) + "\n")
    assert run(text, "-o", "lexicon", "--min-score", 0).exit_code == 0
    assert run(conll, "-o", "tokenised", "--min-score", 0).exit_code == 0
    raw, tokenised = terms_of(Path("lexicon")), terms_of(Path("tokenised"))
    assert raw.keys() == tokenised.keys()
    assert {t: v["count"] for t, v in raw.items()} == {t: v["count"] for t, v in tokenised.items()}


def test_a_users_terms_are_kept_whatever_their_count(text: Path) -> None:
    Path("mine.txt").write_text("Sulindac\n\nx\nhypothyroidism\nsulindac\nAPC\nin most families\ntuber\x07culosis\n")
    result = run(text, "--terms", "mine.txt", "-o", "lexicon", "--max-terms", 1, "--min-count", 3, "--min-score", 99)
    assert result.exit_code == 0, result.stderr
    found = terms_of(Path("lexicon"))
    assert found.keys() == {"Sulindac", "hypothyroidism", "APC", "in most families", "tuber culosis"}
    assert found["Sulindac"]["count"] == 3
    assert found["APC"]["count"] == 2
    assert (found["in most families"]["count"], found["in most families"]["doc_count"]) == (1, 1)
    assert (found["hypothyroidism"]["count"], found["hypothyroidism"]["score"]) == (0, 0)
    assert "skipped 1 duplicate terms" in result.stderr
    assert "skipped 1 terms with fewer than two" in result.stderr
    assert "control characters in 1 terms" in result.stderr
    assert stats_of(Path("lexicon"))["user_list"] == {
        "n_terms": 5,
        "n_not_in_text": 2,
        "n_duplicates": 1,
        "n_too_short": 1,
        "n_too_long": 0,
        "n_cleaned": 1,
    }


def test_thresholds_and_limits_are_respected(text: Path) -> None:
    assert run(text, "-o", "all", "--min-count", 1, "--min-score", 0).exit_code == 0
    everything = terms_of(Path("all"))
    assert min(term["count"] for term in everything.values()) == 1
    assert max(len(term.split()) for term in everything) == 3
    assert run(text, "-o", "few", "--min-count", 1, "--min-score", 0, "--max-terms", 3).exit_code == 0
    assert list(terms_of(Path("few"))) == list(everything)[:3]
    assert run(text, "-o", "short", "--min-count", 1, "--min-score", 0, "--max-words", 1).exit_code == 0
    n_words = [len(term.split()) for term, v in terms_of(Path("short")).items() if v["sources"] == ["termhood"]]
    assert set(n_words) == {1}


def test_a_pipelines_mentions_become_terms_with_types(text: Path) -> None:
    nlp = spacy.blank("en")
    patterns = [{"label": "Drug", "pattern": "sulindac"}, {"label": "ENTITY", "pattern": "most families"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk("ruler")
    result = run(text, "--pipeline", "ruler", "-o", "lexicon", "--min-count", 1)
    assert result.exit_code == 0, result.stderr
    found = terms_of(Path("lexicon"))
    assert (found["sulindac"]["type"], found["sulindac"]["sources"]) == ("Drug", ["pipeline:ruler", "termhood"])
    assert (found["most families"]["type"], found["most families"]["sources"]) == (None, ["pipeline:ruler"])
    assert [i["role"] for i in json.loads(Path("lexicon/manifest.json").read_text())["inputs"]] == ["text", "pipeline"]
    assert stats_of(Path("lexicon"))["n_terms_by_type"] == {"Drug": 1}


def test_a_document_too_long_for_the_pipeline(in_tmp: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "Drug", "pattern": "sulindac"}])  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk("ruler")
    Path("long.txt").write_text("sulindac was good (and " * 60_000)
    result = run("long.txt", "--pipeline", "ruler", "-o", "lexicon")
    assert result.exit_code == 0, result.stderr
    assert terms_of(Path("lexicon"))["sulindac"]["count"] == 60_000


def test_a_list_of_terms_that_cannot_be_used(text: Path) -> None:
    Path("empty.txt").write_text("\n \n")
    assert_fails(run(text, "--terms", "empty.txt", "-o", "lexicon"), 3, "empty.txt: no terms in the list")
    Path("binary.txt").write_bytes(b"aspirin\nab\0cd\n")
    assert_fails(run(text, "--terms", "binary.txt", "-o", "lexicon"), 3, "binary.txt:2: a binary file")
    Path("latin.txt").write_bytes(b"aspirin\nna\xefve\n")
    assert_fails(run(text, "--terms", "latin.txt", "-o", "lexicon"), 3, "latin.txt:2: not valid UTF-8")
    assert_fails(run(text, "--terms", "none.txt", "-o", "lexicon"), 3, "none.txt")


def test_a_text_without_terms(in_tmp: Path) -> None:
    Path("text.txt").write_text("There was nothing in it. It was not there.")
    assert_fails(run("text.txt", "-o", "lexicon"), 3, "no terms found in 9 words", "--min-count", "--terms")


def test_a_text_that_cannot_be_read(in_tmp: Path) -> None:
    Path("empty.txt").touch()
    assert_fails(run("empty.txt", "-o", "lexicon"), 3, "empty.txt: the file is empty")
    Path("cut.gz").write_bytes(gzip.compress(TEXT.encode(), mtime=0)[:-20])
    assert_fails(run("cut.gz", "-o", "lexicon"), 3, "cut.gz", "truncated gzip")
    assert_fails(run("-", "-o", "lexicon", stdin=b"caf\xe9\n"), 3, "<stdin>:1: not valid UTF-8", "--encoding")


def test_a_missing_pipeline(text: Path) -> None:
    result = run(text, "--pipeline", "en_core_none", "-o", "lexicon")
    assert_fails(result, 5, "'en_core_none' is neither an installed pipeline nor a folder", "--pipeline none")
    Path("folder").mkdir()
    assert_fails(run(text, "--pipeline", "folder", "-o", "lexicon"), 5, "'folder'")
    assert_fails(run(text, "--pipeline", "", "-o", "lexicon"), 5, "--pipeline none")


def test_options_out_of_bounds(text: Path) -> None:
    assert_fails(run(text, "-o", "lexicon", "--min-count", 0), 2, "--min-count")
    assert_fails(run(text, "-o", "lexicon", "--max-words", 13), 2, "--max-words")


def test_standard_input_is_given_only_once(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe cannot be rewound; what identifies it and what is read are one copy."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation("seek")

    from mslm_cli.config import ExtractTermsConfig
    from mslm_cli.stages import extract_terms

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(TEXT.encode())))
    assert extract_terms.run([Path("-")], Path("lexicon"), ExtractTermsConfig()) == Path("lexicon")
    assert "sulindac" in terms_of(Path("lexicon"))


def test_a_text_of_which_every_document_is_left_out(in_tmp: Path) -> None:
    words = ["chronic", "kidney", "disease", "was", "treated", "with", "warfarin"]
    Path("test.tsv").write_text("".join(f"{word}\tO\n" for word in words) + "\n")
    Path("text.txt").write_text(" ".join(words) + "\n")
    refused = run("text.txt", "--without", "test.tsv", "-o", "lexicon")
    assert refused.exit_code == 3
    assert "every document is left out: 1 with a sentence of --without" in refused.stderr


def test_duplicates_and_documents_with_test_sentences_are_left_out(text: Path) -> None:
    Path("again.txt").write_text(TEXT.upper(), encoding="utf-8")
    words = ["The", "APC", "gene", "was", "sequenced", "in", "12", "patients", "."]
    Path("test.tsv").write_text("".join(f"{word}\t{'B-G' if word == 'APC' else 'O'}\n" for word in words) + "\n")
    result = run(
        text, "again.txt", "--deduplicate", "exact", "--without", "test.tsv", "--min-score", 0, "-o", "lexicon"
    )
    assert result.exit_code == 0, result.stderr
    assert "3 documents left out: the same as an earlier one, or nearly" in result.stderr
    assert "1 document left out: with a sentence of --without" in result.stderr
    stats = stats_of(Path("lexicon"))
    assert stats["left_out"] == {"duplicates": 3, "with_test_sentences": 1}
    assert stats["n_documents"] == 2
    Path("test.tsv").write_text("Nothing\tO\nof\tO\nit\tO\nis\tO\nhere\tO\n\n")
    other = run(text, "again.txt", "--deduplicate", "exact", "--without", "test.tsv", "--min-score", 0, "-o", "lexicon")
    assert other.exit_code == 2
    assert "made from other inputs (without)" in other.stderr
