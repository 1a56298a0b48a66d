"""Exact match: what counts, what does not, and the JSON that results.json holds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.evaluation.exact_match import exact_match

MENTIONS = st.lists(st.sets(st.tuples(st.integers(0, 3), st.integers(4, 6), st.sampled_from("XYZ")), max_size=4))


def test_boundaries_and_type_must_agree() -> None:
    gold = [[(0, 2, "X"), (4, 5, "X")], [(1, 3, "Y")], []]
    predicted = [[(0, 2, "X"), (4, 6, "X")], [(1, 3, "X")], [(0, 1, "Z")]]
    scores = exact_match(gold, predicted)
    assert (scores.micro.gold, scores.micro.predicted, scores.micro.correct) == (3, 4, 1)
    assert scores.micro.precision == pytest.approx(1 / 4)
    assert scores.micro.recall == pytest.approx(1 / 3)
    assert scores.micro.f1 == pytest.approx(2 / 7)
    counts = {kind: (score.gold, score.predicted, score.correct) for kind, score in scores.per_type.items()}
    assert counts == {"X": (2, 3, 1), "Y": (1, 0, 0), "Z": (0, 1, 0)}


def test_a_mention_of_another_sentence_is_no_match() -> None:
    assert exact_match([[(0, 1, "X")], []], [[], [(0, 1, "X")]]).micro.correct == 0


def test_a_longer_prediction_is_no_match() -> None:
    assert exact_match([[(1, 2, "X")]], [[(0, 3, "X")]]).micro.correct == 0


def test_a_mention_given_twice_counts_once() -> None:
    scores = exact_match([[(0, 1, "X")]], [[(0, 1, "X"), (0, 1, "X")]])
    assert (scores.micro.gold, scores.micro.predicted, scores.micro.correct) == (1, 1, 1)


def test_json_has_the_documented_shape() -> None:
    document = json.loads(json.dumps(exact_match([[(0, 1, "X")], [(0, 1, "Y")]], [[(0, 1, "X")], []]).to_json()))
    assert document == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "gold": 2,
        "predicted": 1,
        "correct": 1,
        "macro": {"precision": 0.5, "recall": 0.5, "f1": 0.5},
        "weighted": {"precision": 0.5, "recall": 0.5, "f1": 0.5},
        "per_type": {
            "X": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "gold": 1, "predicted": 1, "correct": 1},
            "Y": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "gold": 1, "predicted": 0, "correct": 0},
        },
    }


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]])
def test_without_mentions_every_score_is_zero(sentences: list[list[tuple[int, int, str]]]) -> None:
    document = exact_match(sentences, sentences).to_json()
    assert (document["precision"], document["recall"], document["f1"]) == (0.0, 0.0, 0.0)
    assert document["macro"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert document["per_type"] == {}


def test_a_different_number_of_sentences_is_refused() -> None:
    with pytest.raises(ValueError, match="2 gold sentences, but 1 predicted"):
        exact_match([[], []], [[]])


@given(MENTIONS)
def test_gold_against_itself_is_perfect(gold: list[set[tuple[int, int, str]]]) -> None:
    scores = exact_match(gold, gold)
    perfect = 1.0 if any(gold) else 0.0
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1, scores.macro["f1"]) == (perfect,) * 4


@given(st.lists(st.tuples(MENTIONS.map(lambda sets: sets[:1]), MENTIONS.map(lambda sets: sets[:1]))), st.randoms())
def test_order_of_mentions_and_sentences_does_not_matter(pairs: list[tuple[list, list]], random) -> None:
    gold = [list(sets[0]) if sets else [] for sets, _ in pairs]
    predicted = [list(sets[0]) if sets else [] for _, sets in pairs]
    expected = exact_match(gold, predicted)
    order = list(range(len(gold)))
    random.shuffle(order)
    for mentions in (*gold, *predicted):
        random.shuffle(mentions)
    assert exact_match([gold[i] for i in order], [predicted[i] for i in order]) == expected
