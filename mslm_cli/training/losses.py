"""The mask-specific loss, normalised over a whole optimizer step."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits

_CHUNK = {"cpu": 2**18, "cuda": 2**26}
"""Logits that are in single precision at a time: on CPU what the caches hold, on CUDA 256 MiB."""


class _CrossEntropy(torch.autograd.Function):
    """Cross entropy of each position; the gradient overwrites the logits, the largest tensor of a pass.

    Logits are converted to single precision only a few rows at a time.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = logits.new_empty(len(logits), dtype=torch.float32)
        for rows in _chunks(logits):
            log_probabilities = torch.log_softmax(logits[rows], -1, dtype=torch.float32)
            losses[rows] = -log_probabilities.gather(1, targets[rows, None])[:, 0]
        # log p = logit - normalizer
        normalizers = logits.gather(1, targets[:, None])[:, 0].float() + losses
        ctx.save_for_backward(logits, targets, normalizers)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, normalizers = ctx.saved_tensors
        factors = gradients[0]
        for rows in _chunks(logits):
            part, factor = logits[rows], factors[rows, None]
            of_logits = part.float().sub_(normalizers[rows, None]).exp_().mul_(factor)
            of_logits.scatter_add_(1, targets[rows, None], -factor)
            if of_logits.dtype != part.dtype:
                part.copy_(of_logits)
        return logits, None


def _chunks(logits: torch.Tensor) -> list[slice]:
    """The rows of ``logits``, a few at a time."""
    n, n_classes = logits.shape
    size = max(1, _CHUNK.get(logits.device.type, _CHUNK["cuda"]) // n_classes)
    return [slice(first, first + size) for first in range(0, n, size)]


def weighted_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, total_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """This microbatch's contribution to a step's loss, and the plain cross entropy of each position.

    The contributions of all microbatches add up to ``sum(w_t * CE_t) / sum(w_t)``, both sums over the whole step, so
    the gradient does not depend on how the step is split or padded.

    Args:
        logits: float [n_predicted, n_classes], in any precision; the backward pass overwrites them.
        targets: int64 [n_predicted].
        weights: float32 [n_predicted], the weight of each position's mask kind.
        total_weight: the sum of weights over all predicted positions in the step.

    Returns:
        The contribution (scalar, with gradient) and cross entropies (float32 [n_predicted], detached), in nats.

    Source: MSLM (arXiv 2403.18025), section 3; they normalise per batch.
    """
    per_position: torch.Tensor = _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    loss = (per_position * weights).sum() / total_weight
    return loss, per_position.detach()


NOISE_EXPONENT = 0.7
"""The exponent of the generalised cross entropy: 0 would be cross entropy, 1 the mean absolute error."""


def partial_cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, label_sets: torch.Tensor, is_noisy: torch.Tensor | None
) -> torch.Tensor:
    """The loss of each position where some targets are sets of labels, or come from a model.

    The loss of a set is minus the log of the summed probability of its labels: what is not annotated in a corpus may be
    any of them. The loss of a noisy target is the generalised cross entropy, (1 - p^q) / q with q = ``NOISE_EXPONENT``,
    whose gradient is that of cross entropy times p^q, so that labels which the model finds improbable count less.

    Args:
        logits: float [n, n_labels].
        classes: int64 [n]; from ``n_labels`` on, the number of a set.
        label_sets: bool [n_sets, n_labels].
        is_noisy: bool [n], or None for no position.

    Returns:
        float32 [n], in nats for targets that are not noisy, with gradient.

    Sources: Greenberg et al. (2018), "Marginal Likelihood Training of BiLSTM-CRF for Biomedical Named Entity
    Recognition from Disjoint Label Sets", section 3, here for words one by one; Zhang and Sabuncu (2018), "Generalized
    Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", equation 6.
    """
    log_probabilities = torch.log_softmax(logits.float(), -1)
    n_labels = logits.shape[-1]
    single = torch.eye(n_labels, dtype=torch.bool, device=logits.device)
    allowed = torch.cat([single, label_sets]) if len(label_sets) else single
    log_p = log_probabilities.masked_fill(~allowed[classes], -torch.inf).logsumexp(-1)
    if is_noisy is None:
        return -log_p
    return torch.where(is_noisy, (1 - (NOISE_EXPONENT * log_p).exp()) / NOISE_EXPONENT, -log_p)


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The binary cross entropy of each position, averaged over labels: float32 [n], in nats, with gradient.

    Args:
        logits: float [n, n_labels].
        labels: bool [n, n_labels], those that apply.
    """
    losses = binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    return losses.mean(-1)
