"""BERT in plain torch computes what transformers computes, or leaves a model to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import model_batch, selection
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForTokenClassification

from mslm_cli.errors import UnavailableError
from mslm_cli.training import bert_classifier
from mslm_cli.training.batching import ModelBatch, pad
from mslm_cli.training.classifier import label_names
from mslm_cli.training.device import on_cpu
from mslm_cli.training.model import load_ner, logits_at

LABELS = ["O", "B-X", "I-X"]
SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
CONFIGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "GELU by tanh": {"hidden_act": "gelu_new"},
    "ReLU": {"hidden_act": "relu"},
    "SiLU": {"hidden_act": "silu"},
    "one head": {"num_attention_heads": 1},
    "small heads": {"num_attention_heads": 12},
    "one layer": {"num_hidden_layers": 1},
    "another epsilon": {"layer_norm_eps": 0.1},
    "dropout": {"hidden_dropout_prob": 0.5, "classifier_dropout": 0.7},
    "another padding": {"pad_token_id": 3},
    "one type": {"type_vocab_size": 1},
}


def saved(folder: Path, **options: Any) -> Path:
    """A random token classifier, whose layers all have an effect."""
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = BertConfig(vocab_size=50, max_position_embeddings=32, id2label=names, **(SIZE | options))
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(folder)
    return folder


def batch(lengths: list[int]) -> ModelBatch:
    ids = np.random.default_rng(0).integers(5, 50, sum(lengths)).astype(np.int32)
    return pad(ids, np.array(lengths), 0).mapped(torch.from_numpy)


BATCHES = {"padded": [3, 9, 32, 1], "not padded": [7, 7], "alone": [1]}


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_it_computes_the_logits_of_transformers(options: dict[str, Any], lengths: list[int], tmp_path: Path) -> None:
    folder = saved(tmp_path, **options)
    ours, theirs = bert_classifier.load(folder), load_ner(folder).eval()
    assert ours is not None
    inputs = batch(lengths)
    inside = [begin + i for begin, n in zip(inputs.begins.tolist(), lengths, strict=True) for i in range(n)]
    with torch.inference_mode():
        expected = theirs(**inputs.inputs).logits.flatten(0, 1)
        assert expected.std() > 0.1
        for positions in (torch.tensor(inside), torch.tensor(inside[::2]), torch.tensor(inside[-1:])):
            found = ours.logits_at(inputs, selection(inputs, positions))
            torch.testing.assert_close(found, expected[positions], rtol=1e-4, atol=1e-5)
    assert ours.labels == label_names(theirs) == LABELS


def test_it_computes_in_half_precision_as_transformers_does(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    ours, theirs = bert_classifier.load(folder), load_ner(folder).eval()
    assert ours is not None
    inputs = batch([3, 9, 32])
    chosen = selection(inputs, torch.tensor([0, 2, 33, 70]))
    with torch.inference_mode(), on_cpu("bf16"):
        found, expected = ours.logits_at(inputs, chosen), logits_at(theirs, inputs, chosen)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_what_is_padded_changes_nothing(tmp_path: Path) -> None:
    model = bert_classifier.load(saved(tmp_path))
    assert model is not None
    ids = torch.arange(5, 14)[None]
    alone = model_batch(ids, None)
    longer = model_batch(
        torch.cat([torch.cat([ids, ids + 9], 1), torch.full((1, 18), 7)]), torch.tensor([[1] * 9 + [0] * 9, [1] * 18])
    )
    positions = torch.arange(9)
    torch.testing.assert_close(
        model.logits_at(alone, selection(alone, positions)), model.logits_at(longer, selection(longer, positions))
    )


def test_it_is_loaded_in_single_precision(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    save_file({name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    ours, theirs = bert_classifier.load(folder), load_ner(folder).eval()
    assert ours is not None
    inputs = batch([5])
    with torch.inference_mode():
        found = ours.logits_at(inputs, selection(inputs, torch.arange(5)))
        torch.testing.assert_close(found, theirs(**inputs.inputs).logits[0], rtol=1e-4, atol=1e-5)


OTHER: dict[str, Callable[[dict[str, Any]], object]] = {
    "family": lambda c: c.update(model_type="electra"),
    "architecture": lambda c: c.update(architectures=["BertForMaskedLM"]),
    "no architecture": lambda c: c.pop("architectures"),
    "decoder": lambda c: c.update(is_decoder=True),
    "cross-attention": lambda c: c.update(add_cross_attention=True),
    "relative positions": lambda c: c.update(position_embedding_type="relative_key"),
    "activation": lambda c: c.update(hidden_act="quick_gelu"),
    "an unknown option": lambda c: c.update(embedding_size=12),
    "code": lambda c: c.update(auto_map={"AutoModel": "x.y"}),
    "sizes of other weights": lambda c: c.update(intermediate_size=80),
    "more layers": lambda c: c.update(num_hidden_layers=3),
    "more labels": lambda c: c.update(id2label={str(i): f"L{i}" for i in range(4)}),
    "gaps in labels": lambda c: c.update(id2label={"0": "O", "1": "B-X", "3": "I-X"}),
    "no labels": lambda c: c.pop("id2label"),
    "no size": lambda c: c.pop("num_attention_heads"),
    "no types": lambda c: c.update(type_vocab_size=0),
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_it_does_not_compute_is_left_to_transformers(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    file = saved(tmp_path) / "config.json"
    config = json.loads(file.read_bytes())
    change(config)
    file.write_text(json.dumps(config), encoding="utf-8")
    assert bert_classifier.load(tmp_path) is None


def test_other_weights_are_left_to_transformers(tmp_path: Path) -> None:
    file = saved(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    save_file({name: t for name, t in tensors.items() if "layer.1.output.dense" not in name}, file)
    assert bert_classifier.load(tmp_path) is None
    file.write_bytes(b"no tensors")
    assert bert_classifier.load(tmp_path) is None
    file.unlink()
    assert bert_classifier.load(tmp_path) is None


def test_an_unreadable_configuration_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UnavailableError, match="expected an object"):
        bert_classifier.load(tmp_path)
