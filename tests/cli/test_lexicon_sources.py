"""What ``mslm extract-terms`` can be given besides text, and how its terms are chosen."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from typer.testing import Result

from mslm_cli.corpus.seen import Sketch

Mslm = Callable[..., Result]
Extract = Callable[..., dict[str, dict[str, Any]]]

TEXT = """\
Familial adenomatous polyposis (FAP) is an inherited disease. Mutations of the APC gene cause FAP in most families.

Patients with familial adenomatous polyposis were given sulindac. In FAP, sulindac reduces rectal polyps.

The APC gene was sequenced in 12 patients. Rectal polyps were counted; sulindac was well tolerated.
"""
LABELS = "Rectal\tB-Finding\npolyps\tI-Finding\nand\tO\nIL\tB-Gene\n-\tI-Gene\n2\tI-Gene\nwere\tO\nseen\tO\n.\tO\n"


@pytest.fixture
def extract(in_tmp: Path, mslm: Mslm) -> Extract:
    """Run ``mslm extract-terms`` on text.txt and read the terms."""
    (in_tmp / "text.txt").write_text(TEXT)

    def run(*arguments: object, text: str = "text.txt", output: str = "lexicon") -> dict[str, dict[str, Any]]:
        pipeline = () if "--pipeline" in arguments else ("--pipeline", "none")
        result = mslm("extract-terms", *text.split(), *pipeline, *arguments, "-o", output, "--overwrite")
        assert result.exit_code == 0, result.stderr
        lines = Path(output, "terms.jsonl").read_text(encoding="utf-8").splitlines()
        return {term["term"]: term for term in map(json.loads, lines)}

    return run


def test_lists_in_several_formats_become_one_lexicon(extract: Extract) -> None:
    Path("a.txt").write_text("sulindac\n")
    Path("b.csv").write_text("term,type,case\nSulindac,Drug,\nfap,Disease,no\n")
    Path("c.obo.gz").write_bytes(gzip.compress(b'[Term]\nname: polyps\nsynonym: "rectal polyps" EXACT []\n'))
    found = extract("--terms", "a.txt", "--terms", "b.csv", "--terms", "c.obo.gz", "--min-score", 99)
    assert found.keys() == {"sulindac", "fap", "polyps", "rectal polyps"}
    assert (found["sulindac"]["type"], found["sulindac"]["count"], found["sulindac"]["sources"]) == (
        "Drug",
        3,
        ["user"],
    )
    assert (found["fap"]["case_sensitive"], found["fap"]["count"]) == (False, 3)
    roles = [i["role"] for i in json.loads(Path("lexicon/manifest.json").read_text())["inputs"]]
    assert roles == ["text", "terms", "terms", "terms"]


def test_gold_mentions_are_terms_with_their_types(extract: Extract) -> None:
    Path("train.tsv").write_text(LABELS)
    found = extract("--from-labels", "train.tsv", "--min-score", 99)
    assert found.keys() == {"Rectal polyps", "IL-2"}
    assert (found["Rectal polyps"]["type"], found["Rectal polyps"]["sources"]) == ("Finding", ["labels"])
    assert found["Rectal polyps"]["count"] == 2  # in the text, where there is one
    assert (found["IL-2"]["type"], found["IL-2"]["count"], found["IL-2"]["case_sensitive"]) == ("Gene", 0, True)
    assert Sketch.load(Path("lexicon/seen/extract-terms.u64")).count(["Rectal polyps and IL-2 were seen."]) == 1


def test_terms_without_any_text(extract: Extract) -> None:
    Path("train.tsv").write_text(LABELS.replace("B-Finding", "B").replace("I-Finding", "I").replace("-Gene", ""))
    Path("mine.txt").write_text("gout\nIL-2\n")
    found = extract("--from-labels", "train.tsv", "--terms", "mine.txt", text="")
    assert found.keys() == {"Rectal polyps", "IL-2", "gout"}
    assert found["IL-2"]["sources"] == ["labels", "user"]
    assert {term["type"] for term in found.values()} == {None}


def test_neither_text_nor_terms(in_tmp: Path, mslm: Mslm) -> None:
    result = mslm("extract-terms", "-o", "lexicon")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no text was given (give TEXT, --terms or --from-labels)" in result.stderr


def test_labels_without_mentions(extract: Extract, mslm: Mslm) -> None:
    Path("train.tsv").write_text("the\tO\n")
    result = mslm("extract-terms", "text.txt", "--from-labels", "train.tsv", "-o", "lexicon")
    assert result.exit_code == 3
    assert "train.tsv: no mentions in the labelled sentences" in result.stderr


def test_sources_can_be_chosen(extract: Extract) -> None:
    assert extract("--sources", "abbreviation").keys() == {"FAP", "Familial adenomatous polyposis"}
    by_statistics = extract("--sources", "termhood", "--min-score", 0)
    assert {source for term in by_statistics.values() for source in term["sources"]} == {"termhood"}


def test_types_are_those_of_the_terms(extract: Extract, mslm: Mslm) -> None:
    nlp = spacy.blank("en")
    patterns = [{"label": "Drug", "pattern": "sulindac"}, {"label": "Gene", "pattern": "APC gene"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk("ruler")
    Path("mine.csv").write_text("term,type\nfamilies,\npolyps,Finding\n")
    found = extract("--pipeline", "ruler", "--types", "Drug, Disease", "--terms", "mine.csv")
    assert found.keys() == {"sulindac", "families"}
    refused = mslm("extract-terms", "text.txt", "--types", "Dog", "-o", "other")
    assert refused.exit_code == 3
    assert "no terms of type Dog found" in refused.stderr


def test_the_forms_of_an_abbreviation_share_a_type(extract: Extract) -> None:
    Path("mine.csv").write_text("familial adenomatous polyposis,Disease\n")
    found = extract("--terms", "mine.csv")
    assert found["FAP"]["type"] == "Disease"
    assert found["FAP"]["sources"] == ["abbreviation", "termhood"]


def test_phrases_common_in_general_english_are_no_terms(extract: Extract) -> None:
    plain = extract("--min-score", 0, "--sources", "termhood")
    Path("english.txt").write_text("Rectal polyps are spoken of here. " * 40 + "Nothing else is. " * 10)
    compared = extract("--min-score", 0, "--sources", "termhood", "--background", "english.txt")
    assert "rectal polyps" in plain
    assert "rectal polyps" not in compared
    assert compared["APC gene"] == plain["APC gene"]
    assert compared["sulindac"] == plain["sulindac"]


KB = [
    {"concept_id": "D1", "canonical_name": "Familial adenomatous polyposis", "aliases": [], "types": ["Disease"]},
    {"concept_id": "C1", "canonical_name": "Sulindac", "aliases": ["Clinoril"], "types": ["Chemical"]},
]


def test_a_knowledge_base_types_terms_but_not_those_that_have_one(extract: Extract) -> None:
    Path("kb.jsonl").write_text("\n".join(map(json.dumps, KB)))
    Path("mine.csv").write_text("sulindac,Drug\n")
    found = extract("--link", "kb.jsonl")
    assert (found["sulindac"]["type"], found["familial adenomatous polyposis"]["type"]) == ("Chemical", "Disease")
    assert (found["FAP"]["type"], found["APC gene"]["type"]) == ("Disease", None)
    assert extract("--link", "kb.jsonl", "--terms", "mine.csv")["sulindac"]["type"] == "Drug"
    assert extract("--link", "kb.jsonl", "--types", "Chemical").keys() == {"sulindac"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "kb.jsonl: no concept with a type"),
        (b'{"term": "gout"}\n', "kb.jsonl:1: no concept_id, canonical_name, types in the concept"),
        (b"\x00\x01", "kb.jsonl:1: a binary file"),
        (None, "kb.jsonl: no such file"),
    ],
)
def test_an_invalid_knowledge_base(extract: Extract, mslm: Mslm, content: bytes | None, said: str) -> None:
    if content is not None:
        Path("kb.jsonl").write_bytes(content)
    result = mslm("extract-terms", "text.txt", "--link", "kb.jsonl", "-o", "lexicon")
    assert (result.exit_code, result.stdout) == (3, "")
    assert said in result.stderr.splitlines()[-1]
    assert not Path("lexicon").exists()
    assert not Path("lexicon.work").exists()


@pytest.mark.parametrize("option", ["--terms", "--from-labels", "--background", "--link"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"gout\n\x00\x01", "given:2: a binary file"),
        (b"gout\nna\xefve", "given:2: not valid UTF-8"),
        (None, "given: no such"),
    ],
    ids=["binary", "not-utf8", "missing"],
)
def test_every_input_is_recorded(extract: Extract, mslm: Mslm, option: str, content: bytes | None, said: str) -> None:
    if content is not None:
        Path("given").write_bytes(
            content if option != "--link" else content.replace(b"gout", json.dumps(KB[0]).encode())
        )
    result = mslm("extract-terms", "text.txt", option, "given", "-o", "lexicon")
    assert (result.exit_code, result.stdout) == (3, "")
    assert said in result.stderr.splitlines()[-1]
    assert sorted(p.name for p in Path().iterdir() if p.name.startswith(("lexicon", ".lexicon"))) == []


def test_unknown_sources_and_shared_standard_input(extract: Extract, mslm: Mslm) -> None:
    result = mslm("extract-terms", "text.txt", "--sources", "magic", "-o", "lexicon")
    assert result.exit_code == 2
    assert "--sources" in result.stderr
    result = mslm("extract-terms", "-", "--terms", "-", "-o", "lexicon", stdin="x")
    assert result.exit_code == 2
    assert "the text and --terms cannot both be read from standard input" in result.stderr


def test_the_same_text_twice_counts_twice_and_the_same_file_once(extract: Extract) -> None:
    once = extract()
    Path("again.txt").write_text(TEXT)
    twice = extract(text="text.txt again.txt")
    assert (twice["sulindac"]["count"], twice["sulindac"]["doc_count"]) == (6, 4)
    assert extract(text="text.txt text.txt") == once
