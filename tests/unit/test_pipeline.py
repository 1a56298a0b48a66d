"""Pipelines: a real one from disk, scispaCy's detector, and what is said where one is missing."""

from pathlib import Path

import pytest
import spacy

from mslm_cli.errors import UnavailableError
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.pipeline import (
    DetectedMention,
    find_mentions,
    load_pipeline,
    source_name,
)


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline on disk that finds two diseases, of which one has no proper type."""
    nlp = spacy.blank("en")
    rules = nlp.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "Disease", "pattern": "breast cancer"}, {"label": "ENTITY", "pattern": "gout"}])  # type: ignore[attr-defined]  # add_pipe returns any component
    path = tmp_path_factory.mktemp("pipelines") / "ruler"
    nlp.to_disk(path)
    return path


def test_mentions_come_with_their_types_and_companions(ruler: Path) -> None:
    texts = [("breast cancer and gout", 1), ("nothing", 2), ("", 3)]
    assert list(find_mentions(load_pipeline(str(ruler)), texts)) == [
        ([DetectedMention("breast cancer", "Disease"), DetectedMention("gout", None)], 1),
        ([], 2),
        ([], 3),
    ]


def test_white_space_in_a_mention_is_one_space(ruler: Path) -> None:
    nlp = load_pipeline(str(ruler))
    nlp.get_pipe("entity_ruler").add_patterns(
        [{"label": "D", "pattern": [{"LOWER": "lung"}, {"IS_SPACE": True}, {"LOWER": "cancer"}]}]
    )  # type: ignore[attr-defined]  # get_pipe returns any component
    assert [m for m, _ in find_mentions(nlp, [("lung \n cancer", None)])] == [[DetectedMention("lung cancer", "D")]]


def test_a_pipeline_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"'en_core_none' is neither an installed pipeline nor.*--pipeline none"):
        load_pipeline("en_core_none")
    with pytest.raises(UnavailableError, match=r"neither an installed|cannot be loaded"):
        load_pipeline(str(tmp_path))


@pytest.mark.parametrize("module", ["numpy", "packaging"])
def test_an_installed_package_that_is_not_a_pipeline(module: str) -> None:
    with pytest.raises(UnavailableError, match=f"pipeline '{module}' cannot be loaded"):
        load_pipeline(module)


def test_a_source_is_named_without_its_path() -> None:
    assert source_name("en_core_sci_sm") == "pipeline:en_core_sci_sm"
    assert source_name("/home/someone/models/ner") == "pipeline:ner"


def test_mentions_are_counted_by_identity() -> None:
    counts = MentionCounts()
    counts.add_document(
        [
            DetectedMention("Gout", "Disease"),
            DetectedMention("gout", "Disease"),
            DetectedMention("gout", "Symptom"),
            DetectedMention("x", None),
        ]
    )
    counts.add_document([DetectedMention("gout", None), DetectedMention("MS", None), DetectedMention("ms", None)])
    (gout,) = counts.terms("pipeline:ner", min_count=2)
    assert (gout.term, gout.sources, gout.type, gout.count, gout.doc_count) == (
        "gout",
        ("pipeline:ner",),
        "Disease",
        4,
        2,
    )
    assert [t.term for t in counts.terms("pipeline:ner", min_count=1)] == ["MS", "gout", "ms"]
    assert counts.terms("pipeline:ner", min_count=1)[0].type is None
