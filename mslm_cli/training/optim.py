"""AdamW with the usual exceptions from weight decay, and a schedule with warm-up and decay."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

_NONE: Mapping[str, float] = MappingProxyType({})


def make_optimizer(
    parameters: Iterable[tuple[str, torch.nn.Parameter]],
    learning_rate: float,
    weight_decay: float,
    factors: Mapping[str, float] = _NONE,
) -> AdamW:
    """AdamW over the parameters that require a gradient; no weight decay for vectors (biases, norms).

    Args:
        factors: factors on the learning rate of some parameters, by name. Groups without one come first.
    """
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups.setdefault((factors.get(name, 1.0), parameter.ndim > 1), []).append(parameter)
    ordered = sorted(groups, key=lambda key: (key[0] != 1.0, -key[0], not key[1]))
    options = [
        {"params": groups[key], "lr": learning_rate * key[0], "weight_decay": weight_decay if key[1] else 0.0}
        for key in ordered
    ]
    return AdamW(options, lr=learning_rate, fused=True)


def layer_factors(model: PreTrainedModel, decay: float) -> dict[str, float]:
    """Factors on the learning rates of the encoder's parameters, by name: ``decay`` ** (layers above).

    Embeddings lie below the first layer; what follows the last one has its rate. Parameters of the head have no factor.

    Source: Howard and Ruder 2018 (ULMFiT), section 3.2, discriminative fine-tuning.
    """
    if decay == 1.0:
        return {}
    n_layers: int = model.config.num_hidden_layers
    encoder = model.base_model
    layers = next(
        name
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    )
    depths: dict[int, int] = {}
    depth = 0
    for name, parameter in encoder.named_parameters():
        if name.startswith(f"{layers}."):
            depth = 1 + int(name[len(layers) + 1 :].partition(".")[0])
        depths[id(parameter)] = depth  # what follows the last layer keeps its depth
    of_encoder = ((name, depths[id(p)]) for name, p in model.named_parameters() if id(p) in depths)
    return {name: decay ** (n_layers - depth) for name, depth in of_encoder}


def make_schedule(optimizer: AdamW, n_steps: int, warmup_share: float, *, min_warmup: int = 0) -> LambdaLR:
    """A learning rate that rises linearly during warm-up, then falls linearly to zero at ``n_steps``.

    Args:
        min_warmup: the least number of steps of warm-up, at most half of ``n_steps``.
    """
    n_warmup = max(round(n_steps * warmup_share), min(min_warmup, n_steps // 2))

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        return max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))

    return LambdaLR(optimizer, factor)
