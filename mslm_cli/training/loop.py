"""The training loop: a generator that yields after each optimizer step.

Saving, logging and progress are up to the caller.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from mslm_cli import console
from mslm_cli.config import TrainingOptions
from mslm_cli.errors import DivergedError, UnavailableError
from mslm_cli.training.batching import max_tokens_per_microbatch
from mslm_cli.training.device import autocast, precision
from mslm_cli.training.ranks import rank, sum_gradients

EXPLODED_LOSS = 1000.0
"""In nats; guessing uniformly over a vocabulary costs about 10."""
_MIN_TOKENS = 16
MAX_SKIPPED = 10
"""Maximum number of consecutive skipped steps; beyond that the weights themselves are broken."""


class Microbatch(Protocol):
    """The data of one forward and backward pass."""

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """Its contribution to the loss of its step, which is the sum over all microbatches and processes."""

    @property
    def reported(self) -> torch.Tensor | None:
        """Other numbers of the pass, float64 [k] on the device, after ``loss``; summed over the microbatches."""


Batch = TypeVar("Batch", bound=Microbatch)
Made = TypeVar("Made", bound=Microbatch, covariant=True)


class Update(Protocol[Made]):
    """The data of an optimizer step on this process."""

    def microbatches(self, max_tokens: int) -> Sequence[Made]:
        """The step in microbatches with at most ``max_tokens`` tokens, including padding, or a single sequence."""


@dataclass
class TrainState:
    """Everything that training changes: model, optimizer and schedule.

    n_steps: steps done. n_skipped: consecutive skipped steps up to now. max_tokens: limit for a microbatch after memory
    ran out; 0 before.
    """

    model: PreTrainedModel
    optimizer: AdamW
    schedule: LambdaLR
    n_steps: int = 0
    n_skipped: int = 0
    max_tokens: int = 0


@dataclass(frozen=True)
class StepResult(Generic[Batch]):
    """A finished optimizer step: loss, gradient norm before clipping, learning rate, microbatches.

    reported: the sum of what the microbatches of this process report.
    is_skipped: the loss or the gradient was not finite or exploded, so the weights were left unchanged.
    """

    number: int
    loss: float
    grad_norm: float
    learning_rate: float
    microbatches: Sequence[Batch]
    reported: Sequence[float]
    is_skipped: bool

    def outcome(self) -> dict[str, float | str]:
        """The entry in metrics.jsonl: loss and gradient norm, or the reason for skipping (JSON has no NaN)."""
        if self.is_skipped:
            return {"skipped": f"loss {self.loss:.4g}, gradient norm {self.grad_norm:.4g}"}
        return {"loss": round(self.loss, 5), "grad_norm": round(self.grad_norm, 4)}


@dataclass(frozen=True)
class MicrobatchOptions:
    """How to make and run the microbatches of a step.

    max_tokens: in each, including padding. dtype: of matrix products. seed: for dropout.
    """

    max_tokens: int
    dtype: torch.dtype = torch.float32
    seed: int = 0

    @classmethod
    def of(cls, config: TrainingOptions, tokens_per_step: int, device: torch.device) -> "MicrobatchOptions":
        """The options from ``config``, for steps of ``tokens_per_step`` tokens."""
        max_tokens = max_tokens_per_microbatch(config.batch_tokens, tokens_per_step, device)
        return cls(max_tokens, precision(config.precision, device), config.seed)


def train(
    state: TrainState, updates: Iterable[Update[Batch]], max_grad_norm: float, options: MicrobatchOptions
) -> Iterator[StepResult[Batch]]:
    """Take an optimizer step on each of ``updates`` and yield its result.

    A step with a non-finite loss or gradient, or a loss above ``EXPLODED_LOSS``, changes no weights; data and schedule
    advance.

    Raises:
        UnavailableError: there is not enough memory for a single sequence.
        DivergedError: more than ``MAX_SKIPPED`` steps in a row were skipped.
    """
    parameters = [p for p in state.model.parameters() if p.requires_grad]
    if state.max_tokens:
        options = replace(options, max_tokens=min(options.max_tokens, state.max_tokens))
    waiting = iter(updates)
    update = next(waiting, None)
    microbatches = _built(update, options)
    while update:
        while (found := _gradients(state, microbatches, options)) is None:
            options = _with_less_memory(state, options)
            microbatches = _built(update, options)
        done = microbatches
        update = next(waiting, None)
        # built while the GPU still computes the gradients
        microbatches = _built(update, options)
        sums = sum_gradients(parameters, found[0])
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        # the host waits for the device here, and nowhere else in a step
        loss, grad_norm, *reported = torch.cat([sums.reshape(1), norm.reshape(1), found[1:]]).tolist()
        learning_rate = float(state.schedule.get_last_lr()[0])
        with _naming_memory("updating the weights", "use a smaller encoder"):
            is_skipped = _step(state, loss, grad_norm)
        yield StepResult(state.n_steps, loss, grad_norm, learning_rate, done, reported, is_skipped)


def _built(update: Update[Batch] | None, options: MicrobatchOptions) -> Sequence[Batch]:
    with _naming_memory("building batches", "use a smaller --tokens-per-step"):
        return update.microbatches(options.max_tokens) if update else []


def _with_less_memory(state: TrainState, options: MicrobatchOptions) -> MicrobatchOptions:
    """The options with microbatches half as large."""
    state.max_tokens = options.max_tokens // 2
    if state.max_tokens < _MIN_TOKENS:
        hint = "use shorter sequences (preprocess --max-length) or a smaller encoder"
        raise UnavailableError("out of memory even with one sequence at a time", hint=hint)
    console.warn(f"out of memory: continuing with at most {state.max_tokens:,} tokens in a forward pass")
    return replace(options, max_tokens=state.max_tokens)


def _step(state: TrainState, loss: float, grad_norm: float) -> bool:
    """Step the optimizer and the schedule; whether the step was skipped."""
    is_skipped = not (math.isfinite(grad_norm) and loss <= EXPLODED_LOSS)
    state.n_skipped = state.n_skipped + 1 if is_skipped else 0
    if state.n_skipped > MAX_SKIPPED:
        raise DivergedError(
            f"training diverged: {state.n_skipped} steps in a row were skipped, the last with loss {loss:.4g} and"
            f" gradient norm {grad_norm:.4g}",
            hint="start over with --resume never and a lower --learning-rate",
        )
    if is_skipped:
        state.optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing
    state.optimizer.step()
    state.schedule.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.n_steps += 1
    return is_skipped


def _gradients(
    state: TrainState, microbatches: Sequence[Microbatch], options: MicrobatchOptions
) -> torch.Tensor | None:
    """Compute the gradients of a step; its loss and what is reported of it, or None if memory ran out.

    Dropout is seeded for each step and process, so it depends neither on earlier attempts nor on resuming.
    """
    device = next(state.model.parameters()).device
    key = np.random.SeedSequence([options.seed, state.n_steps, rank()])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
    try:
        return _accumulated(state.model, microbatches, options.dtype, device)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # from here on nothing refers to the graph of the microbatch that failed
    state.optimizer.zero_grad(set_to_none=True)
    _empty_cache(device)
    return None


def _accumulated(
    model: PreTrainedModel, microbatches: Sequence[Microbatch], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Add the gradients of ``microbatches``; their loss, then what they report, summed: float64 [1 + k]."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    for microbatch in microbatches:
        with autocast(device, dtype):
            part = microbatch.loss(model)
        part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        found = part.detach().double().reshape(1)
        if microbatch.reported is not None:
            found = torch.cat([found, microbatch.reported])
        total = total + found
    return total.reshape(-1)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # CPU out-of-memory errors have no class of their own
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _naming_memory(doing: str, hint: str) -> Iterator[None]:
    """Convert an out-of-memory error within the block, where smaller passes do not help.

    Raises:
        UnavailableError: memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise UnavailableError(f"out of memory while {doing}", hint=hint) from error
