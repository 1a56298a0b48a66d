"""The device, its precision and its threads."""

import platform
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from mslm_cli.errors import UnavailableError
from mslm_cli.training import ranks
from mslm_cli.training.attention import use_cpu_attention
from mslm_cli.training.dropout import replace_dropout
from mslm_cli.training.gradients import add_gradients_in_place


def select_device(name: str, *, threads: int = 0) -> torch.device:
    """The device to train on; ``auto`` takes CUDA where it is present. ``threads`` > 0 sets CPU threads.

    Raises:
        UnavailableError: CUDA is requested but not available.
    """
    if threads:
        torch.set_num_threads(threads)
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UnavailableError("--device cuda: torch sees no CUDA device", hint="use --device cpu")
    return torch.device("cuda", torch.cuda.current_device()) if has_cuda and name != "cpu" else torch.device("cpu")


def choose_gpu(number: int) -> None:
    """Let this process see one GPU alone, the ``number``-th (modulo their number), if there are several.

    Call it before anything is computed on one.
    """
    n_gpus = torch.cuda.device_count()
    if n_gpus > 1:
        torch.cuda.set_device(number % n_gpus)


def prepare_model(model: PreTrainedModel, device: torch.device) -> None:
    """Move ``model`` to ``device``, in place, and make it use what is fast on it."""
    torch.nn.Module.to(model, device)
    if device.type == "cpu":
        use_cpu_attention(model)
        replace_dropout(model)
        add_gradients_in_place(model)
        _use_fast_products()


def _use_fast_products() -> None:
    """Have torch multiply matrices with oneDNN, which uses all that a processor of any make has, where that is exact.

    The only way to ask for it is to allow less precision. It makes use of that on processors with units for bf16
    matrices; the first line would show it: 1 + 1/4096 is no bf16 number.
    """
    torch.set_float32_matmul_precision("medium")
    numbers = torch.full((128, 128), 1 + 2.0**-12)
    if not torch.equal(numbers @ torch.eye(128), numbers):
        torch.set_float32_matmul_precision("highest")


def precision(name: str, device: torch.device) -> torch.dtype:
    """What to multiply matrices in: fp32 or bf16; ``auto`` takes bf16 where the device has instructions for it."""
    return torch.bfloat16 if name == "bf16" or (name == "auto" and _has_bf16(device)) else torch.float32


def _has_bf16(device: torch.device) -> bool:
    """Without instructions for it, a CPU is tens of times slower in bf16 than in fp32."""
    return device.type == "cuda" or any(torch.cpu.get_capabilities().get(k) for k in ("amx_bf16", "avx512_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """A context in which matrix products run in ``dtype``; parameters and what needs range stay fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def predicting(device: torch.device) -> AbstractContextManager[object]:
    """``autocast`` for predictions, which are to be the same on every CPU: bf16 on CUDA alone."""
    return autocast(device, torch.bfloat16 if device.type == "cuda" else torch.float32)


def numerics(device: torch.device) -> dict[str, str]:
    """What decides the last bits of a run, apart from seeds: libraries, processes, threads, CPU capability, device."""
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "processes": str(ranks.n_ranks()),
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": str(_has_bf16(device)),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
