"""The cost of training, in units of one token of fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mslm_cli import console, models
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.tasks.registry import find_task
from mslm_cli.training.labelled import TrainingSource
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.tagging import Context, make_windows

USUAL_SHARE = 0.25
"""Fraction of tokens predicted if no budget is set: elm rate 0.5 and blm rate 0.15 on medical text."""


def cost_ratio(config: Mapping[str, Any], share: float) -> float:
    """Floating-point operations for a token in adaptation, relative to a token in fine-tuning.

    Both cost six operations per token and parameter of the encoder's layers. Adaptation also costs six per parameter
    of the MLM head for the predicted tokens.

    Args:
        config: the encoder's config.json.
        share: the fraction of tokens that is predicted.

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
    """The number of tokens in one fine-tuning epoch over ``train``, including special tokens.

    Raises:
        DataError: the data are invalid.
    """
    tokenizer = models.load_tokenizer(model, lowercase=config.lowercase)
    limit = min(config.max_length, models.position_limit(models.read_config(model)))
    task = find_task(config.task)
    if task.kind != "spans":
        tokenizer.model_max_length = limit
        documents = task.read(train, config)
        source = TrainingSource(documents, frozenset(documents.types))
        with console.warnings_only():
            labels = task.labels(documents, documents, train)
            return int(task.training_data([source], labels, tokenizer, config).lengths.sum())
    corpus = read_labelled(train, config)
    context = Context.of(config, [s.doc for s in corpus.sentences])
    windows = make_windows([s.words for s in corpus.sentences], tokenizer, limit, config.overlap, context=context)
    return len(windows.input_ids)


def has_mlm_head(model: Path, *, allow_pickle: bool) -> bool:
    """Whether the encoder has a trained MLM head.

    Raises: as ``load_masked_lm``.
    """
    _, fresh = load_masked_lm(model, allow_pickle=allow_pickle, seed=0)
    return not fresh
