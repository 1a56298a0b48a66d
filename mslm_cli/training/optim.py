"""AdamW with the usual exceptions from weight decay, and a schedule with warm-up and decay."""

from collections.abc import Iterable

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


def make_optimizer(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], learning_rate: float, weight_decay: float
) -> AdamW:
    """AdamW over the parameters that require a gradient; no weight decay for vectors (biases, norms)."""
    wanted = [p for _, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def make_schedule(optimizer: AdamW, n_steps: int, warmup_share: float) -> LambdaLR:
    """A learning rate that rises linearly during warm-up, then falls linearly to zero at ``n_steps``."""
    n_warmup = round(n_steps * warmup_share)

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        return max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))

    return LambdaLR(optimizer, factor)
