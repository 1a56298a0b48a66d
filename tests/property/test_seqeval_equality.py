"""Our scores are seqeval's, in both of its modes; and what we say where seqeval says nothing."""

import math
import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import BILOU, IOB2, IOBES, Entities
from seqeval_scores import Tags, assert_same, seqeval_report, with_noise

from mslm_cli.corpus.labels import mentions_from_tags, strict_mentions
from mslm_cli.evaluation.exact_match import match_spans
from mslm_cli.evaluation.spans import Spans, TagMode, spans_from_tags

N_FILES = 500


def generated(seed: int) -> tuple[Tags, Tags]:
    """A file of its own size, types, density of mentions and noise, in gold too."""
    rng = random.Random(seed)
    types = rng.sample(["Disease", "Drug", "cell-type", "X", "_", "B-I"], rng.randint(1, 4))
    tags = ["O"] * rng.randint(1, 12) + [f"{prefix}-{kind}" for kind in types for prefix in "BI"]
    sizes = [rng.randint(1, 25) for _ in range(rng.randint(1, 30))]
    gold = [[rng.choice(tags) for _ in range(n)] for n in sizes]
    gold[0][0] = f"B-{types[0]}"
    return gold, with_noise(gold, rng, rng.choice([0.0, 0.05, 0.3, 1.0]))


@pytest.mark.parametrize("reading", ["strict", "default"])
def test_scores_of_generated_files_are_those_of_seqeval(reading: TagMode) -> None:
    for seed in range(N_FILES):
        gold, predicted = generated(seed)
        ours = match_spans(*spans_from_tags(gold, predicted, reading)).to_json()
        assert_same(ours, seqeval_report(gold, predicted, reading))


def listed(spans: Spans) -> list[list[tuple[int, int, str]]]:
    found: list[list[tuple[int, int, str]]] = [[] for _ in range(spans.n_sentences)]
    for i, start, end, kind in zip(spans.sentence, spans.start, spans.end, spans.type_ids, strict=True):
        found[i].append((int(start), int(end), spans.types[kind]))
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "B", "I"]), max_size=8), max_size=5))
def test_flat_arrays_hold_what_sentences_hold(sentences: Tags) -> None:
    for reading, one_sentence in (("strict", strict_mentions), ("default", mentions_from_tags)):
        gold, predicted = spans_from_tags(sentences, sentences[:], reading)
        assert listed(gold) == listed(predicted) == [one_sentence(tags) for tags in sentences]


@pytest.mark.parametrize(("scheme", "theirs", "letters"), [("IOBES", IOBES, "BIES"), ("BILOU", BILOU, "BILU")])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_strict_mentions_of_schemes_with_ends_equal_seqevals(
    scheme: str, theirs: type, letters: str, data: st.DataObject
) -> None:
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in "XY")]
    sentence = data.draw(st.lists(st.sampled_from(tags), min_size=1, max_size=12))
    found = [(e.start, e.end, e.tag) for e in Entities([sentence], theirs).entities[0]]
    assert strict_mentions(sentence, scheme) == found


@pytest.mark.parametrize("reading", ["strict", "default"])
def test_undefined_scores_of_seqeval_are_0_here(reading: TagMode) -> None:
    """Listed in docs/metrics.md."""
    nothing = [["O", "O"], ["O"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macro = precision_recall_fscore_support(nothing, nothing, average="macro", scheme=IOB2)
        assert all(math.isnan(share) for share in macro[:3])
        with pytest.raises(ValueError, match="empty"):
            classification_report(nothing, nothing)
        with pytest.raises(TypeError, match="list of list"):
            precision_recall_fscore_support([], [], average="micro", scheme=IOB2)
    for tags in (nothing, []):
        ours = match_spans(*spans_from_tags(tags, tags, reading)).to_json()
        assert ours["per_type"] == {}
        for row in (ours, ours["macro"], ours["weighted"]):
            assert [row[share] for share in ("precision", "recall", "f1")] == [0.0] * 3


def test_tags_of_another_scheme_are_refused_as_seqeval_refuses_them() -> None:
    with pytest.raises(ValueError, match="Invalid token is found: S-X"):
        classification_report([["S-X"]], [["S-X"]], mode="strict", scheme=IOB2)
    with pytest.raises(ValueError, match="'S-X' is not IOB2"):
        spans_from_tags([["S-X"]], [["S-X"]])


def test_bare_tags_have_another_name_and_the_same_scores() -> None:
    gold, predicted = [["B", "I", "O", "B"]], [["B", "O", "O", "B"]]
    ours = match_spans(*spans_from_tags(gold, predicted)).to_json()
    theirs = seqeval_report(gold, predicted, "strict")
    assert ours["per_type"]["MENTION"]["f1"] == theirs["_"]["f1-score"] == 0.5


def test_tags_with_different_numbers_of_words_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in the number of sentences"):
        spans_from_tags([["O", "O"]], [["O"]])
