"""The objectives beside masked language modelling: their heads, and an encoder adapted with them."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import FAMILIES, save
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import Result

from mslm_cli.masking.batch import Masks, RaggedBatch
from mslm_cli.masking.shards import Sequences, ShardReader, write_sequences
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training.batching import pad
from mslm_cli.training.heads import SpanBoundaryHead, detection_head, embeddings_of, runs
from mslm_cli.training.masked import MaskedData, Objectives
from mslm_cli.training.model import (
    copy_detection_head,
    detected_labels,
    load_masked_lm,
    load_token_classifier,
    save_detection_head,
)

Mslm = Callable[..., Result]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), max_size=5))
def test_neighbours_are_just_outside_of_the_whole_run(masked: list[list[bool]]) -> None:
    # special tokens at both ends, as everywhere
    masked = [[False, *sequence, False] for sequence in masked]
    pairs = [(r, p) for r, sequence in enumerate(masked) for p, is_masked in enumerate(sequence) if is_masked]
    row, positions = (np.array([pair[k] for pair in pairs], dtype=t) for k, t in ((0, np.int64), (1, np.int32)))
    found = runs(row, positions, np.array([len(sequence) for sequence in masked]))
    for (r, p), left, right, place in zip(pairs, *(array.tolist() for array in found), strict=True):
        assert not masked[r][left]
        assert not masked[r][right]
        assert left < p < right
        assert all(masked[r][left + 1 : right])
        assert place == p - left - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_fits_every_family(family: str) -> None:
    model, _ = FAMILIES[family](["the patients with heart failure were treated"])
    head = SpanBoundaryHead.of(model, 3)
    states = torch.randn(4, model.config.hidden_size)
    logits = head(states, states, torch.tensor([0, 1, 29, 500]), embeddings_of(model))
    assert logits.shape == (4, model.config.vocab_size)
    assert torch.equal(head.first.weight, SpanBoundaryHead.of(model, 3).first.weight)
    swapped = head(states, -states, torch.tensor([0, 0, 30, 29]), embeddings_of(model))
    assert not torch.equal(logits[1], swapped[1])


@pytest.mark.parametrize("objective", ["--sbo", "--detect"])
def test_an_encoder_is_adapted_with_it_and_saved_without_its_head(workplace: Path, mslm: Mslm, objective: str) -> None:
    training = ["--model", "encoder", "--epochs", 2, "--tokens-per-step", 256, "--head-warmup-steps", 3]
    for name, weight in (("with", 0.5), ("without", 0)):
        made = mslm("adapt", "shards", *training, "--threads", 1, objective, weight, "-o", name)
        assert made.exit_code == 0, made.stderr
    one, other = (load_file(Path(name, "model.safetensors")) for name in ("with", "without"))
    assert one.keys() == other.keys()
    assert any(not one[name].equal(other[name]) for name in one)
    logs = [[json.loads(x) for x in Path(n, "metrics.jsonl").read_text().splitlines()] for n in ("with", "without")]
    assert logs[0][0]["loss"] > logs[1][0]["loss"] + 0.2, "it is part of the loss from the first step on"
    assert logs[0][0]["generic"]["n"] == logs[1][0]["generic"]["n"]


def test_the_span_boundary_objective_needs_spans(workplace: Path, mslm: Mslm) -> None:
    masking = ["--model", "encoder", "--max-length", 64, "--strategy", "word"]
    assert mslm("preprocess", "text.txt", *masking, "-o", "words").exit_code == 0
    refused = mslm("adapt", "words", "--model", "encoder", "--sbo", 0.1, "-o", "adapted-words")
    assert refused.exit_code == 2
    assert "strategy word has none" in refused.stderr


def test_the_detection_objective_needs_mentions(workplace: Path, mslm: Mslm) -> None:
    masking = ["--model", "encoder", "--max-length", 64, "--strategy", "word"]
    assert mslm("preprocess", "text.txt", *masking, "-o", "words").exit_code == 0
    refused = mslm("adapt", "words", "--model", "encoder", "--detect", 0.1, "-o", "adapted-words")
    assert refused.exit_code == 2
    assert "--lexicon" in refused.stderr


def test_masked_tokens_are_not_to_be_detected(chain: Path) -> None:
    reader = ShardReader(chain / "shards")
    sequences = np.arange(20)
    uniform = kind_weights("uniform", 1, 1)
    data = MaskedData(reader, uniform, Objectives(detect=1.0), partial(pad, pad_id=0), torch.device("cpu"))
    (batch,) = data.update(reader.epoch(0), sequences).microbatches(100_000)
    assert batch.detection is not None
    assert batch.places is None, "nobody asked for neighbours"
    positions, classes, weights, n_all = batch.detection
    assert n_all == weights.sum() == len(positions) == len(set(positions.tolist()))
    assert not set(positions.tolist()) & set(batch.targets.positions.tolist())
    n_ordinary = sum(int((reader[i].word_ids >= 0).sum()) for i in sequences)
    assert len(positions) + len(batch.targets.positions) == n_ordinary
    n_mentions = sum(len(reader[i].spans) for i in sequences)
    n_masked = sum(int(np.isin(reader[i].spans[:, 0], reader.epoch(0)[i].positions).sum()) for i in sequences)
    assert int((classes % 2 == 1).sum()) == n_mentions - n_masked
    assert int((classes % 2 == 0).sum()) > int((classes == 0).sum())


@dataclass
class OneEpoch:
    """The same masks for all sequences of a batch."""

    masks: Masks

    def batch(self, _: object) -> Masks:
        return self.masks


def detection_classes(folder: Path, types: list[int], masked: list[int]) -> dict[int, int]:
    """The class of each unmasked token of [CLS] a a b a a a a b [SEP], with mentions aa, b, aa and b of ``types``."""
    spans = np.array([[1, 3], [3, 4], [4, 6], [8, 9]], dtype=np.int32)
    word_ids = np.array([-1, *range(8), -1], dtype=np.int32)
    batch = RaggedBatch(
        np.array([0, 10]),
        np.arange(10, dtype=np.int32),
        word_ids,
        spans,
        np.array(types, dtype=np.int32),
        np.array([0, 4]),
        np.array([1], dtype=np.int32),
        np.array([0, 1]),
        np.array([0]),
    )
    write_sequences(folder, 0, Sequences(batch, np.zeros(1, np.int32)))
    positions = np.array(masked, dtype=np.int32)
    masks = Masks(np.array([0, len(masked)]), positions, np.full(len(masked), 2, np.uint8), positions * 0)
    collate_fn = partial(pad, pad_id=0)
    data = MaskedData(
        ShardReader(folder), kind_weights("uniform", 1, 1), Objectives(detect=1.0), collate_fn, torch.device("cpu")
    )
    (update,) = data.update(OneEpoch(masks), np.array([0])).microbatches(100)
    assert update.detection is not None
    return dict(zip(update.detection.positions.tolist(), update.detection.classes.tolist(), strict=True))


def test_adjacent_mentions_have_classes_of_their_types(tmp_path: Path) -> None:
    found = detection_classes(tmp_path, [1, 0, 2, 1], masked=[5])
    assert found == {1: 3, 2: 4, 3: 1, 4: 5, 6: 0, 7: 0, 8: 3}


def test_without_types_a_token_is_outside_begins_or_continues_a_mention(tmp_path: Path) -> None:
    assert detection_classes(tmp_path, [0, 0, 0, 0], masked=[1, 5]) == {2: 2, 3: 1, 4: 1, 6: 0, 7: 0, 8: 1}


@pytest.mark.parametrize("n_types", [1, 3])
def test_the_detection_head_has_two_classes_a_type(n_types: int) -> None:
    model, _ = FAMILIES["bert"](["the patients with heart failure were treated"])
    head = detection_head(model, n_types, 5)
    torch.manual_seed(5)
    assert torch.equal(head.weight, torch.nn.Linear(16, 1 + 2 * n_types).weight)


def test_types_are_learnt_and_fine_tuning_starts_from_them(workplace: Path, mslm: Mslm) -> None:
    types = {"breast cancer": "Cancer", "colon cancer": "Cancer", "heart failure": "Disease", "diabetes mellitus": None}
    Path("terms.tsv").write_text("".join(f"{term}\t{kind or ''}\n" for term, kind in types.items()))
    assert mslm("extract-terms", "text.txt", "--terms", "terms.tsv", "--pipeline", "none", "-o", "typed").exit_code == 0
    masking = ["--lexicon", "typed", "--model", "encoder", "--max-length", 64]
    made = mslm("preprocess", "text.txt", *masking, "-o", "typed-shards")
    assert made.exit_code == 0, made.stderr
    training = ["--model", "encoder", "--epochs", 40, "--tokens-per-step", 256, "--learning-rate", 0.01, "--threads", 1]
    made = mslm("adapt", "typed-shards", *training, "--detect", 5, "-o", "detecting")
    assert made.exit_code == 0, made.stderr
    names = json.loads(Path("typed-shards/stats.json").read_text())["types"]
    assert names == ["", "Cancer", "Disease"]
    assert "detects DS-terms by type (Cancer, Disease);" in Path("detecting/README.md").read_text()
    assert detected_labels(Path("detecting")) == ["O", "B-", "I-", "B-Cancer", "I-Cancer", "B-Disease", "I-Disease"]

    model, _ = load_masked_lm(Path("detecting"), allow_pickle=False, seed=0)
    head = load_file("detecting/detection_head.safetensors")
    right = []
    reader = ShardReader(Path("typed-shards"))
    for i in range(len(reader)):
        with torch.no_grad():
            states = model.eval().base_model(torch.from_numpy(reader[i].input_ids.astype(np.int64))[None])[0][0]
        found = (states @ head["weight"].T + head["bias"]).argmax(-1).numpy()
        for (start, end), kind in zip(reader[i].spans, reader[i].span_types, strict=True):
            expected = [1 + 2 * kind, *[2 + 2 * kind] * (end - start - 1)]
            right.append(found[start:end].tolist() == expected)
    assert np.mean(right) > 0.8, "the types of mentions are found in the text itself"

    tuning = ["--train", "train.tsv", "--dev", "dev.tsv", "--epochs", 1, "--threads", 1, "--model", "detecting"]
    for options, said in (
        ([], "Disease"),
        (["--map", "Cancer=Disease,Disease=Other"], "Disease"),
        (["--map", "Disease=X"], ""),
    ):
        done = mslm("finetune", *tuning, *options, "-o", "tuned", "--overwrite")
        assert done.exit_code == 0, done.stderr
        assert ("detecting has learnt to detect Disease: its head starts from there" in done.stderr) == bool(said)


def test_a_detection_head_that_learnt_nothing_is_not_kept(workplace: Path, mslm: Mslm) -> None:
    training = ["--model", "adapted", "--steps", 2, "--tokens-per-step", 256, "--learning-rate", 0.5, "--threads", 1]
    made = mslm("adapt", "shards", *training, "--detect", 1, "-o", "failed")
    assert made.exit_code == 0, made.stderr
    assert "kept as it was" in made.stderr
    assert not Path("failed/detection_head.safetensors").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_for_tags_starts_from_detection(family: str, tmp_path: Path) -> None:
    folder = save(family, ["the patients with heart failure were treated"], tmp_path / "encoder")
    masked_lm, _ = load_masked_lm(folder, allow_pickle=False, seed=0)
    save_detection_head(detection_head(masked_lm, 2, 3).state_dict(), ["Disease", "Drug"], folder)
    labels = ["O", "B-Gene", "I-Gene", "B-Drug", "I-Drug"]
    old = detected_labels(folder)
    assert old == ["O", "B-Disease", "I-Disease", "B-Drug", "I-Drug"]
    model = load_token_classifier(folder, labels, allow_pickle=False, seed=1).eval()
    fresh = copy.deepcopy(model)
    copied = copy_detection_head(folder, model, old)
    inputs = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        found, before = model(inputs).logits, fresh(inputs).logits
        states = model.base_model(inputs).last_hidden_state
    if family == "modernbert":  # its head has a layer of its own below the labels
        assert (copied, found.tolist()) == ([], before.tolist())
        return
    assert copied == ["O", "B-Drug", "I-Drug"]
    head = load_file(folder / "detection_head.safetensors")
    torch.testing.assert_close(found[..., [0, 3, 4]], (states @ head["weight"].T + head["bias"])[..., [0, 3, 4]])
    torch.testing.assert_close(found[..., [1, 2]], before[..., [1, 2]])
    assert copy_detection_head(folder, fresh, ["O", "B-X", "I-X", "B-Y", "I-Y"]) == [], "O alone is no start"
    torch.testing.assert_close(fresh(inputs).logits, before)


def test_an_encoder_without_detection_has_no_labels(tiny_encoder: Path) -> None:
    assert detected_labels(tiny_encoder) == []
