"""One corpus in any two formats that hold its text gives the same training data, the same model and the same scores."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled_forms
import numpy as np
import pytest
from typer.testing import Result

from mslm_cli import models
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.tasks.ner import NER
from mslm_cli.training.labelled import TrainingSource

Mslm = Callable[..., Result]
Documents = list[tuple[str, str, list[labelled_forms.Mention]]]


def documents(seed: int, n: int) -> Documents:
    """Titles and abstracts with mentions: inside words, overlapping, beside punctuation, after odd characters."""
    found = []
    for number in range(n):
        rng = random.Random(f"{seed} {number}")
        disease, drug = rng.choice(["heart failure", "breast cancer"]), rng.choice(["aspirin", "warfarin"])
        text = f"A study of {disease}\nThe patients with {disease} had 😀 {drug}-treated kidneys, {drug}."
        text += f" It was {disease}s."
        mentions = []
        position = text.find(disease)
        while position >= 0:
            mentions.append((position, position + len(disease), "Disease"))
            position = text.find(disease, position + 1)
        first = text.index(drug)
        mentions += [(first, first + len(drug), "Drug"), (first, first + len(drug) + 8, "Finding")]
        found.append((f"d{number:02}", text, sorted(mentions)))  # files of a folder are read by name
    return found


def encoded(path: Path, encoder: Path) -> dict[str, Any]:
    """What fine-tuning trains on, by name: arrays, and the names of the classes."""
    corpus = read_labelled(path)
    labels = ["O", *(f"{prefix}-{kind}" for kind in corpus.types for prefix in "BI")]
    tokenizer = models.load_tokenizer(encoder)
    data = NER.training_data([TrainingSource(corpus, frozenset(corpus.types))], labels, tokenizer, FinetuneConfig())
    arrays = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return arrays | {"labels": labels, "ids": [sentence.doc for sentence in corpus.sentences]}


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


@pytest.fixture(scope="module")
def place(chain: Path, tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Any:
    """A working folder with the documents as {train,dev,test}-FORMAT, and their paths by set and format."""
    folder = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths = {
            name: labelled_forms.write_characters(mslm, documents(seed, n), name)
            for seed, (name, n) in enumerate({"train": 12, "dev": 4, "test": 6}.items())
        }
        sentences = [(s.doc, s.words, s.tags) for s in read_labelled(chain / "train.tsv").sentences]
        named = [(f"d{number // 3}", words, tags) for number, (_, words, tags) in enumerate(sentences)]
        yield paths, labelled_forms.write_words(named, "words")


@pytest.mark.parametrize("form", labelled_forms.OF_CHARACTERS)
def test_mentions_by_characters_are_the_same_training_data(place: Any, chain: Path, form: str) -> None:
    paths, _ = place
    expected = encoded(paths["train"]["jsonl"], chain / "encoder")
    assert len(expected["labels"]) == 2 * 2 + 1  # the drug is in a finding, which is longer
    assert_equal(encoded(paths["train"][form], chain / "encoder"), expected)


@pytest.mark.parametrize("form", labelled_forms.OF_WORDS)
def test_words_with_tags_are_the_same_training_data(place: Any, chain: Path, form: str) -> None:
    _, paths = place
    expected = encoded(paths["conll"], chain / "encoder")
    assert len(expected["labels"]) == 3
    assert_equal(encoded(paths[form], chain / "encoder"), expected)


def finetuned(mslm: Mslm, train: Path, dev: Path, encoder: Path, output: str) -> Path:
    made = mslm(
        *("finetune", "--train", train, "--dev", dev, "--model", encoder),
        *("--epochs", 1, "--threads", 1, "-o", output),
    )
    assert made.exit_code == 0, made.stderr
    return Path(output)


def test_models_and_scores_are_the_same_to_the_last_bit(place: Any, chain: Path, mslm: Mslm) -> None:
    paths, of_words = place
    ner = [
        finetuned(mslm, paths["train"][f], paths["dev"][f], chain / "encoder", f"ner-{f}") for f in ("brat", "docbin")
    ]
    assert (ner[0] / "model.safetensors").read_bytes() == (ner[1] / "model.safetensors").read_bytes()
    dev = chain / "dev.tsv"
    tagged = [finetuned(mslm, of_words[f], dev, chain / "encoder", f"ner-{f}") for f in ("conll", "tokens-parquet")]
    assert (tagged[0] / "model.safetensors").read_bytes() == (tagged[1] / "model.safetensors").read_bytes()
    scores = []
    for form in labelled_forms.OF_CHARACTERS:
        scored = mslm("eval", ner[0], "--data", paths["test"][form], "--train", paths["train"][form], "--json")
        assert scored.exit_code == 0, scored.stderr
        results = json.loads(scored.stdout)
        of_data = ("system", "data")
        scores.append({key: value for key, value in results.items() if key not in of_data})
    assert all(score == scores[0] for score in scores)


def test_scores_are_of_the_characters_that_were_annotated(place: Any, chain: Path, mslm: Mslm) -> None:
    """Of each document the last mention ends inside a word, and nothing that tags words can find it."""
    paths, _ = place
    expected = [(a, b, kind) for _, _, mentions in documents(2, 6) for a, b, kind in mentions if kind != "Drug"]
    ner = finetuned(mslm, paths["train"]["jsonl"], paths["dev"]["jsonl"], chain / "encoder", "ner")
    results = json.loads(mslm("eval", ner, "--data", paths["test"]["pubtator"], "--json").stdout)
    n_inside = 6 * 1  # "heart failure" of "heart failures"
    assert results["n_off_boundary_mentions"] == n_inside
    # a second mention of the drug stands outside the finding and is not annotated
    assert results["exact_match"]["gold"] == len(expected)


@pytest.mark.parametrize("to", ["json", "jsonl", "brat", "pubtator", "bioc", "docbin"])
def test_predictions_by_characters_have_the_scores_of_the_model(
    place: Any, chain: Path, in_tmp: Path, mslm: Mslm, to: str
) -> None:
    """Whatever format `mslm predict` writes, `mslm eval` scores it as it scores the model itself."""
    paths = {name: Path.cwd() / name for name in ("gold.jsonl", "predicted")}
    ner = chain / "ner"
    texts = [(id_, text.replace("aspirin", "heart failure"), mentions) for id_, text, mentions in documents(3, 5)]
    records = [
        {"id": id_, "text": text, "label": [[a, b, "Disease"] for a, b, kind in mentions if kind == "Disease"]}
        for id_, text, mentions in texts
    ]
    paths["gold.jsonl"].write_text("".join(json.dumps(record) + "\n" for record in records))
    made = mslm("predict", ner, paths["gold.jsonl"], "--to", to, "-o", paths["predicted"])
    assert made.exit_code == 0, made.stderr
    found = []
    for system in ([ner], ["--predictions", paths["predicted"]]):
        scored = mslm("eval", *system, "--data", paths["gold.jsonl"], "--json")
        assert scored.exit_code == 0, scored.stderr
        results = json.loads(scored.stdout)
        found.append([results[key] for key in ("exact_match", "n_off_boundary_mentions", "errors")])
    assert found[0][0]["predicted"] > 0
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"doc": "d9"}, "predicted:1: document 'd9' is not in "),
        ({"end": 2}, "predicted:1: expected start and end in characters, found 3 and 2"),
        ({"text": "Mice"}, "predicted:1: document 'd0': the mention at 3 is 'Mice', the text there in "),
        ({"type": ""}, "predicted:1: a mention without a type"),
        ({"score": 2}, "predicted:1: score: expected a probability from 0 to 1"),
    ],
)
def test_predictions_by_characters_that_do_not_fit(in_tmp: Path, mslm: Mslm, line: dict[str, Any], said: str) -> None:
    Path("gold.jsonl").write_text(json.dumps({"id": "d0", "text": "No heart failure.", "label": [[3, 16, "X"]]}) + "\n")
    mention = {"doc": "d0", "start": 3, "end": 16, "text": "heart failure", "type": "X"} | line
    Path("predicted").write_text(json.dumps(mention) + "\n")
    refused = mslm("eval", "--predictions", "predicted", "--data", "gold.jsonl")
    assert refused.exit_code == 3
    assert said in refused.stderr


def test_predictions_inside_words_and_overlapping_ones(in_tmp: Path, mslm: Mslm) -> None:
    """They are found where gold has the same characters; of overlapping ones the longest counts."""
    Path("gold.jsonl").write_text(json.dumps({"id": 1, "text": "Mice in womenfolk.", "label": [[8, 13, "X"]]}) + "\n")
    mentions = [(8, 13, "X"), (0, 4, "X"), (0, 2, "X")]
    Path("predicted").write_text(
        "".join(json.dumps({"doc": "1", "start": a, "end": b, "type": kind}) + "\n" for a, b, kind in mentions)
    )
    scored = mslm("eval", "--predictions", "predicted", "--data", "gold.jsonl", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert "warning: predicted: 1 prediction left out: overlapping a longer one" in scored.stderr
    found = json.loads(scored.stdout)["exact_match"]
    assert (found["gold"], found["predicted"], found["correct"]) == (1, 2, 1)


def test_mentions_by_characters_cannot_be_scored_on_words(in_tmp: Path, mslm: Mslm) -> None:
    Path("gold.tsv").write_text("heart\tB-X\nfailure\tI-X\n")
    Path("predicted").write_text(json.dumps({"doc": "1", "start": 0, "end": 5, "type": "X"}) + "\n")
    refused = mslm("eval", "--predictions", "predicted", "--data", "gold.tsv")
    assert refused.exit_code == 3
    assert "predicted:1: a mention by characters, which can be scored against gold by characters only" in refused.stderr


def test_gold_mentions_that_overlap_are_counted_and_listed(in_tmp: Path, mslm: Mslm) -> None:
    label = [[0, 13, "X"], [6, 13, "Y"]]
    Path("gold.jsonl").write_text(json.dumps({"id": 1, "text": "heart failure was seen", "label": label}) + "\n")
    Path("predicted").write_text(json.dumps({"doc": "1", "start": 0, "end": 13, "type": "X"}) + "\n")
    scored = mslm("eval", "--predictions", "predicted", "--data", "gold.jsonl", "-v")
    assert scored.exit_code == 0, scored.stderr
    assert "gold.jsonl: 1 mention left out: overlapping another one (see --overlaps)" in scored.stderr
    assert "1:6-13 Y: overlapping: 'failure'" in scored.stderr
