"""The mask-specific loss, normalised over a whole optimizer step."""

import torch
from torch.nn import functional


def weighted_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, total_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """This batch's share of a step's loss, and the plain cross entropy of each position.

    The sum of the shares over all batches of a step is
    ``sum(w_t * CE_t) / sum(w_t)``, both sums over the whole step, so the gradient does not
    depend on how the step is split or padded.

    Args:
        logits: float [n_predicted, n_classes].
        targets: int64 [n_predicted].
        weights: float32 [n_predicted], the weight of each position's kind.
        total_weight: sum of the weights of all predicted positions of the step.

    Returns:
        The share (scalar, with gradient) and cross entropies (float32 [n_predicted], detached), in nats.

    Source: MSLM (arXiv 2403.18025), section 3; there the ratio is taken per batch.
    """
    per_position = functional.cross_entropy(logits.float(), targets, reduction="none")
    share = (per_position * weights).sum() / total_weight
    return share, per_position.detach()
