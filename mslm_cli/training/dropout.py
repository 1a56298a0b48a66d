"""Dropout that costs little on a CPU.

Torch draws a float for each element there. Two random bytes are enough: they round the dropped share to the next
1/65536. One byte per element is kept for the backward pass.
"""

from typing import Any

import torch
from torch import nn

_N = 2**16


def drawn(shape: torch.Size, share: float) -> torch.Tensor:
    """Keep-mask: each element is dropped with probability ``share``; bool of ``shape``, from torch's own generator."""
    n = shape.numel()
    bits = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n]
    return (bits >= round(share * _N) - _N // 2).view(shape)


def scale(share: float) -> float:
    """The factor for elements that are kept, so that the mean stays the same."""
    return _N / (_N - round(share * _N))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, share: float) -> torch.Tensor:
        kept = drawn(states.shape, share)
        ctx.save_for_backward(kept)
        ctx.scale = scale(share)
        return (states * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradients[0] * kept).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """``nn.Dropout``, fast on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(input)
        dropped: torch.Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return dropped


def replace_dropout(model: nn.Module) -> None:
    """Have ``model`` use the fast dropout, in place."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
