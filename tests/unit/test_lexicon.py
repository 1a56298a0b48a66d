"""The lexicon's files: what is written is read, what is broken is named by its line, and terms merge by identity."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.errors import DataError
from mslm_cli.terms.lexicon import (
    Term,
    identity,
    is_short_capitals,
    is_too_short,
    matches_case,
    merge,
    read_terms,
    write_terms,
)

GOOD = {"term": "aspirin", "sources": ["user"]}

TERMS = st.builds(
    Term,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: "ab" + text),
    st.lists(st.sampled_from(["abbreviation", "termhood", "user"]), min_size=1, unique=True).map(tuple),
    st.none() | st.just("Disease"),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.floats(0, 1e6),
    st.booleans(),
)


@given(st.lists(TERMS))
def test_what_is_written_is_read_best_first(tmp_path_factory: pytest.TempPathFactory, terms: list[Term]) -> None:
    path = tmp_path_factory.mktemp("lexicon") / "terms.jsonl"
    write_terms(path, terms)
    found = read_terms(path)
    assert sorted(found, key=repr) == sorted(terms, key=repr)
    assert [(-t.score, t.term) for t in found] == sorted((-t.score, t.term) for t in terms)


def test_a_line_has_the_documented_keys(tmp_path: Path) -> None:
    write_terms(tmp_path / "terms.jsonl", [Term("β-catenin", ("termhood",), "Gene", 3, 2, 1.5)])
    line = (tmp_path / "terms.jsonl").read_text(encoding="utf-8")
    assert "β-catenin" in line
    assert json.loads(line) == {
        "term": "β-catenin",
        "sources": ["termhood"],
        "type": "Gene",
        "count": 3,
        "doc_count": 2,
        "score": 1.5,
        "case_sensitive": False,
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("aspirin", "not a JSON line"),
        ('["aspirin"]', "expected a JSON object, found list"),
        ({"term": "aspirin"}, "no sources in the term"),
        (GOOD | {"cui": 1}, "unknown keys in the term: cui"),
        (GOOD | {"term": 1}, "term cannot be 1"),
        (GOOD | {"count": True}, "count cannot be True"),
        (GOOD | {"count": 1.5}, "count cannot be 1.5"),
        (GOOD | {"type": []}, "type cannot be []"),
        (GOOD | {"sources": [1]}, "sources cannot be [1]"),
        (GOOD | {"case_sensitive": 0}, "case_sensitive cannot be 0"),
        (GOOD | {"term": "a-"}, "a term needs at least two letters or digits, found 'a-'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str | dict[str, Any], reason: str) -> None:
    path = tmp_path / "terms.jsonl"
    path.write_text("\n".join([json.dumps(GOOD), "", bad if isinstance(bad, str) else json.dumps(bad)]))
    with pytest.raises(DataError, match=re.escape(f"terms.jsonl:3: {reason}")):
        read_terms(path)


def test_a_lexicon_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"terms\.jsonl: cannot be read: No such file"):
        read_terms(tmp_path / "terms.jsonl")
    (tmp_path / "terms.jsonl").write_bytes(b'{"term": "\xff"}')
    with pytest.raises(DataError, match=r"terms\.jsonl: not UTF-8"):
        read_terms(tmp_path / "terms.jsonl")


@pytest.mark.parametrize(
    ("term", "is_short"),
    [("APC", True), ("IL-2", True), ("ABCDE", True), ("ABCDEF", False), ("mRNA", False), ("12", False), ("Β2", True)],
)
def test_short_capitals(term: str, is_short: bool) -> None:
    assert is_short_capitals(term) is is_short
    assert matches_case(Term(term, ("user",))) is is_short


def test_too_short_means_fewer_than_two_letters_or_digits() -> None:
    assert [t for t in ["x", "-", "", "x-", "p5", "é", "血液", "a b"] if not is_too_short(t)] == ["p5", "血液", "a b"]


def test_identity_is_the_folded_tokens_unless_case_counts() -> None:
    assert identity("Non - Hodgkin") == identity("non-hodgkin")
    assert identity("MS") != identity("ms")
    assert identity("mTOR") == identity("mtor")


def test_an_explicit_case_rule_overrides_the_spelling() -> None:
    assert matches_case(Term("mTOR", ("user",), case_sensitive=True))
    assert not matches_case(Term("APC", ("user",), case_sensitive=False))
    assert matches_case(Term("APC", ("user",)))
    assert not matches_case(Term("mTOR", ("user",)))


def test_the_case_rule_is_written_out(tmp_path: Path) -> None:
    write_terms(tmp_path / "terms.jsonl", [Term("APC", ("user",)), Term("MS", ("user",), case_sensitive=False)])
    assert [term.case_sensitive for term in read_terms(tmp_path / "terms.jsonl")] == [True, False]


def test_terms_of_several_sources_become_one() -> None:
    merged = merge(
        [
            Term("Breast cancer", ("user",)),
            Term("breast cancer", ("termhood",), None, 9, 4, 7.5),
            Term("breast  cancer", ("pipeline:ner",), "Disease", 8, 5, 0.0),
        ]
    )
    assert merged == [Term("Breast cancer", ("pipeline:ner", "termhood", "user"), "Disease", 9, 5, 7.5)]


def test_terms_with_different_case_rules_stay_separate() -> None:
    merged = merge([Term("AIDS", ("abbreviation",), case_sensitive=True), Term("aids", ("user",))])
    assert sorted(term.term for term in merged) == ["AIDS", "aids"]


def test_a_case_insensitive_term_absorbs_its_exact_spelling() -> None:
    merged = merge([Term("mTOR", ("abbreviation",), case_sensitive=True), Term("mTOR", ("termhood",), None, 4)])
    assert merged == [Term("mTOR", ("abbreviation", "termhood"), None, 4)]
