"""Fast dropout on CPU.

Torch draws a float for each element. Two random bytes are enough: they round the rate to a multiple of 1/65536. One
byte per element is kept for the backward pass.
"""

from typing import Any

import torch
from torch import nn

_N = 2**16


def drawn(shape: torch.Size, rate: float) -> torch.Tensor:
    """Keep-mask: each element is dropped with probability ``rate``; bool of ``shape``, from torch's generator."""
    n = shape.numel()
    bits = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n]
    return (bits >= round(rate * _N) - _N // 2).view(shape)


def scale(rate: float) -> float:
    """The factor for kept elements that preserves the mean."""
    return _N / (_N - round(rate * _N))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, rate: float) -> torch.Tensor:
        kept = drawn(states.shape, rate)
        ctx.save_for_backward(kept)
        ctx.scale = scale(rate)
        return (states * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradients[0] * kept).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """A faster ``nn.Dropout`` for CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(input)
        dropped: torch.Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return dropped


def replace_dropout(model: nn.Module) -> None:
    """Make ``model`` use the fast dropout, in place."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
