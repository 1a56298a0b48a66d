"""What training costs, in tokens that a fine-tuning step takes as its unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mslm_cli import models
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.tagging import make_windows

USUAL_SHARE = 0.25
"""The share of tokens that is predicted where no budget is named: elm rate 0.5 and blm rate 0.15 on medical text."""


def cost_ratio(config: Mapping[str, Any], share: float) -> float:
    """How much more a token costs in adaptation than in fine-tuning, in floating-point operations.

    A step of either costs six operations a parameter and token in the encoder's layers; adaptation costs six more for
    each parameter of the MLM head at the ``share`` of tokens that is predicted.

    Args:
        config: of the encoder, its config.json.

    Source: Kaplan et al. (2020), "Scaling Laws for Neural Language Models", section 2.1; embeddings are left out.
    """

    def first(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 0)

    width, layers = first("hidden_size", "dim"), first("num_hidden_layers", "n_layers")
    inner = first("intermediate_size", "hidden_dim") or 4 * width
    in_layers = layers * (4 * width**2 + 2 * width * inner)
    in_head = width**2 + width * first("vocab_size")
    return 1 + share * in_head / in_layers if in_layers else 1.0


def count_train_tokens(train: Path, model: Path, config: FinetuneConfig) -> int:
    """The tokens of one pass of fine-tuning over ``train``, special ones included.

    Raises:
        DataError: the data are not sound.
    """
    corpus = read_labelled(train, config)
    tokenizer = models.load_tokenizer(model, lowercase=config.lowercase)
    limit = min(config.max_length, models.position_limit(models.read_config(model)))
    windows = make_windows([s.words for s in corpus.sentences], tokenizer, limit, config.overlap)
    return len(windows.input_ids)


def has_mlm_head(model: Path, *, allow_pickle: bool) -> bool:
    """Whether the encoder has a trained MLM head.

    Raises: as ``load_masked_lm``.
    """
    _, fresh = load_masked_lm(model, allow_pickle=allow_pickle, seed=0)
    return not fresh
