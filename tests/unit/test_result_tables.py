"""Examples of errors show where two mentions differ, in 80 columns."""

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.evaluation import tables


def shown(
    words: list[str], gold: list[object] | None, predicted: list[object] | None, *, n_types: int = 2
) -> list[str]:
    example = {"sentence": 0, "gold": gold, "predicted": predicted}
    results = {
        "errors": {"wrong_boundary": {"examples": [example]}},
        "exact_match": {"per_type": dict.fromkeys(range(n_types))},
    }
    return list(tables.examples(results, [{"id": 0, "words": words}]))[1:]


def test_mentions_that_fit_are_shown_with_words_around_them() -> None:
    words = ["the", "patient", "had", "chronic", "kidney", "disease", "of", "both", "sides"]
    assert shown(words, [3, 6, "Disease"], [4, 6, "Disease"]) == [
        "  gold the patient had [chronic kidney disease|Disease] of both sides",
        "  pred the patient had chronic [kidney disease|Disease] of both sides",
    ]
    assert shown(words, [3, 6, "Disease"], None, n_types=1) == [
        "  gold the patient had [chronic kidney disease] of both sides",
        "  pred the patient had chronic kidney disease of both sides",
    ]


def test_long_mentions_are_cut_around_the_difference() -> None:
    words = [f"word{n}" for n in range(60)]
    gold, predicted = shown(words, [10, 50, "Disease"], [10, 48, "Disease"])
    assert gold == "  gold ... word45 word46 word47 word48 word49|Disease] word50 word51 word52 ..."
    assert predicted.startswith("  pred ... word45")
    assert "word47|Disease] word48" in predicted


@given(st.lists(st.text("abc", min_size=1, max_size=12), min_size=8, max_size=60), st.data())
def test_both_lines_fit_and_show_the_difference(words: list[str], data: st.DataObject) -> None:
    words = [f"{word}{n}" for n, word in enumerate(words)]
    start = data.draw(st.integers(0, len(words) - 3))
    end = data.draw(st.integers(start + 2, len(words)))
    gold, predicted = shown(words, [start, end, "A"], [start, end - 1, "A"])
    assert max(len(gold), len(predicted)) <= 80
    assert f"{words[end - 1]}|A]" in gold
    assert f"{words[end - 2]}|A] {words[end - 1]}" in predicted


def test_a_score_of_nothing_is_a_dash() -> None:
    def row(gold: int, predicted: int) -> list[str]:
        score = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "intervals": {"f1": [0.0, 0.0]}}
        return tables._row("words: 3+", score | {"gold": gold, "predicted": predicted})

    assert row(0, 0) == ["words: 3+", "-", "-", "-", "-", "0", "0"]
    assert row(0, 5) == ["words: 3+", "0.00", "-", "0.00", "0.0..0.0", "0", "5"]
    assert row(5, 0) == ["words: 3+", "-", "0.00", "0.00", "0.0..0.0", "5", "0"]
    assert row(5, 5) == ["words: 3+", "0.00", "0.00", "0.00", "0.0..0.0", "5", "5"]
