"""BERT token classifiers for prediction on CPU, in plain torch.

To import transformers takes seconds, for the same logits.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.nn import functional

from mslm_cli.models import read_config
from mslm_cli.training.attention import attend
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.selection import Selection

_WEIGHTS = "model.safetensors"
_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}
_REQUIRED = {
    "architectures": ["BertForTokenClassification"],
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
}
"""Options that change the forward pass, with the values that are computed here; transformers has them as defaults."""
_SIZES = {
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
}
_USED = {*_SIZES, "hidden_act", "id2label", "layer_norm_eps", "model_type"}
_WITHOUT_EFFECT = {
    "_name_or_path",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "classifier_dropout",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "initializer_range",
    "label2id",
    "pad_token_id",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


class BertClassifier:
    """A fine-tuned BERT with a layer that classifies tokens, without dropout.

    Source: Devlin et al. 2019 (BERT), section 3; the parameters have the names of transformers.

    Attributes:
        labels: their names, by number.
        device: the CPU.
    """

    def __init__(self, config: Mapping[str, Any], parameters: Mapping[str, torch.Tensor]) -> None:
        self.labels = _labels(config)
        self.device = torch.device("cpu")
        # autocast keeps what it converted only of what has a gradient
        self._parameters = {name: parameter.requires_grad_() for name, parameter in parameters.items()}
        self._n_layers, self._n_heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._eps, self._activation = config["layer_norm_eps"], _ACTIVATIONS[config["hidden_act"]]

    def logits_at(self, batch: ModelBatch, selection: Selection) -> torch.Tensor:
        """Logits at the selected positions of a padded batch: float [n_positions, n_labels].

        The last layer and the head run only over the selected positions.
        """
        ids, mask = batch.inputs["input_ids"], batch.inputs.get("attention_mask")
        is_key = None if mask is None else mask.bool()[:, None, None]
        names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        words, positions, types = (self._parameters[f"bert.embeddings.{name}.weight"] for name in names)
        summed = functional.embedding(ids, words) + types[0] + positions[: ids.shape[1]]
        states = self._normed(summed, "bert.embeddings.LayerNorm")
        *inner, last = (f"bert.encoder.layer.{number}" for number in range(self._n_layers))
        for layer in inner:
            mixed = self._mixed(layer, states, states, is_key)
            states = self._after_attention(layer, mixed, states)
        wanted = states.flatten(0, 1)[selection.wanted]
        at = selection.rows, selection.slots
        spread = wanted.new_zeros(len(ids), selection.width, wanted.shape[-1]).index_put(at, wanted)
        mixed = self._mixed(last, spread, states, is_key)[at]
        logits = self._linear(self._after_attention(last, mixed, wanted), "classifier")
        return logits[selection.index[: selection.n_positions]]

    def _mixed(
        self, layer: str, queried: torch.Tensor, states: torch.Tensor, is_key: torch.Tensor | None
    ) -> torch.Tensor:
        """The values that attention mixes for each of the positions ``queried``: float [n, n_queries, hidden].

        Args:
            queried: float [n, n_queries, hidden]. states: float [n, longest, hidden].
            is_key: bool [n, 1, 1, longest], false for padding; None if there is none.
        """
        query, key, value = (
            self._linear(of, f"{layer}.attention.self.{name}").view(*of.shape[:2], self._n_heads, -1).transpose(1, 2)
            for name, of in (("query", queried), ("key", states), ("value", states))
        )
        return attend(query, key, value, is_key).flatten(2)

    def _after_attention(self, layer: str, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The output of a layer, of the shape of ``mixed`` and ``states``."""
        output = f"{layer}.attention.output"
        attended = self._normed(self._linear(mixed, f"{output}.dense") + states, f"{output}.LayerNorm")
        inner = self._activation(self._linear(attended, f"{layer}.intermediate.dense"))
        return self._normed(self._linear(inner, f"{layer}.output.dense") + attended, f"{layer}.output.LayerNorm")

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(states, *self._weight_and_bias(name))

    def _normed(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(states, states.shape[-1:], *self._weight_and_bias(name), self._eps)

    def _weight_and_bias(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]


def load(folder: Path) -> BertClassifier | None:
    """The token classifier in ``folder``; None if it is no BERT, or has something that is not computed here.

    Raises:
        UnavailableError: its config.json is no JSON object, or has sizes that no encoder has.
    """
    config = read_config(folder)
    if not _is_plain(config):
        return None
    try:
        with safe_open(folder / _WEIGHTS, "pt") as file:
            stored = set(file.keys())
            shapes = _shapes(config)
            if not shapes.keys() <= stored or any(
                file.get_slice(name).get_shape() != list(shape) for name, shape in shapes.items()
            ):
                return None
            parameters = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in shapes}
    except (OSError, SafetensorError):  # transformers, next, says what is wrong
        return None
    return BertClassifier(config, parameters)


def _is_plain(config: Mapping[str, Any]) -> bool:
    """Whether every option is known, with a value that is computed here."""
    labels = config.get("id2label")
    return (
        config.get("model_type") == "bert"
        and config.keys() >= _USED
        and config.keys() <= {*_USED, *_REQUIRED, *_WITHOUT_EFFECT}
        and all(config.get(name, value) == value for name, value in _REQUIRED.items())
        and "architectures" in config
        and all(isinstance(config[name], int) and config[name] > 0 for name in _SIZES)
        and isinstance(config["layer_norm_eps"], float)
        and isinstance(config["hidden_act"], str)
        and config["hidden_act"] in _ACTIVATIONS
        and isinstance(labels, dict)
        and sorted(labels) == sorted(map(str, range(len(labels))))
    )


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The names of the labels, by number."""
    return [str(config["id2label"][str(number)]) for number in range(len(config["id2label"]))]


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters, by name."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linear = {"classifier": (len(config["id2label"]), hidden)}
    norms = ["bert.embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{number}"
        of_attention = ("self.query", "self.key", "self.value", "output.dense")
        linear |= {f"{layer}.attention.{name}": (hidden, hidden) for name in of_attention}
        linear |= {f"{layer}.intermediate.dense": (inner, hidden), f"{layer}.output.dense": (hidden, inner)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    rows = {
        "word": config["vocab_size"],
        "position": config["max_position_embeddings"],
        "token_type": config["type_vocab_size"],
    }
    return {
        **{f"bert.embeddings.{name}_embeddings.weight": (n, hidden) for name, n in rows.items()},
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
        **{f"{name}.{part}": (hidden,) for name in norms for part in ("weight", "bias")},
    }
