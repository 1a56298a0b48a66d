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


@dataclass
class Trainee:
    """All that training changes: a model, its optimizer and schedule, and the number of updates done."""

    model: PreTrainedModel
    optimizer: AdamW
    schedule: LambdaLR
    n_updates: int = 0


@dataclass(frozen=True)
class Step(Generic[Batch]):
    """What one optimizer step came to: its loss, gradient norm before clipping, learning rate, batches."""

    update: int
    loss: float
    grad_norm: float
    learning_rate: float
    batches: Sequence[Batch]


def train(
    trainee: Trainee,
    updates: Iterable[Sequence[Batch]],
    share_of_loss: Callable[[Batch], torch.Tensor],
    max_grad_norm: float,
) -> Iterator[Step[Batch]]:
    """Yield after each optimizer step.

    Args:
        updates: the batches (forward passes) of each step, or those of this process.
        share_of_loss: a batch's share of its step's loss; the shares of a step sum up to its loss.

    Raises:
        DivergedError: the loss or the gradient is not finite.
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
        if not (math.isfinite(grad_norm) and math.isfinite(float(loss))):
            raise DivergedError(
                f"update {trainee.n_updates + 1}: loss {float(loss):.4g}, gradient norm {grad_norm:.4g}",
                hint="start again with --resume never and a lower --learning-rate",
            )
        learning_rate = float(trainee.schedule.get_last_lr()[0])
        trainee.optimizer.step()
        trainee.schedule.step()
        trainee.optimizer.zero_grad(set_to_none=True)
        trainee.n_updates += 1
        yield Step(trainee.n_updates, float(loss), grad_norm, learning_rate, batches)
