"""The device, its precision and its threads."""

import platform
import warnings
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import transformers
from torch.backends import mkldnn
from transformers import PreTrainedModel

from mslm_cli.errors import UnavailableError
from mslm_cli.training import ranks


def pick(name: str, *, threads: int = 0) -> torch.device:
    """The device to train on; ``auto`` takes CUDA where it is present. ``threads`` > 0 sets CPU threads.

    Raises:
        UnavailableError: CUDA is asked for and not there.
    """
    if threads:
        torch.set_num_threads(threads)
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UnavailableError("--device cuda: torch sees no CUDA device", hint="use --device cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def choose_gpu(number: int) -> None:
    """Let this process see one GPU alone, the ``number``-th (round and round), where there are several.

    To be called before anything is computed on one.
    """
    n_gpus = torch.cuda.device_count()
    if n_gpus > 1:
        torch.cuda.set_device(number % n_gpus)


def place(model: torch.nn.Module, device: torch.device) -> None:
    """Move ``model`` to ``device``, in place."""
    torch.nn.Module.to(model, device)


def for_inference(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """``model`` on ``device``, for predictions alone: it can be neither trained nor saved any more.

    On CPU its matrix products are those of oneDNN, which on AMD processors are twice as fast as MKL's.
    """
    place(model, device)
    model.train(False)
    if device.type != "cpu" or not mkldnn.is_available():  # type: ignore[no-untyped-call]  # as below
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which it uses inside
        from torch.utils.mkldnn import to_mkldnn

        converted: PreTrainedModel = to_mkldnn(model)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return converted


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in bf16 on CUDA; on CPU everything stays fp32."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def numerics(device: torch.device) -> dict[str, str]:
    """What decides the last bits of a run, apart from seeds: libraries, processes, threads, CPU capability, device."""
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "processes": str(ranks.n_ranks()),
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
