"""Masked language modelling in phases: first a fresh head alone, then the whole model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedModel

from mslm_cli.config import AdaptConfig
from mslm_cli.masking.batch import Int64
from mslm_cli.masking.recipe import ShardMasks
from mslm_cli.masking.weights import KindWeights
from mslm_cli.training import rng
from mslm_cli.training.batching import Collator, plan_steps
from mslm_cli.training.loop import MicrobatchOptions, StepResult, TrainState, train
from mslm_cli.training.masked import MaskedBatch, MaskedData, MaskedUpdate, Objectives
from mslm_cli.training.optim import layer_factors, make_optimizer, make_schedule
from mslm_cli.training.passes import compiler

HEAD, ADAPT = "head", "adapt"
_MIN_WARMUP_STEPS = 20
"""For the encoder: at the full rate, the first steps of a new optimizer undo what the head has learnt."""
_FLAT = 0.01
_PATIENCE = 3


@dataclass(frozen=True)
class Phase:
    """A phase of training with its own optimizer; in the phase ``HEAD`` the encoder is frozen.

    measured_every: steps between measurements of the held-out loss; 0 for none. may_end_early: whether they can end it.
    """

    name: str
    n_steps: int
    weights: KindWeights
    learning_rate: float
    measured_every: int = 0
    may_end_early: bool = False

    @property
    def is_head_only(self) -> bool:
        """Whether the encoder is frozen."""
        return self.name == HEAD

    def is_measured(self, step: int) -> bool:
        """Whether the held-out loss is measured after ``step`` steps."""
        return self.measured_every > 0 and (step % self.measured_every == 0 or step == self.n_steps)

    def has_ended(self, losses: Sequence[float]) -> bool:
        """Whether the phase ends before its last step.

        The head's ends when its loss has fallen by less than 1 % over two measurements; that of the whole model when
        three in a row were no better than the best before them.

        Args:
            losses: the held-out losses measured in the phase so far, without that at its start.
        """
        if not self.may_end_early:
            return False
        if self.is_head_only:
            return len(losses) > 2 and losses[-1] > (1 - _FLAT) * losses[-3]
        return len(losses) > _PATIENCE and min(losses[-_PATIENCE:]) >= min(losses[:-_PATIENCE])


@dataclass(frozen=True)
class AdaptationData:
    """The text for adaptation.

    sequences: int64, the numbers of those to train on.
    """

    masks: ShardMasks
    sequences: Int64
    collate_fn: Collator

    def masked(self, model: PreTrainedModel, weights: KindWeights, objectives: Objectives) -> MaskedData:
        """The data of optimizer steps with these weights and objectives."""
        return MaskedData(self.masks.reader, weights, objectives, self.collate_fn, model.device)

    def steps(self, config: AdaptConfig, epoch: int) -> list[Int64]:
        """The sequences of each optimizer step in one epoch."""
        lengths = self.masks.reader.lengths[self.sequences].astype(np.int64)
        plan = plan_steps(lengths, config.step_tokens, seed=config.seed, epoch=epoch)
        return [self.sequences[step] for step in plan]


def start_phase(model: PreTrainedModel, phase: Phase, config: AdaptConfig) -> TrainState:
    """The state at the start of ``phase``; freezes or unfreezes the encoder in place."""
    in_encoder = {id(p) for p in model.base_model.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(not (phase.is_head_only and id(parameter) in in_encoder))
    factors = layer_factors(model, config.layer_decay)
    optimizer = make_optimizer(model.named_parameters(), phase.learning_rate, config.weight_decay, factors)
    min_warmup = 0 if phase.is_head_only else _MIN_WARMUP_STEPS
    schedule = make_schedule(optimizer, phase.n_steps, config.warmup_share, min_warmup=min_warmup)
    return TrainState(model, optimizer, schedule)


def training_steps(
    state: TrainState, phase: Phase, data: AdaptationData, config: AdaptConfig
) -> Iterator[StepResult[MaskedBatch]]:
    """Take the optimizer steps of ``phase`` from ``state`` on, lazily."""
    model = state.model
    model.train()
    if phase.is_head_only:
        model.base_model.eval()
    if state.n_steps == 0:
        rng.seed(config.seed)
    options = MicrobatchOptions.of(config, config.step_tokens, model.device)
    backend = compiler(config.compile, model, phase.n_steps * config.step_tokens)
    options = replace(options, compile_with=backend)
    masked = data.masked(model, phase.weights, Objectives(config.sbo, config.detect))
    return train(state, _updates(data, masked, phase, config, start=state.n_steps), config.max_grad_norm, options)


def _updates(
    data: AdaptationData, masked: MaskedData, phase: Phase, config: AdaptConfig, *, start: int
) -> Iterator[MaskedUpdate]:
    """The data of the optimizer steps of ``phase`` from step ``start``; every epoch has its own masks."""
    number = epoch = 0
    while number < phase.n_steps:
        plan = data.steps(config, epoch)
        epoch_masks = data.masks.training_epoch(epoch)
        for sequences in plan[: phase.n_steps - number]:
            if number >= start:
                yield masked.update(epoch_masks, sequences)
            number += 1
        epoch += 1
