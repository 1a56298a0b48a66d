"""A user's own terms: the forms they come in, what is left out and counted, and what is named by its line."""

import gzip
import json
import re
from pathlib import Path

import pytest

from mslm_cli.corpus.lines import read_lines
from mslm_cli.errors import DataError
from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.termlists import TermList, read_term_list


def read(name: str, text: str) -> TermList:
    return read_term_list(text.splitlines(), name)


def entries(found: TermList) -> list[tuple[str, str | None, bool | None]]:
    assert all(term.sources == ("user",) for term in found.terms)
    return [(term.term, term.type, term.case_sensitive) for term in found.terms]


def test_a_plain_list_is_cleaned_and_counted() -> None:
    lines = ["aspirin", "", "  kidney \t disease ", "Aspirin", "x", "a-", "IL-2", "IL - 2", "breast\x0bcancer", "\x07"]
    found = read_term_list(lines, "mine.txt")
    assert [term.term for term in found.terms] == ["aspirin", "kidney disease", "IL-2", "breast cancer"]
    assert found == TermList(found.terms, n_duplicates=2, n_too_short=2, n_too_long=0, n_cleaned=2)


def test_spellings_with_different_matches_are_not_duplicates() -> None:
    found = read("mine.txt", "WAS\nwas\nWas")
    assert [term.term for term in found.terms] == ["WAS", "was"]
    assert found.n_duplicates == 1


@pytest.mark.parametrize("name", ["mine", "mine.txt", "mine.lst.gz", "<stdin>"])
def test_anything_without_a_known_ending_is_a_plain_list(name: str) -> None:
    assert entries(read(name, "term,type\naspirin,Drug")) == [("term,type", None, None), ("aspirin,Drug", None, None)]


def test_a_table_with_a_header_names_its_columns() -> None:
    text = 'Type,Term,synonyms,case\nDrug,"aspirin, soluble",ASA|acetylsalicylic acid,\n,mTOR,,yes\nGene,APC,,No\n'
    assert entries(read("mine.csv", text)) == [
        ("aspirin, soluble", "Drug", None),
        ("ASA", "Drug", None),
        ("acetylsalicylic acid", "Drug", None),
        ("mTOR", None, True),
        ("APC", "Gene", False),
    ]


def test_a_table_without_a_header_holds_terms_and_perhaps_types() -> None:
    assert entries(read("mine.tsv", "aspirin\tDrug\nheart failure\n")) == [
        ("aspirin", "Drug", None),
        ("heart failure", None, None),
    ]


def test_json_lines_hold_what_a_lexicon_holds() -> None:
    lines = [
        {"term": "aspirin", "type": "Drug", "synonyms": ["ASA"], "case_sensitive": False},
        {"term": "heart failure", "sources": ["termhood"], "type": None, "count": 3, "score": 1.5},
    ]
    assert entries(read("mine.jsonl", "\n".join(map(json.dumps, lines)))) == [
        ("aspirin", "Drug", False),
        ("ASA", "Drug", False),
        ("heart failure", None, None),
    ]


OBO = """\
format-version: 1.2
default-namespace: disease_ontology

[Term]
id: DOID:1
name: heart failure
synonym: "cardiac \\"pump\\" failure" EXACT []
synonym: "congestive heart failure" NARROW [MESH:D1]
synonym: "heart disease" BROAD []
synonym: "weak heart" RELATED []
is_a: DOID:0 ! disease

[Term]
id: DOID:2
name: dropsy
is_obsolete: true

[Term]
id: DOID:3
name: gout ! joints
namespace: joints

[Typedef]
id: part_of
name: part of
"""


def test_an_ontology_gives_names_and_close_synonyms() -> None:
    assert entries(read("mine.obo", OBO)) == [
        ("heart failure", "disease_ontology", None),
        ('cardiac "pump" failure', "disease_ontology", None),
        ("congestive heart failure", "disease_ontology", None),
        ("gout", "joints", None),
    ]


def test_a_compressed_list_is_known_by_the_ending_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.obo.gz"
    path.write_bytes(gzip.compress(OBO.encode(), mtime=0))
    assert len(read_term_list(read_lines(path), str(path)).terms) == 4


def test_the_first_spelling_is_kept_with_the_first_type() -> None:
    assert read("mine.tsv", "Gout\ngout\tDisease\nGOUT\tJoint\n").terms == (
        Term("Gout", ("user",), "Disease", case_sensitive=None),
        Term("GOUT", ("user",), "Joint", case_sensitive=None),
    )


def test_long_terms_and_lines_are_skipped() -> None:
    text = f"aspirin\n{'a' * 501}\n{'b' * 100_001}\n"
    for name, content in (
        ("mine.txt", text),
        ("mine.csv", text),
        ("mine.jsonl", '{"term": "aspirin"}\n' + "[" * 10**6),
    ):
        found = read(name, content)
        assert [term.term for term in found.terms] == ["aspirin"]
        assert found.n_too_long == (1 if name == "mine.jsonl" else 2)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("mine.txt", "", "mine.txt: no terms in the list (expected one term per line"),
        ("mine.txt", "x\n-\n \n", "mine.txt: no terms in the list"),
        ("mine.txt", "a" * 200_000, "mine.txt: no terms in the list: 1 lines are too long"),
        ("mine.csv", "term,cui\naspirin,C1\n", "mine.csv:1: unknown column 'cui' (the columns are case, synonyms,"),
        (
            "mine.csv",
            "aspirin,Drug\nheart, failure, acute\n",
            "mine.csv:2: expected at most 2 columns (term, type), found",
        ),
        ("mine.csv", 'aspirin\n"heart failure\nno end\n', "mine.csv:3: not a csv table: unexpected end of data"),
        ("mine.csv", "term,case\nmTOR,maybe\n", "mine.csv:2: case cannot be 'maybe' (use yes, no or an empty cell)"),
        ("mine.jsonl", '{"term": "aspirin"}\n\n{"term": 1}\n', "mine.jsonl:3: term cannot be 1"),
        ("mine.jsonl", "aspirin", "mine.jsonl:1: not a JSON line"),
        ("mine.jsonl", "[" * 50_000, "mine.jsonl:1: not a JSON line"),
        ("mine.jsonl", '["aspirin"]', 'mine.jsonl:1: expected a JSON object with a "term"'),
        ("mine.jsonl", '{"term": "aspirin", "synonyms": [1]}', "mine.jsonl:1: synonyms cannot hold 1"),
        ("mine.jsonl", '{"term": "aspirin", "synonyms": "ASA"}', "mine.jsonl:1: synonyms cannot be 'ASA'"),
        ("mine.obo", "aspirin\n", "mine.obo:1: not an OBO line"),
        ("mine.obo", "[Term]\nname: gout\nsynonym: podagra EXACT []\n", "mine.obo:3: expected a synonym in"),
        ("mine.obo", "format-version: 1.2\n", "mine.obo: no terms in the list"),
    ],
)
def test_an_invalid_list_is_reported_with_its_place(name: str, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=re.escape(reason)):
        read(name, text)
