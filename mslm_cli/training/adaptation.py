"""Masked language modelling in phases: first a fresh head alone, then the whole model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from mslm_cli.config import AdaptConfig
from mslm_cli.masking.recipe import ShardMasks
from mslm_cli.masking.weights import KindWeights
from mslm_cli.training import rng
from mslm_cli.training.batching import plan_steps
from mslm_cli.training.loop import MicrobatchOptions, StepResult, TrainState, train
from mslm_cli.training.masked import MaskedBatch, MaskedData, MaskedUpdate, Objectives
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.packing import make_collator

HEAD = "head"
_HEAD_SPEEDUP = 10
"""Factor on the learning rate for a fresh head, which starts far from its optimum."""


@dataclass(frozen=True)
class Phase:
    """A phase of training with its own optimizer; in the phase ``HEAD`` the encoder is frozen."""

    name: str
    n_steps: int
    weights: KindWeights

    @property
    def is_head_only(self) -> bool:
        """Whether the encoder is frozen."""
        return self.name == HEAD


def start_phase(model: PreTrainedModel, phase: Phase, config: AdaptConfig) -> TrainState:
    """The state at the start of ``phase``; freezes or unfreezes the encoder in place."""
    in_encoder = {id(p) for p in model.base_model.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(not (phase.is_head_only and id(parameter) in in_encoder))
    learning_rate = config.learning_rate * (_HEAD_SPEEDUP if phase.is_head_only else 1)
    optimizer = make_optimizer(model.named_parameters(), learning_rate, config.weight_decay)
    return TrainState(model, optimizer, make_schedule(optimizer, phase.n_steps, config.warmup_share))


def training_steps(
    state: TrainState, phase: Phase, masks: ShardMasks, config: AdaptConfig, pad_id: int
) -> Iterator[StepResult[MaskedBatch]]:
    """Take the optimizer steps of ``phase`` from ``state`` on, lazily."""
    model = state.model
    model.train()
    if phase.is_head_only:
        model.base_model.eval()
    if state.n_steps == 0:
        rng.seed(config.seed)
    options = MicrobatchOptions.of(config, config.tokens_per_step, model.device)
    data = MaskedData(
        masks.reader,
        phase.weights,
        Objectives(config.sbo, config.detect),
        make_collator(model, pad_id, options.dtype),
        model.device,
    )
    return train(state, _updates(data, masks, phase, config, start=state.n_steps), config.max_grad_norm, options)


def _updates(
    data: MaskedData, masks: ShardMasks, phase: Phase, config: AdaptConfig, *, start: int
) -> Iterator[MaskedUpdate]:
    """The data of the optimizer steps of ``phase`` from step ``start``; every epoch has its own masks."""
    lengths = data.reader.lengths.astype(np.int64)
    number = epoch = 0
    while number < phase.n_steps:
        plan = plan_steps(lengths, config.tokens_per_step, seed=config.seed, epoch=epoch)
        epoch_masks = masks.training_epoch(epoch)
        for sequences in plan[: phase.n_steps - number]:
            if number >= start:
                yield data.update(epoch_masks, sequences)
            number += 1
        epoch += 1
