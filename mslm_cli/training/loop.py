"""The one training loop: a generator that yields after each optimizer step.

Saving, logging and progress are outside of it, with whoever draws from it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from mslm_cli.errors import DivergedError
from mslm_cli.training.device import autocast
from mslm_cli.training.ranks import sum_gradients

Batch = TypeVar("Batch")

EXPLODED_LOSS = 1000.0
"""Nats; guessing among the entries of a vocabulary costs about 10."""
MAX_SKIPPED = 10
"""Updates in a row that may be left out; after so many the weights themselves are past help."""


@dataclass
class Trainee:
    """All that training changes: a model, its optimizer and schedule, the number of updates, the last ones skipped."""

    model: PreTrainedModel
    optimizer: AdamW
    schedule: LambdaLR
    n_updates: int = 0
    n_skipped: int = 0


@dataclass(frozen=True)
class Step(Generic[Batch]):
    """What one optimizer step came to: its loss, gradient norm before clipping, learning rate, batches.

    is_skipped: the loss or the gradient was not finite or exploded, and the weights are as they were.
    """

    update: int
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


def train(
    trainee: Trainee,
    updates: Iterable[Sequence[Batch]],
    share_of_loss: Callable[[Batch], torch.Tensor],
    max_grad_norm: float,
) -> Iterator[Step[Batch]]:
    """Yield after each optimizer step, or what would have been one.

    A step whose loss or gradient is not finite, or whose loss is above ``EXPLODED_LOSS``, changes no weight; data and
    schedule go on.

    Args:
        updates: the batches (forward passes) of each step, or those of this process.
        share_of_loss: a batch's share of its step's loss; the shares of a step sum up to its loss.

    Raises:
        DivergedError: more than ``MAX_SKIPPED`` steps in a row were skipped.
    """
    model = trainee.model
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = next(model.parameters()).device
    for batches in updates:
        loss = torch.zeros((), device=device)
        for batch in batches:
            with autocast(device):
                share = share_of_loss(batch)
            share.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            loss += share.detach()
        loss = sum_gradients(parameters, loss)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))
        is_skipped = not (math.isfinite(grad_norm) and float(loss) <= EXPLODED_LOSS)
        trainee.n_skipped = trainee.n_skipped + 1 if is_skipped else 0
        if trainee.n_skipped > MAX_SKIPPED:
            raise DivergedError(
                f"{trainee.n_skipped} updates in a row, the last with loss {float(loss):.4g} and gradient norm"
                f" {grad_norm:.4g}, could not be used",
                hint="start again with --resume never and a lower --learning-rate",
            )
        learning_rate = float(trainee.schedule.get_last_lr()[0])
        if is_skipped:
            trainee.optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing
        trainee.optimizer.step()
        trainee.schedule.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.n_updates += 1
        yield Step(trainee.n_updates, float(loss), grad_norm, learning_rate, batches, is_skipped)
