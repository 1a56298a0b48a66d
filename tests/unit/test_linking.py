"""Typing terms by a knowledge base: scispaCy's candidates, the bounds, and what is no knowledge base."""

import json
import re
import sys
from collections.abc import Iterable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mslm_cli.errors import DataError, UnavailableError
from mslm_cli.terms import linking
from mslm_cli.terms.linking import Linker

CONCEPTS = [
    {"concept_id": "D1", "canonical_name": "Heart failure", "aliases": ["cardiac failure"], "types": ["Disease"]},
    {"concept_id": "D2", "canonical_name": "Gout", "aliases": [], "types": ["Disease", "Joint"], "definition": None},
    {"concept_id": "C1", "canonical_name": "Acetylsalicylic acid", "aliases": ["aspirin"], "types": ["Chemical"]},
    {"concept_id": "C2", "canonical_name": "Sodium chloride", "types": []},
]
GOOD = CONCEPTS[0]


def lines(*concepts: object) -> Iterable[str]:
    return [concept if isinstance(concept, str) else json.dumps(concept) for concept in concepts]


def test_terms_get_the_first_type_of_the_most_similar_concept() -> None:
    linker = Linker(lines(*CONCEPTS, ""), "kb.jsonl", min_similarity=0.8)
    terms = ["heart failure", "cardiac failures", "gout", "aspirin", "sodium chloride", "dog", "§§"]
    assert linker.types(terms) == ["Disease", "Disease", "Disease", "Chemical", None, None, None]
    assert linker.types([]) == []


def test_the_threshold_applies_to_similarity() -> None:
    assert Linker(lines(*CONCEPTS), "kb.jsonl", min_similarity=0.99).types(["cardiac failures"]) == [None]
    assert Linker(lines(*CONCEPTS), "kb.jsonl", min_similarity=0.3).types(["acute heart failure"]) == ["Disease"]


def test_of_two_concepts_of_one_name_the_smaller_id_wins() -> None:
    twins = [{"concept_id": i, "canonical_name": "cold", "types": [f"T{i}"]} for i in ("9", "10", "2")]
    assert Linker(lines(*twins), "kb.jsonl", min_similarity=0.8).types(["cold"]) == ["T10"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("aspirin", "kb.jsonl:2: not a JSON line"),
        ("[1]", "kb.jsonl:2: expected a JSON object, found list"),
        (
            {"concept_id": "C1", "aliases": []},
            "kb.jsonl:2: no canonical_name, types in the concept (expected concept_id",
        ),
        (GOOD | {"types": "Disease"}, "kb.jsonl:2: types cannot be 'Disease'"),
        (GOOD | {"aliases": [1]}, "kb.jsonl:2: aliases cannot be [1]"),
        (GOOD | {"concept_id": 7}, "kb.jsonl:2: concept_id cannot be 7"),
    ],
)
def test_an_invalid_concept_is_reported_with_its_line(bad: object, reason: str) -> None:
    with pytest.raises(DataError, match=re.escape(reason)):
        Linker(lines(GOOD, bad), "kb.jsonl", min_similarity=0.8)


@pytest.mark.parametrize("concepts", [[], [""], [GOOD | {"types": []}]])
def test_a_knowledge_base_that_types_nothing(concepts: list[object]) -> None:
    with pytest.raises(DataError, match=re.escape("kb.jsonl: no concept with a type")):
        Linker(lines(*concepts), "kb.jsonl", min_similarity=0.8)


def test_a_knowledge_base_without_names() -> None:
    nameless = GOOD | {"canonical_name": " ", "aliases": []}
    with pytest.raises(DataError, match=re.escape("kb.jsonl: no concept has a name")):
        Linker(lines(nameless), "kb.jsonl", min_similarity=0.8)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Have imports of ``package`` fail."""
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("missing", ["scispacy", "nmslib"])
def test_terms_are_typed_without_scispacy(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    without(monkeypatch, missing)
    linker = Linker(lines(*CONCEPTS, ""), "kb.jsonl", min_similarity=0.8)
    terms = ["heart failure", "cardiac failures", "gout", "aspirin", "sodium chloride", "dog", "§§"]
    assert linker.types(terms) == ["Disease", "Disease", "Disease", "Chemical", None, None, None]


@given(
    st.lists(st.text("abcdeé -1α", min_size=1, max_size=12), min_size=1, max_size=12, unique=True),
    st.lists(st.text("abcdeé -1α", max_size=14), max_size=5),
)
@settings(deadline=None, max_examples=60)
def test_our_candidates_are_those_of_scispacy(names: list[str], terms: list[str]) -> None:
    pytest.importorskip("scispacy", reason="scispaCy cannot be installed here: nothing to compare with")
    concepts = [
        {"concept_id": f"C{n % 5}", "canonical_name": name, "aliases": [name.upper()], "types": [], "definition": None}
        for n, name in enumerate(names)
        if name.strip()
    ]
    assume(concepts)

    def best(found: list[tuple[float, str]]) -> dict[str, float]:
        similarities: dict[str, float] = {}
        for similarity, concept in found:
            if similarity > 1e-6:  # scispaCy fills up with names that have nothing in common with the term
                similarities[concept] = max(round(similarity, 4), similarities.get(concept, 0.0))
        return similarities

    theirs = linking.scispacy_search(concepts, "kb.jsonl")(terms)
    ours = linking.exact_search(concepts, "kb.jsonl")(terms)
    for found, expected in zip(map(best, ours), map(best, theirs), strict=True):
        assert found.keys() == expected.keys()
        assert all(abs(found[concept] - expected[concept]) < 2e-4 for concept in found)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "scispacy")
    without(monkeypatch, "sklearn")
    with pytest.raises(UnavailableError, match=r"--link needs scikit-learn.*pip install") as error:
        Linker(lines(GOOD), "kb.jsonl", min_similarity=0.8)
    assert error.value.exit_code == 5
