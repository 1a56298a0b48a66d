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
    data = NER.training_data(corpus, labels, tokenizer, FinetuneConfig())
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
