"""Word embeddings and decoders that accumulate the gradient of their weights in place.

This gradient is the model's largest. Autograd allocates it in every backward pass, once for each of the two, and then
adds them up, which takes much of the time and memory of a short pass.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel


def _gradient_of(weight: nn.Parameter) -> torch.Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
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
        _gradient_of(ctx.weight).index_add_(0, ids, of_states)
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
