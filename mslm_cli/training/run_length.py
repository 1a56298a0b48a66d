"""How long adaptation trains and at which rate, from the options and the size of the text."""

import math
import time
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from mslm_cli.config import AdaptConfig
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training import ranks
from mslm_cli.training.adaptation import ADAPT, AdaptationData, Phase, start_phase, training_steps

HEAD_LEARNING_RATE = 3e-3
"""A fresh head starts far from its optimum."""
_AUTO_TOKENS, _AUTO_EPOCHS = 1_000_000, 50
"""Small texts are seen often, with new masks each time; large ones once."""
_HEAD_SHARE, _MIN_HEAD_STEPS, _MAX_HEAD_STEPS = 0.2, 50, 500
HEAD_ALONE_STEPS = 200
"""At most, if nothing but a fresh head is trained."""


_RATE, _RATE_STEP, _MAX_RATE = 3e-4, 1024, 1e-3
_MEASURED_SECONDS, _MIN_MEASURED_STEPS = 5.0, 3
_TRAINING_SHARE = 0.85
"""Of the time; the rest goes to the head, to measuring the held-out loss and to checkpoints."""


class Length(NamedTuple):
    """The length of the training of the whole model at most."""

    n_steps: int
    n_epochs: int
    n_tokens: int


_GPU_STEP, _GPU_TOKENS = 16_384, 10_000_000


def step_size(config: AdaptConfig, n_tokens: int, device: torch.device) -> int:
    """The tokens in an optimizer step, for a text of ``n_tokens``.

    On CUDA small steps wait for the host: steps of 16,384 tokens were five times as fast as of 4,096
    (benchmarks/gpu.md). They are fewer, so they are for texts with more than 600 of them.
    """
    is_large = device.type == "cuda" and n_tokens >= _GPU_TOKENS
    return _GPU_STEP if config.tokens_per_step == "auto" and is_large else config.step_tokens


def plan_length(data: AdaptationData, config: AdaptConfig) -> Length:
    """The optimizer steps that fit the options, the epochs that they begin, and their tokens."""
    n_all = int(data.masks.reader.lengths[data.sequences].sum(dtype=np.int64))
    max_epochs = float("inf") if config.epochs == "auto" or config.steps is not None else config.epochs
    max_steps = float("inf") if config.steps is None else config.steps
    max_tokens = float("inf") if config.tokens is None else config.tokens
    if config.epochs == "auto" and config.steps is None and config.tokens is None:
        max_tokens = max(n_all, min(_AUTO_TOKENS, _AUTO_EPOCHS * n_all))
    length = Length(0, 0, 0)
    if not n_all:
        return length
    while length.n_epochs < max_epochs and length.n_steps < max_steps and length.n_tokens < max_tokens:
        length = length._replace(n_epochs=length.n_epochs + 1)
        for sequences in data.steps(config, length.n_epochs - 1):
            if length.n_steps < max_steps and length.n_tokens < max_tokens:
                n_tokens = int(data.masks.reader.lengths[sequences].sum(dtype=np.int64))
                length = Length(length.n_steps + 1, length.n_epochs, length.n_tokens + n_tokens)
    return length


def head_steps(config: AdaptConfig, length: Length) -> int:
    """The steps of a fresh head alone, at most."""
    if config.head_warmup_steps != "auto":
        return config.head_warmup_steps
    if not length.n_steps:
        return HEAD_ALONE_STEPS
    return min(_MAX_HEAD_STEPS, max(_MIN_HEAD_STEPS, round(_HEAD_SHARE * length.n_steps)))


def learning_rate(config: AdaptConfig) -> float:
    """The peak learning rate of the whole model.

    Source: benchmarks/adaptation_rates.md for steps of 1,024 tokens; larger ones by the square root of their size, as
    is usual for Adam (Malladi et al. 2022, On the SDEs and scaling rules for adaptive gradient algorithms).
    """
    if config.learning_rate != "auto":
        return config.learning_rate
    return min(_MAX_RATE, _RATE * math.sqrt(max(1.0, config.step_tokens / _RATE_STEP)))


def tokens_in(minutes: float, model: PreTrainedModel, data: AdaptationData, config: AdaptConfig) -> int:
    """The tokens to train on within ``minutes``, by the speed of some steps; they change ``model``."""
    phase = Phase(ADAPT, 10**9, kind_weights("uniform", 1, 1), 1e-6)
    began, n_tokens = time.perf_counter(), 0
    for step in training_steps(start_phase(model, phase, config), phase, data, config):
        if step.number == 1:  # it is slower
            began, n_tokens = time.perf_counter(), 0
            continue
        n_tokens += sum(batch.n_tokens for batch in step.microbatches)
        is_long = time.perf_counter() - began > _MEASURED_SECONDS and step.number > _MIN_MEASURED_STEPS
        if ranks.total(is_long):  # all processes stop, or none
            break
    per_second = ranks.total(n_tokens) / (time.perf_counter() - began)
    n_wanted = max(1, round(_TRAINING_SHARE * 60 * minutes * per_second))
    return ranks.from_first(lambda: n_wanted)
