"""The last layer of an encoder, computed only at positions whose output is used.

Every position still has a key and a value; only the wanted positions have a query and the layers after attention.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.distilbert.modeling_distilbert import TransformerBlock
from transformers.models.electra.modeling_electra import ElectraLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from mslm_cli.training.selection import Selection

_BERT_LIKE = (BertLayer, ElectraLayer, RobertaLayer, XLMRobertaLayer)


@contextmanager
def last_layer_at(encoder: nn.Module, selection: Selection) -> Iterator[bool]:
    """Within the block, ``encoder`` returns only the wanted states, [1, n_wanted, hidden], if supported.

    Yields whether it is supported: not if a norm follows the last layer (ModernBERT), nor with relative positions
    (DeBERTa).
    """
    layer = last_layer(encoder)
    if layer is None or not len(selection.wanted):
        yield False
        return
    # shadows the method of the class until it is deleted
    layer.forward = partial(_forward_at, layer, selection)
    try:
        yield True
    finally:
        del layer.forward


def _forward_at(
    layer: nn.Module,
    selection: Selection,
    hidden: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *_: Any,
    **more: Any,
) -> torch.Tensor:
    forward = _bert_like if isinstance(layer, _BERT_LIKE) else _distilbert
    more = {name: value for name, value in more.items() if value is not None}
    return forward(layer, hidden, attention_mask, selection, more)[None]


def is_bert_like(encoder: nn.Module) -> bool:
    """Whether ``encoder`` has layers of the BERT architecture."""
    return isinstance(last_layer(encoder), _BERT_LIKE)


def last_layer(encoder: nn.Module) -> nn.Module | None:
    """The last layer of ``encoder``, if it can be computed at selected positions only, else None."""
    return next(iter(_layers(encoder)[-1:]), None)


def inner_layers(encoder: nn.Module) -> list[nn.Module]:
    """The layers of ``encoder`` but the last, if that can be computed at selected positions only, else none."""
    return _layers(encoder)[:-1]


def _layers(encoder: nn.Module) -> list[nn.Module]:
    for name, module in encoder.named_children():
        layers = getattr(module, "layer", None)
        if name in ("encoder", "transformer") and isinstance(layers, nn.ModuleList):
            return list(layers) if type(layers[-1]) in (*_BERT_LIKE, TransformerBlock) else []
    return []


def _bert_like(
    layer: Any, hidden: torch.Tensor, mask: torch.Tensor | None, selection: Selection, more: dict[str, Any]
) -> torch.Tensor:
    inner, at = layer.attention.self, hidden.flatten(0, 1)[selection.wanted]
    mixed = _attention(inner, inner.query(at), inner.key(hidden), inner.value(hidden), mask, selection, more)
    attended = layer.attention.output(mixed, at)
    output: torch.Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _distilbert(
    layer: Any, hidden: torch.Tensor, mask: torch.Tensor | None, selection: Selection, more: dict[str, Any]
) -> torch.Tensor:
    inner, at = layer.attention, hidden.flatten(0, 1)[selection.wanted]
    mixed = _attention(inner, inner.q_lin(at), inner.k_lin(hidden), inner.v_lin(hidden), mask, selection, more)
    attended = layer.sa_layer_norm(inner.out_lin(mixed) + at)
    output: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return output


def _attention(
    inner: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    selection: Selection,
    more: dict[str, Any],
) -> torch.Tensor:
    """The attention output at the wanted positions: float [n_wanted, hidden].

    Args:
        query: float [n_wanted, hidden]; padded to [n, maximum of wanted per row] for the attention.
        key, value: float [n, longest, hidden].
        mask: bool [n, 1, longest, longest], true where attention is allowed; None for everywhere.
    """
    n, longest, _ = key.shape
    at = selection.rows, selection.slots
    spread = query.new_zeros(n, selection.width, query.shape[-1]).index_put(at, query)
    if mask is not None:
        place = selection.wanted % longest
        places = place.new_zeros(spread.shape[:2]).index_put(at, place)
        mask = mask[torch.arange(n, device=place.device)[:, None], :, places].transpose(1, 2)
    if selection.query_starts is not None:
        more["query_starts"] = selection.query_starts
    heads = (t.view(*t.shape[:2], -1, inner.attention_head_size).transpose(1, 2) for t in (spread, key, value))
    interface: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[inner.config._attn_implementation]
    dropout = inner.dropout.p if inner.training else 0.0
    mixed, _ = interface(inner, *heads, mask, dropout=dropout, scaling=inner.scaling, **more)
    output: torch.Tensor = mixed.flatten(2)[at]
    return output
