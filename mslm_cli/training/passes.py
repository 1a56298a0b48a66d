"""How the passes of training steps run: the precision of weights and activations, and compiled layers.

Outside of ``Passes.running`` a model is what it was: parameters in fp32, no compiled layers.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from mslm_cli.training.device import autocast
from mslm_cli.training.flops import Cost
from mslm_cli.training.graphs import PassGraphs
from mslm_cli.training.last_layer import inner_layers

WORTH_COMPILING = 5e16
"""Operations of a run for which compiling pays: an H100 takes two minutes or more for them."""


def compiler(option: str, model: PreTrainedModel, n_tokens: int) -> str:
    """The backend to compile layers with in a run over ``n_tokens`` tokens, from the option; empty for none."""
    is_long = Cost.of(model).each * n_tokens >= WORTH_COMPILING
    return "inductor" if option == "auto" and model.device.type == "cuda" and is_long else ""


class _Copy(NamedTuple):
    """A copy of a parameter in half precision, and the modules and names under which they have it."""

    leaf: nn.Parameter
    places: tuple[tuple[nn.Module, str], ...]


class Passes:
    """Runs the passes of ``model``.

    With copies, passes use copies of the parameters in ``dtype``, so that nothing is converted within a pass and
    activations are half as large; the optimizer works on the parameters in fp32. Without, autocast converts what a
    matrix product takes.

    Args:
        dtype: of matrix products.
        compile_with: the backend of ``torch.compile`` for the encoder's layers but the last; empty for none.
        has_graphs: record the passes of microbatches that can be recorded, if there are copies.

    Source: Micikevicius et al. (2018), "Mixed Precision Training", section 3.1, for the fp32 parameters.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        dtype: torch.dtype,
        *,
        has_copies: bool = False,
        compile_with: str = "",
        has_graphs: bool = False,
    ) -> None:
        self._model = model
        self.device, self._dtype = next(model.parameters()).device, dtype
        self._copies = _copies(model, dtype) if has_copies else {}
        self._layers = inner_layers(model.base_model) if compile_with else []
        options: dict[str, Any] = {"dynamic": True, "backend": compile_with}
        self._compiled = [torch.compile(layer._call_impl, **options) for layer in self._layers]
        leaves = map(self.leaf, model.parameters())
        self._graphs = PassGraphs(self._run, leaves) if has_graphs and has_copies else None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is compiled or recorded."""
        return not self._layers and self._graphs is None

    def run_plainly(self) -> None:
        """Compile and record nothing from now on."""
        self._layers, self._compiled, self._graphs = [], [], None

    def run(self, microbatch: Any) -> torch.Tensor:
        """The forward and backward pass of a microbatch of the training loop.

        Returns:
            Its loss, then what it reports: float64 [1 + k].
        """
        if self._graphs and getattr(microbatch, "graph_key", None) is not None:
            return self._graphs.run(microbatch)
        return self._run(microbatch)

    def _run(self, microbatch: Any) -> torch.Tensor:
        with self.running():
            part = microbatch.loss(self._model)
        part.backward()
        found = part.detach().double().reshape(1)
        return found if microbatch.reported is None else torch.cat([found, microbatch.reported])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block, forward passes of the model are those of training."""
        with ExitStack() as stack:
            for parameter, copy in self._copies.items():
                for module, name in copy.places:
                    module._parameters[name] = copy.leaf
                    stack.callback(module._parameters.__setitem__, name, parameter)
            for layer, compiled in zip(self._layers, self._compiled, strict=True):
                # what nn.Module.compile sets
                layer._compiled_call_impl = compiled
                stack.callback(setattr, layer, "_compiled_call_impl", None)
            if not self._copies:
                stack.enter_context(autocast(self.device, self._dtype))
            yield

    def leaf(self, parameter: nn.Parameter) -> nn.Parameter:
        """What gets the gradient of ``parameter`` in a backward pass."""
        copy = self._copies.get(parameter)
        return copy.leaf if copy else parameter

    def collect_gradients(self, parameters: Iterable[nn.Parameter] | None = None) -> None:
        """Add the gradients of a backward pass to those of the parameters, by default of all."""
        leaves = [(p, self.leaf(p)) for p in (self._copies if parameters is None else parameters)]
        new = [(p, leaf) for p, leaf in leaves if leaf is not p and leaf.grad is not None]
        for parameter, leaf in new:
            gradient = leaf.grad.to(parameter.dtype)  # type: ignore[union-attr]  # chosen above
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            leaf.grad = None

    def drop_gradients(self) -> None:
        """Forget gradients that were not collected."""
        for copy in self._copies.values():
            copy.leaf.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """Take over the parameters after an optimizer step."""
        if self._copies:
            torch._foreach_copy_([copy.leaf for copy in self._copies.values()], list(self._copies))


def _copies(model: nn.Module, dtype: torch.dtype) -> dict[nn.Parameter, _Copy]:
    """A copy of each parameter; those that several modules share have one."""
    places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(parameter, []).append((module, name))
    return {
        p: _Copy(nn.Parameter(p.detach().to(dtype, copy=True), requires_grad=p.requires_grad), tuple(where))
        for p, where in places.items()
    }
