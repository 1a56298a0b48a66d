"""The mask-specific loss, normalised over a whole optimizer step."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class _CrossEntropy(torch.autograd.Function):
    """Cross entropy of each position; the gradient reuses the memory of the log probabilities, which is large."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_probabilities = torch.log_softmax(logits, -1)
        ctx.save_for_backward(log_probabilities, targets)
        return -log_probabilities.gather(1, targets[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        log_probabilities, targets = ctx.saved_tensors
        factor = gradients[0][:, None]
        of_logits = log_probabilities.exp_().mul_(factor)
        return of_logits.scatter_add_(1, targets[:, None], -factor), None


def weighted_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, total_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """This microbatch's contribution to a step's loss, and the plain cross entropy of each position.

    The contributions of all microbatches add up to ``sum(w_t * CE_t) / sum(w_t)``, both sums over the whole step, so
    the gradient does not depend on how the step is split or padded.

    Args:
        logits: float [n_predicted, n_classes].
        targets: int64 [n_predicted].
        weights: float32 [n_predicted], the weight of each position's mask kind.
        total_weight: the sum of weights over all predicted positions in the step.

    Returns:
        The contribution (scalar, with gradient) and cross entropies (float32 [n_predicted], detached), in nats.

    Source: MSLM (arXiv 2403.18025), section 3; they normalise per batch.
    """
    per_position: torch.Tensor = _CrossEntropy.apply(logits.float(), targets)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    loss = (per_position * weights).sum() / total_weight
    return loss, per_position.detach()
