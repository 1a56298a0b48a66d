"""Query, key and value of all positions in one matrix product, in layers of the BERT architecture."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.electra.modeling_electra import ElectraSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaSelfAttention
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaSelfAttention


def _forward(
    self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any
) -> tuple[torch.Tensor, None]:
    """The attention output: float [n, longest, hidden]; the weights are not returned.

    Parameters stay apart, so that checkpoints are those of plain transformers; to join them takes a copy as large as
    the weights.
    """
    projections = self.query, self.key, self.value
    weight, bias = (torch.cat([getattr(p, name) for p in projections]) for name in ("weight", "bias"))
    joint = functional.linear(hidden_states, weight, bias)
    heads = joint.view(*joint.shape[:-1], 3, -1, self.attention_head_size).unbind(-3)
    interface: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
    dropout = self.dropout.p if self.training else 0.0
    mixed, _ = interface(
        self, *(t.transpose(1, 2) for t in heads), attention_mask, dropout=dropout, scaling=self.scaling, **options
    )
    return mixed.flatten(2), None


_JOINT: dict[type[nn.Module], type[nn.Module]] = {
    plain: type(f"Joint{plain.__name__}", (plain,), {"forward": _forward})
    for plain in (BertSelfAttention, ElectraSelfAttention, RobertaSelfAttention, XLMRobertaSelfAttention)
}


def join_projections(model: PreTrainedModel) -> None:
    """Make ``model`` compute query, key and value in one product, in place, where its layers are known.

    Not with eager attention, which is no registered function.
    """
    if model.config._attn_implementation not in ALL_ATTENTION_FUNCTIONS:
        return
    for module in model.modules():
        if type(module) in _JOINT:
            module.__class__ = _JOINT[type(module)]
