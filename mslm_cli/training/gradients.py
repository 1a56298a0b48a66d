"""Word embeddings and decoders that accumulate the gradient of their weights in place.

This gradient is the model's largest. Autograd allocates it in every backward pass, once for each of the two, and then
adds them up, which takes much of the time and memory of a short pass. Here it stays in memory from step to step, and if
only some rows are not zero, only those are set to zero.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

_KEPT = "_kept_gradient"


class _Gradient:
    """The memory of a weight's gradient, and its rows that are not zero: int64 tensors, or None for any."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.values = torch.zeros_like(weight)
        self.rows: list[torch.Tensor] | None = []
        # what autograd adds, for example of a head that decodes with the embeddings, may be anywhere
        weight.register_post_accumulate_grad_hook(self._any)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _any(self, _weight: torch.Tensor) -> None:
        self.rows = None

    def clear(self) -> None:
        """Set all to zero."""
        if self.rows is None:
            self.values.zero_()
        for rows in self.rows or []:
            self.values.index_fill_(0, rows, 0.0)
        self.rows = []


def _gradient_of(weight: nn.Parameter, rows: torch.Tensor | None = None) -> torch.Tensor:
    """The gradient of ``weight``, zero if there is none yet, to add to: at ``rows``, by default anywhere."""
    kept: _Gradient | None = getattr(weight, _KEPT, None)
    if weight.grad is None:
        if kept is None:
            kept = _Gradient(weight)
            setattr(weight, _KEPT, kept)
        else:
            kept.clear()
        weight.grad = kept.values
    if kept is not None:
        kept.rows = None if rows is None or kept.rows is None else [*kept.rows, rows]
    return weight.grad


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: nn.Parameter) -> torch.Tensor:
        ctx.save_for_backward(states)
        ctx.weight = weight
        return functional.linear(states, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        (states,) = ctx.saved_tensors
        of_logits, weight = gradients[0], ctx.weight
        if weight.requires_grad:
            rows, columns = of_logits.flatten(0, -2).t(), states.flatten(0, -2).to(of_logits.dtype)
            if of_logits.dtype == weight.dtype:
                _gradient_of(weight).addmm_(rows, columns)
            else:
                _gradient_of(weight).add_(rows @ columns)
        is_wanted = ctx.needs_input_grad[0]
        return (of_logits @ weight.to(of_logits.dtype)).to(states.dtype) if is_wanted else None, None


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: torch.Tensor, weight: nn.Parameter, padding: int | None) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding = weight, padding
        return functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        ids = ctx.saved_tensors[0].flatten()
        of_states = gradients[0].flatten(0, -2)
        if ctx.padding is not None:
            of_states = of_states * (ids != ctx.padding)[:, None]
        _gradient_of(ctx.weight, ids).index_add_(0, ids, of_states)
        return None, None, None


class _Decoder(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = _Decode.apply(input, self.weight)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return logits if self.bias is None else logits.add_(self.bias)


class _WordEmbeddings(nn.Embedding):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = _LookUp.apply(input, self.weight, self.padding_idx)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return states


def add_gradients_in_place(model: PreTrainedModel) -> None:
    """Make the word embeddings and the decoder of ``model`` accumulate gradients in place."""
    decoder: object = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    embeddings = model.get_input_embeddings()
    if type(decoder) is nn.Linear:
        decoder.__class__ = _Decoder
    if type(embeddings) is nn.Embedding:
        embeddings.__class__ = _WordEmbeddings
