"""The floating-point operations of a step, compared to the peak of the device."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from mslm_cli.training import ranks
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.last_layer import last_layer

_KEYS_AND_VALUES = ("key", "value", "k_lin", "v_lin")
_N_STEPS = 10
_HEADS_OF_TRAINING = ("span_boundary_head", "detection_head", "masked_lm_head")


@dataclass(frozen=True)
class Cost:
    """Floating-point operations that forward and backward passes need; the implementation may do more.

    each: per token; wanted: per position whose state or prediction is used; pair: per pair of tokens that attend to
    each other.
    """

    each: float
    wanted: float
    pair: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Cost":
        """The cost of training ``model`` as it is; frozen parameters need no gradient."""
        encoder, last = model.base_model, last_layer(model.base_model)
        in_encoder = {id(module) for module in encoder.modules()}
        in_last = {id(m) for n, m in last.named_modules() if n.split(".")[-1] not in _KEYS_AND_VALUES} if last else ()
        each = wanted = 0.0
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name.split(".")[0] not in _HEADS_OF_TRAINING:
                flops = (6.0 if module.weight.requires_grad else 2.0) * module.weight.numel()
                if id(module) in in_encoder and id(module) not in in_last:
                    each += flops
                else:
                    wanted += flops
        is_frozen = not any(p.requires_grad for p in encoder.parameters())
        config = model.config
        return cls(each, wanted, (4.0 if is_frozen else 12.0) * config.hidden_size * config.num_hidden_layers)

    def flops(self, batches: Sequence[ModelBatch], n_wanted: int) -> float:
        """The floating-point operations of a step."""
        n_tokens = sum(int(batch.lengths.sum()) for batch in batches)
        n_pairs = sum(int((batch.lengths**2).sum()) for batch in batches)
        return self.each * n_tokens + self.wanted * n_wanted + self.pair * n_pairs


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product on ``device``; measured in well under a second."""
    size = 8192 if device.type == "cuda" else 1024
    source = torch.Generator(device).manual_seed(0)  # zeros and ones take less power than numbers do
    left, right = (torch.randn(size, size, device=device, generator=source).to(dtype) for _ in range(2))
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            started = time.perf_counter()
            float((left @ right)[0, 0])  # waits for the device
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


class Meter:
    """Measures the speed of the last ``_N_STEPS`` steps, over all processes.

    Of several, because a GPU computes a step while the host prepares the next: the time between the ends of two steps
    on the host is not the time of one on the GPU.
    """

    def __init__(self, model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> None:
        self._cost = Cost.of(model)
        self._peak = ranks.total(peak_flops(device, dtype))
        self._since = time.perf_counter()
        self._laps: deque[tuple[float, float, float]] = deque(maxlen=_N_STEPS)

    def restart(self) -> None:
        """Ignore the time since the last step."""
        self._since = time.perf_counter()

    def lap(self, batches: Sequence[ModelBatch], n_wanted: int) -> dict[str, float]:
        """Tokens of the step just done; tokens per second and model FLOPs utilisation (MFU) of the last steps."""
        now = time.perf_counter()
        duration_s, self._since = now - self._since, now
        own = [sum(int(b.lengths.sum()) for b in batches), self._cost.flops(batches, n_wanted)]
        n_tokens, flops = ranks.totals(own)
        self._laps.append((duration_s, n_tokens, flops))
        all_s, all_tokens, all_flops = map(sum, zip(*self._laps, strict=True))
        used = all_flops / all_s / self._peak
        return {"n_tokens": int(n_tokens), "tokens_per_s": round(all_tokens / all_s, 1), "mfu": round(used, 3)}
