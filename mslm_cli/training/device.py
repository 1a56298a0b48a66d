"""The device, its precision and CPU threads."""

import platform
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from mslm_cli.errors import UnavailableError
from mslm_cli.training import ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def select_device(name: str, *, threads: int = 0) -> torch.device:
    """The device to train on; ``auto`` prefers CUDA. ``threads`` > 0 sets the number of CPU threads.

    Raises:
        UnavailableError: CUDA is requested but not available.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "cpu":
        return torch.device("cpu")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UnavailableError("--device cuda: torch sees no CUDA device", hint="use --device cpu")
    return torch.device("cuda", torch.cuda.current_device()) if has_cuda else torch.device("cpu")


def choose_gpu(number: int) -> None:
    """Make GPU ``number`` (modulo the number of GPUs) the current device of this process, if there are several.

    Call it before any computation on a GPU.
    """
    n_gpus = torch.cuda.device_count()
    if n_gpus > 1:
        torch.cuda.set_device(number % n_gpus)


def prepare_model(model: "PreTrainedModel", device: torch.device) -> None:
    """Move ``model`` to ``device`` in place, and switch it to operations that are faster there."""
    # they import transformers, which takes seconds; prediction may do without
    from mslm_cli.training.attention import use_cpu_attention
    from mslm_cli.training.dropout import replace_dropout
    from mslm_cli.training.gradients import add_gradients_in_place
    from mslm_cli.training.joint_projection import join_projections

    torch.nn.Module.to(model, device)
    if device.type == "cuda":
        join_projections(model)
    else:
        use_cpu_attention(model)
        replace_dropout(model)
        add_gradients_in_place(model)
        use_fast_matmul()


def use_fast_matmul() -> None:
    """Make torch use oneDNN for matrix products, which is fast on CPUs of any vendor, if the results stay exact.

    The only way to enable it is to allow lower precision, which oneDNN uses on CPUs with bf16 matrix units. The check
    detects that: 1 + 1/4096 is not a bf16 number.
    """
    torch.set_float32_matmul_precision("medium")
    numbers = torch.full((128, 128), 1 + 2.0**-12)
    if not torch.equal(numbers @ torch.eye(128), numbers):
        torch.set_float32_matmul_precision("highest")


def precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products, fp32 or bf16; ``auto`` uses bf16 if the device has instructions for it."""
    return torch.bfloat16 if name == "bf16" or (name == "auto" and _has_bf16(device)) else torch.float32


def _has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions; a CPU without them is tens of times slower in bf16 than in fp32."""
    if device.type == "cuda":  # devices before Ampere emulate it
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(torch.cpu.get_capabilities().get(k) for k in ("amx_bf16", "avx512_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """A context with matrix products in ``dtype``; parameters and range-sensitive operations stay in fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def require_bf16(device: torch.device) -> None:
    """Refuse predictions in bf16 without instructions for it, which take minutes for what takes seconds in fp32.

    Raises:
        UnavailableError: ``device`` has none.
    """
    if not _has_bf16(device):
        raise UnavailableError(
            "--precision bf16: this processor has no bf16 instructions (avx512_bf16, amx_bf16)",
            hint="use --precision auto",
        )


def predicting(device: torch.device) -> AbstractContextManager[object]:
    """``autocast`` for predictions: by default bf16 only on CUDA, so that they are the same on every CPU."""
    return autocast(device, torch.bfloat16 if device.type == "cuda" and _has_bf16(device) else torch.float32)


def on_cpu(precision: str) -> AbstractContextManager[object]:
    """A context in which predictions on CPU are in bf16, if that is the option; on CUDA, ``predicting`` decides."""
    return autocast(torch.device("cpu"), torch.bfloat16 if precision == "bf16" else torch.float32)


def numerics(device: torch.device, batch_tokens: str) -> dict[str, str]:
    """What affects the last bits of a run besides seeds: libraries, processes, threads, CPU capability, device.

    Args:
        batch_tokens: the option, which determines the order in which gradients are summed.
    """
    return {
        "batch tokens": batch_tokens,
        "torch": str(torch.__version__),
        "transformers": version("transformers"),
        "numpy": np.__version__,
        "processes": str(ranks.n_ranks()),
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": str(_has_bf16(device)),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
