"""The sum of gradients over all processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import distributed
from torch.utils.hooks import RemovableHandle

from mslm_cli.training import ranks
from mslm_cli.training.passes import Passes

_BUCKET_BYTES = 25 << 20
"""As in torch's DistributedDataParallel."""


class GradientReducer:
    """Sums gradients over all processes in buckets, which begins while the last backward pass of a step still runs.

    Buckets take the parameters in reverse, about as their gradients become known, and are sent in that order by all
    processes, whatever each of them has. A bucket is sent once in a step, also if memory ran out after that and the
    pass is repeated: its sum would be the same.

    Source: Li et al. (2020), "PyTorch Distributed", section 3.2.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], passes: Passes) -> None:
        self._parameters = parameters
        self._buckets = _buckets(parameters) if ranks.n_ranks() > 1 else []
        self._sent: list[tuple[torch.Tensor, distributed.Work]] = []
        self._n_missing: list[int] = []
        self._hooks = [
            self._hook(passes, parameter, number) for number, bucket in enumerate(self._buckets) for parameter in bucket
        ]

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """The backward pass in this block is the step's last: gradients are sent as they arrive."""
        self._n_missing = [len(bucket) for bucket in self._buckets]
        try:
            yield
        finally:
            self._n_missing = []

    def exchange_rest(self) -> None:
        """Send what was not sent yet; a parameter without a gradient counts as zeros."""
        while len(self._sent) < len(self._buckets):
            self._send_next()

    def finish(self, loss: torch.Tensor) -> torch.Tensor:
        """Wait for the sums and set the gradients; returns the sum of ``loss``.

        A parameter without a gradient in any process keeps none.
        """
        if not self._buckets:
            return loss
        distributed.all_reduce(loss := loss.clone())
        # by the host alone: it does not wait for a GPU
        n_gradients = ranks.totals([float(p.grad is not None) for p in self._parameters])
        has_gradient = {p for p, n in zip(self._parameters, n_gradients, strict=True) if n}
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            work.wait()
            parts = torch.split(flat, [p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter) if parameter in has_gradient else None
        self._sent = []
        return loss

    def close(self) -> None:
        """Leave the parameters alone from now on."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, passes: Passes, parameter: torch.nn.Parameter, number: int) -> RemovableHandle:
        arrived = partial(self._arrived, passes, parameter, number)
        handle: RemovableHandle = passes.leaf(parameter).register_post_accumulate_grad_hook(arrived)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return handle

    def _arrived(self, passes: Passes, parameter: torch.nn.Parameter, number: int, _leaf: torch.Tensor) -> None:
        if self._n_missing:
            passes.collect_gradients([parameter])
            self._n_missing[number] -= 1
            while len(self._sent) < len(self._buckets) and not self._n_missing[len(self._sent)]:
                self._send_next()

    def _send_next(self) -> None:
        bucket = self._buckets[len(self._sent)]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in bucket])
        work = distributed.all_reduce(flat, async_op=True)
        assert work is not None, "it is asynchronous"
        self._sent.append((flat, work))


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """The parameters in reverse, in runs of about ``_BUCKET_BYTES`` and of one dtype."""
    buckets: list[list[torch.nn.Parameter]] = []
    n_bytes = 0
    for parameter in reversed(parameters):
        if not buckets or n_bytes >= _BUCKET_BYTES or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            n_bytes = 0
        buckets[-1].append(parameter)
        n_bytes += parameter.numel() * parameter.element_size()
    return buckets
