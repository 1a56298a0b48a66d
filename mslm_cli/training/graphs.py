"""Passes recorded as CUDA graphs: with small steps, launching the kernels of a pass takes longer than running them."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

import torch

from mslm_cli.training.batching import Convert

_MAX_GRAPHS = 24
"""Batches in other shapes run as they are; each graph takes memory of its own for gradients."""


class Recordable(Protocol):
    """A microbatch whose passes depend on its arrays, and beside them on its key alone."""

    @property
    def graph_key(self) -> object:
        """What a pass depends on beside the arrays."""

    def mapped(self, convert: Convert) -> Self:
        """A copy with ``convert`` applied to its arrays, always in the same order."""


Run = Callable[[Any], torch.Tensor]
"""The forward and backward pass of a microbatch: leaves gradients behind, returns numbers."""


class PassGraphs:
    """Runs passes, and records the pass of each shape the first time that it comes.

    Args:
        run: the pass of a microbatch.
        leaves: what gets gradients; those of a recorded pass always lie in the same memory.
    """

    def __init__(self, run: Run, leaves: Iterable[torch.nn.Parameter]) -> None:
        self._run, self._leaves = run, list(leaves)
        # The memory that all graphs of a run share: none needs anything of another once it has run. It ends with them,
        # so another run cannot have it.
        self._pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        self._recorded: dict[tuple[object, ...], Callable[[list[torch.Tensor]], torch.Tensor]] = {}

    def run(self, microbatch: Recordable) -> torch.Tensor:
        """The numbers of the pass over ``microbatch``."""
        tensors: list[torch.Tensor] = []
        microbatch.mapped(tensors.append)
        shape = (microbatch.graph_key, *(t.shape for t in tensors))
        if shape not in self._recorded:
            if len(self._recorded) == _MAX_GRAPHS:
                return self._run(microbatch)
            self._recorded[shape] = self._record(microbatch)
        return self._recorded[shape](tensors)

    def _record(self, microbatch: Recordable) -> Callable[[list[torch.Tensor]], torch.Tensor]:
        inputs: list[torch.Tensor] = []

        def keep(tensor: Any) -> torch.Tensor:
            inputs.append(tensor.clone())
            return inputs[-1]

        kept = microbatch.mapped(keep)
        self._forget()
        replay, numbers = record(lambda: self._run(kept), self._forget, self._pool)
        gradients = [(leaf, leaf.grad) for leaf in self._leaves if leaf.grad is not None]
        self._forget()

        def again(tensors: list[torch.Tensor]) -> torch.Tensor:
            torch._foreach_copy_(inputs, tensors)
            replay()
            for leaf, gradient in gradients:
                leaf.grad = gradient
            return numbers.clone()  # the next pass writes to it

        return again

    def _forget(self) -> None:
        for leaf in self._leaves:
            leaf.grad = None


def record(
    run: Callable[[], torch.Tensor], between: Callable[[], None], pool: Any
) -> tuple[Callable[[], None], torch.Tensor]:
    """Record ``run`` on CUDA; a function that runs it again, and its result, which that overwrites.

    Args:
        between: called after each of the passes that come first, in which libraries choose kernels.
        pool: the memory to use, from ``torch.cuda.graph_pool_handle``.

    Raises:
        RuntimeError: it cannot be recorded; it still can be run.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
            between()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool):
            result = run()
    except RuntimeError:
        # a failed recording leaves the generator as if it went on, and any dropout would fail
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
        raise
    return graph.replay, result
