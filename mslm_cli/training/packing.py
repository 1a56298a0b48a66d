"""Packing: sequences concatenated in one row without padding, with attention only within each sequence.

On CUDA this uses variable-length attention; elsewhere a mask, which is just as exact but slow.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from mslm_cli import console
from mslm_cli.training.batching import Collator, pack, pad
from mslm_cli.training.fixed_shapes import pack_fixed
from mslm_cli.training.last_layer import is_bert_like

_NAME = "mslm_packed"


def make_collator(model: PreTrainedModel, pad_id: int, dtype: torch.dtype, *, is_small: bool = False) -> Collator:
    """The collator of microbatches for ``model``: packed if that is known to work, else padded.

    Args:
        dtype: the dtype of matrix products.
        is_small: whether steps are so small that passes are recorded as CUDA graphs.
    """
    device = model.device
    padded = partial(pad, pad_id=pad_id)
    if device.type != "cuda" or dtype != torch.bfloat16 or not is_bert_like(model.base_model):
        return padded
    if problem := packed_attention_problem(device):
        console.warn(f"sequences are padded, not packed: {problem}")
        return padded
    AttentionInterface.register(_NAME, packed_attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
    return partial(pack_fixed if is_small else pack, first_position=first_position(model))


def first_position(model: PreTrainedModel) -> int:
    """The position id of a sequence's first token; in RoBERTa, one after that of padding."""
    padding = getattr(model.base_model.get_submodule("embeddings"), "padding_idx", None)
    return padding + 1 if isinstance(padding, int) else 0


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    sequence_starts: torch.Tensor | None = None,
    longest_sequence: int = 0,
    query_starts: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The attention output within each sequence: half precision [n, n_queries, n_heads, size].

    Args:
        query: half precision [1, n_heads, n_queries, size]; key, value: [1, n_heads, n_keys, size].
        attention_mask: bool, true where attention is allowed; only in padded batches.
        sequence_starts: int32 [n_sequences + 1], in the row of keys; None in padded batches.
        query_starts: int32 [n_sequences + 1], in the row of queries, if not all positions have one.
    """
    if sequence_starts is None:
        mixed = scaled_dot_product_attention(query, key, value, attention_mask, dropout, scale=scaling)
        return mixed.transpose(1, 2), None
    starts = sequence_starts if query_starts is None else query_starts
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))
    return _varlen(query, key, value, starts, sequence_starts, longest_sequence, dropout, scaling)[None], None


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_starts: torch.Tensor,
    key_starts: torch.Tensor,
    longest: int,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Attention within sequences: [n_queries, n_heads, size]."""
    if dropout:  # the public function does not expose the kernel's dropout
        mixed: torch.Tensor
        mixed, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, query_starts, key_starts, longest, longest, dropout, False, False, scale=scaling
        )
        return mixed
    from torch.nn.attention.varlen import varlen_attn

    found = varlen_attn(query, key, value, query_starts, key_starts, longest, longest, scale=scaling)
    assert isinstance(found, torch.Tensor)
    return found


def packed_attention_problem(device: torch.device) -> str:
    """Why packed attention does not work on ``device``; empty if it does."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(48, 3, 2, 32, generator=generator).to(device, torch.bfloat16)  # as from a joint projection
    starts = torch.tensor([0, 17, 20, 48], dtype=torch.int32, device=device)
    number = torch.bucketize(torch.arange(48, device=device), starts[1:], right=True)
    mask = number[:, None] == number[None, :]
    query, key, value = (s.float().transpose(0, 1) for s in states.unbind(1))
    expected = scaled_dot_product_attention(query, key, value, mask).transpose(0, 1)
    try:
        for dropout in (0.0, 0.1):
            given = states.clone().requires_grad_()
            query, key, value = given.unbind(1)
            found = _varlen(query, key, value, starts, starts, 28, dropout, None)
            found.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if given.grad is None or not all(torch.isfinite(t).all() for t in (found, given.grad)):
                return "torch's variable-length attention has no gradient here"
            if not dropout and not torch.allclose(found.float(), expected, atol=2e-2):
                return "torch's variable-length attention gives wrong results here"
    except (ImportError, RuntimeError, AttributeError, TypeError) as error:
        return f"torch's variable-length attention does not work here: {str(error).splitlines()[0]}"
    return ""
