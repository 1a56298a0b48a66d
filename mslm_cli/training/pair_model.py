"""Encoders with a head that classifies pairs of positions."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoConfig, PreTrainedModel

from mslm_cli.errors import UnavailableError
from mslm_cli.models import read_config
from mslm_cli.training.model import load_checkpoint


class PairHead(nn.Module):
    """Classifies pairs of positions by their concatenated states."""

    def __init__(self, hidden_size: int, n_labels: int) -> None:
        super().__init__()
        self.pair = nn.Linear(2 * hidden_size, n_labels)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits: float [n, n_labels].

        Args:
            states: float [2 n, hidden_size], those of all heads, then those of all tails.
        """
        logits: torch.Tensor = self.pair(torch.cat(states.chunk(2), -1))
        return logits


@cache
def _pair_classifier(token_classifier: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class of a model family's token classifier, with a ``PairHead`` in place of its output layer."""

    base: Any = token_classifier

    class PairClassifier(base):  # type: ignore[misc]  # the class is known at run time only
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            of_tokens: Any = self.get_submodule("classifier")
            self.classifier = PairHead(of_tokens.in_features, config.num_labels)
            self.post_init()

    PairClassifier.__name__ = token_classifier.__name__.replace("TokenClassification", "PairClassification")
    found: type[PreTrainedModel] = PairClassifier
    return found


def load_pair_classifier(folder: Path, *, allow_pickle: bool, seed: int, **config: Any) -> PreTrainedModel:
    """The encoder with a head for pairs, initialised from ``seed`` unless the checkpoint has one.

    Args:
        config: entries of the model's config that replace those of the checkpoint.

    Raises:
        UsageError, UnavailableError: as ``model.load_masked_lm``; also if the model family has no token classifier.
    """
    read_config(folder)
    found = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if type(found) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        raise UnavailableError(f"{folder}: models of type {found.model_type} cannot classify pairs")
    model_class = _pair_classifier(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(found)])
    return load_checkpoint(model_class, folder, allow_pickle=allow_pickle, seed=seed, **config)[0]
