"""Our scores are seqeval's, in both of its modes; and what we say where seqeval says nothing."""

import json
import math
import random
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import BILOU, IOB2, IOBES, Entities
from seqeval_scores import Tags, assert_same, seqeval_report, with_noise

from mslm_cli.corpus.labels import mentions_from_tags, strict_mentions
from mslm_cli.corpus.predictions import read_predictions
from mslm_cli.evaluation.exact_match import match_spans
from mslm_cli.evaluation.spans import Spans, TagMode, spans_from_tags
from mslm_cli.stages.evaluate import other_scorers

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


def conlleval(gold: Tags, predicted: Tags) -> dict[str, dict[str, float]]:
    """The counts and scores of the CoNLL-2000 script, with S- and E-: chunk by chunk, as it goes through the rows."""

    def chunks(sentences: Tags) -> set[tuple[int, int, str]]:
        found, before, of_before, start, row = set(), "O", "", 0, 0
        for tag in [tag for sentence in sentences for tag in [*sentence, "O"]]:
            now, kind = ("O", "") if tag == "O" else (tag[0], tag[2:])
            ends = before in "ES" or (before in "BI" and now in "BSO") or (before != "O" and of_before != kind)
            if before != "O" and ends:
                found.add((start, row, of_before))
            begins = now in "BS" or (now in "EI" and before in "ESO") or (now != "O" and of_before != kind)
            if begins and now != "O":
                start = row
            before, of_before, row = now, kind, row + 1
        return found

    sides = chunks(gold), chunks(predicted)
    scores = {}
    for kind in {kind for side in sides for _, _, kind in side}:
        one, other = ({chunk for chunk in side if chunk[2] == kind} for side in sides)
        right = len(one & other)
        precision, recall = right / len(other) if other else 0.0, right / len(one) if one else 0.0
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        scores[kind] = {"precision": precision, "recall": recall, "f1": f1, "predicted": len(other)}
    same = [a == b for one, other in zip(gold, predicted, strict=True) for a, b in zip(one, other, strict=True)]
    return {**scores, "": {"accuracy": sum(same) / len(same)}}


def ill_formed(seed: int, letters: str) -> tuple[Tags, Tags]:
    """A file whose tags follow each other in any order, on both sides."""
    rng = random.Random(seed)
    types = rng.sample(["Disease", "Drug", "cell-type", "X"], rng.randint(1, 3))
    tags = ["O"] * rng.randint(1, 6) + [f"{prefix}-{kind}" for kind in types for prefix in letters]
    gold = [[rng.choice(tags) for _ in range(rng.randint(1, 20))] for _ in range(rng.randint(1, 20))]
    gold[0][0] = f"{letters[-1]}-{types[0]}"
    return gold, with_noise(gold, rng, rng.choice([0.05, 0.3, 1.0]))


AS_IOBES = str.maketrans("LU", "ES")


@pytest.mark.parametrize(("scheme", "letters"), [("IOB2", "BI"), ("IOBES", "BIES"), ("BILOU", "BILU")])
def test_raw_tags_have_the_scores_of_seqeval_and_conlleval(tmp_path: Path, scheme: str, letters: str) -> None:
    for seed in range(N_FILES // 2):
        gold, predicted = ill_formed(seed, letters)
        rows = [
            "".join(f"w{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(zip(*pair, strict=True)))
            for pair in zip(gold, predicted, strict=True)
        ]
        (tmp_path / "out.tsv").write_text("\n".join(rows))
        corpus = read_predictions(tmp_path / "out.tsv", None)
        (tmp_path / "again.jsonl").write_text("".join(json.dumps(s.to_json()) + "\n" for s in corpus.sentences))
        again = read_predictions(tmp_path / "again.jsonl", None)
        assert (again.tag_schemes, again.n_orphans) == (corpus.tag_schemes, corpus.n_orphans)
        assert again.n_predicted_orphans == corpus.n_predicted_orphans
        raw = [[[tag[0].translate(AS_IOBES) + tag[1:] for tag in row] for row in side] for side in (gold, predicted)]
        report, theirs = seqeval_report(*raw, "default"), conlleval(*raw)
        accuracy = theirs.pop("")["accuracy"]
        for found in (corpus, again):
            ours = other_scorers(found)
            assert_same(ours["seqeval"]["default"], report)
            assert abs(ours["conlleval"]["accuracy"] - accuracy) < 1e-12
            assert ours["conlleval"]["per_type"].keys() == theirs.keys()
            for kind, row in theirs.items():
                for name, value in row.items():
                    assert abs(ours["conlleval"]["per_type"][kind][name] - value) < 1e-12
        is_seen = [any(tag[0] in letters[2:] for row in side for tag in row) for side in (gold, predicted)]
        if scheme != "IOB2" and all(is_seen):
            assert corpus.tag_schemes == (scheme, scheme)
            theirs = {"IOBES": IOBES, "BILOU": BILOU}[scheme]
            assert_same(ours["seqeval"]["strict"], seqeval_report(gold, predicted, "strict", theirs))
            n_tags = sum(tag != "O" for row in predicted for tag in row)
            n_in = sum(e.end - e.start for row in Entities(predicted, theirs).entities for e in row)
            assert corpus.n_predicted_orphans == n_tags - n_in


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
