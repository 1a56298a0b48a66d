"""The one training loop: a generator that yields after each optimizer step.

Saving, logging and progress are outside of it, with whoever draws from it.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

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

Batch = TypeVar("Batch")

EXPLODED_LOSS = 1000.0
"""Nats; guessing among the entries of a vocabulary costs about 10."""
_FEWEST_TOKENS = 16
MAX_SKIPPED = 10
"""Steps in a row that may be left out; after so many the weights themselves are past help."""


@dataclass
class TrainState:
    """All that training changes: a model, its optimizer and schedule, the number of steps, the last ones skipped.

    max_tokens: of a forward pass, where memory has run out; 0 where it has not.
    """

    model: PreTrainedModel
    optimizer: AdamW
    schedule: LambdaLR
    n_steps: int = 0
    n_skipped: int = 0
    max_tokens: int = 0


@dataclass(frozen=True)
class Step(Generic[Batch]):
    """What one optimizer step came to: its loss, gradient norm before clipping, learning rate, batches.

    is_skipped: the loss or the gradient was not finite or exploded, and the weights are as they were.
    """

    number: int
    loss: float
    grad_norm: float
    learning_rate: float
    batches: Sequence[Batch]
    is_skipped: bool

    def outcome(self) -> dict[str, float | str]:
        """What metrics.jsonl says of it: loss and gradient norm, or why it was skipped (NaN is no JSON)."""
        if self.is_skipped:
            return {"skipped": f"loss {self.loss:.4g}, gradient norm {self.grad_norm:.4g}"}
        return {"loss": round(self.loss, 5), "grad_norm": round(self.grad_norm, 4)}


@dataclass(frozen=True)
class MicrobatchOptions:
    """How the forward and backward passes of a step run.

    max_tokens: in one of them, padding included. dtype: what matrices are multiplied in. seed: of dropout.
    """

    max_tokens: int
    dtype: torch.dtype = torch.float32
    seed: int = 0

    @classmethod
    def of(cls, config: TrainingOptions, device: torch.device) -> "MicrobatchOptions":
        """Those that ``config`` asks for."""
        most = max_tokens_per_microbatch(config.batch_tokens, config.tokens_per_step, device)
        return cls(most, precision(config.precision, device), config.seed)


def train(
    state: TrainState,
    steps: Iterable[Callable[[int], Sequence[Batch]]],
    microbatch_loss: Callable[[Batch], torch.Tensor],
    max_grad_norm: float,
    options: MicrobatchOptions,
) -> Iterator[Step[Batch]]:
    """Yield after each optimizer step, or what would have been one.

    A step whose loss or gradient is not finite, or whose loss is above ``EXPLODED_LOSS``, changes no weight; data and
    schedule go on.

    Args:
        steps: what makes the batches (forward passes) of each step, of so many tokens at most, or those of this
            process.
        microbatch_loss: a batch's share of its step's loss; the shares of a step sum up to its loss.

    Raises:
        UnavailableError: a single sequence needs more memory than there is.
        DivergedError: more than ``MAX_SKIPPED`` steps in a row were skipped.
    """
    model = state.model
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = next(model.parameters()).device
    if state.max_tokens:
        options = replace(options, max_tokens=min(options.max_tokens, state.max_tokens))
    cuts = iter(steps)
    cut = next(cuts, None)
    batches: Sequence[Batch] = cut(options.max_tokens) if cut else []
    while cut:
        while (loss := _gradients(state, batches, microbatch_loss, device, options)) is None:
            state.max_tokens = options.max_tokens // 2
            options = replace(options, max_tokens=state.max_tokens)
            if options.max_tokens < _FEWEST_TOKENS:
                hint = "take shorter sequences (preprocess --max-length) or a smaller encoder"
                raise UnavailableError("out of memory even with one sequence at a time", hint=hint)
            console.warn(f"out of memory: going on with at most {options.max_tokens:,} tokens in a forward pass")
            batches = cut(options.max_tokens)
        done = batches
        cut = next(cuts, None)
        batches = cut(options.max_tokens) if cut else []  # while a GPU still computes the gradients of the last ones
        loss = sum_gradients(parameters, loss)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))
        is_skipped = not (math.isfinite(grad_norm) and float(loss) <= EXPLODED_LOSS)
        state.n_skipped = state.n_skipped + 1 if is_skipped else 0
        if state.n_skipped > MAX_SKIPPED:
            raise DivergedError(
                f"{state.n_skipped} steps in a row, the last with loss {float(loss):.4g} and gradient norm"
                f" {grad_norm:.4g}, could not be used",
                hint="start again with --resume never and a lower --learning-rate",
            )
        learning_rate = float(state.schedule.get_last_lr()[0])
        if is_skipped:
            state.optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing
        state.optimizer.step()
        state.schedule.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.n_steps += 1
        yield Step(state.n_steps, float(loss), grad_norm, learning_rate, done, is_skipped)


def _gradients(
    state: TrainState,
    batches: Sequence[Batch],
    microbatch_loss: Callable[[Batch], torch.Tensor],
    device: torch.device,
    options: MicrobatchOptions,
) -> torch.Tensor | None:
    """The loss of a step, whose gradients are left with the parameters; None for want of memory.

    Dropout is drawn anew for each step and process: it depends neither on what was tried before nor on a resume.
    """
    key = np.random.SeedSequence([options.seed, state.n_steps, rank()])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
    try:
        loss = torch.zeros((), device=device)
        for batch in batches:
            with autocast(device, options.dtype):
                share = microbatch_loss(batch)
            share.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            loss += share.detach()
        return loss
    except RuntimeError as error:  # on a CPU, the want of memory has no class of its own
        if not (isinstance(error, torch.OutOfMemoryError) or re.search("can't allocate memory", str(error))):
            raise
    state.optimizer.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None
