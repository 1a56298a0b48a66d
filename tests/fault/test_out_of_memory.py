"""A step for which memory runs out is taken in smaller passes, and comes to what it would have come to in them."""

import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from encoders import model_batch, selection
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from mslm_cli.errors import UnavailableError
from mslm_cli.training import loop
from mslm_cli.training.batching import plan_forward_passes
from mslm_cli.training.device import prepare_model
from mslm_cli.training.loop import MicrobatchOptions, StepResult, TrainState, train
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import logits_at

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
LENGTH = 8
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@dataclass(frozen=True)
class Rows:
    """Eight rows of ``ids`` as an update; a microbatch of more than ``fits`` tokens runs out of memory."""

    ids: torch.Tensor
    fits: int
    error: RuntimeError

    def microbatches(self, max_tokens: int) -> "list[Rows]":
        groups = plan_forward_passes(np.arange(8), np.full(8, LENGTH), max_tokens)
        return [replace(self, ids=self.ids[group]) for group in groups]

    @property
    def reported(self) -> None:
        """Nothing."""

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        positions = torch.arange(0, self.ids.numel(), 4)
        if self.ids.numel() > self.fits and model.get_input_embeddings().weight.grad is not None:
            raise self.error
        batch = model_batch(self.ids, None)
        logits = logits_at(model, batch, selection(batch, positions))
        if self.ids.numel() > self.fits:
            logits.sum().backward()
            raise self.error
        return weighted_cross_entropy(logits, self.ids.flatten()[positions], torch.ones(len(positions)), 16.0)[0]


def run(
    max_tokens: int, fits: int = 10**9, error: RuntimeError = OUT_OF_MEMORY[0]
) -> tuple[torch.Tensor, list[StepResult[Rows]]]:
    """The weights after three steps, with dropout, where passes of more than ``fits`` tokens run out of memory.

    That shows after the first of them has left a gradient behind.
    """
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZE, vocab_size=50)).train()
    prepare_model(model, torch.device("cpu"))
    ids = torch.randint(5, 50, (24, LENGTH), generator=torch.Generator().manual_seed(1))
    updates = [Rows(ids[first : first + 8], fits, error) for first in (0, 8, 16)]
    optimizer = AdamW(model.parameters(), lr=0.01, fused=True)
    state = TrainState(model, optimizer, LambdaLR(optimizer, lambda _: 1.0))
    options = MicrobatchOptions(max_tokens, seed=3)
    steps = [step for part in (updates[:2], updates[2:]) for step in train(state, part, 1.0, options)]
    return torch.cat([p.detach().flatten() for p in model.parameters()]), steps


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_the_result_equals_that_of_smaller_passes(error: RuntimeError, capsys: pytest.CaptureFixture[str]) -> None:
    expected, _ = run(16)
    capsys.readouterr()
    found, steps = run(64, fits=16, error=error)
    assert torch.equal(found, expected)
    assert [len(step.microbatches) for step in steps] == [4, 4, 4]
    said = capsys.readouterr().err
    assert said.count("at most 16 tokens") == 1, "once, not in every step"
    assert said.count("out of memory") == 2
    assert not torch.equal(run(64)[0], expected), "or dropout had no part in it"


def test_the_run_ends_if_one_sequence_is_too_large() -> None:
    with pytest.raises(UnavailableError, match="one sequence at a time"):
        run(64, fits=4)


def test_other_errors_are_not_mistaken_for_it() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        run(64, fits=16, error=RuntimeError("a bug"))


@pytest.mark.parametrize("in_backward", [False, True])
def test_the_graph_is_dropped_before_memory_is_emptied(monkeypatch: pytest.MonkeyPatch, in_backward: bool) -> None:
    graphs: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, states: torch.Tensor) -> torch.Tensor:
            return states.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    class Large(Rows):
        def loss(self, model: PreTrainedModel) -> torch.Tensor:
            loss = super().loss(model)
            if self.ids.numel() > 16:
                graphs.append(weakref.ref(loss))
                if not in_backward:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                loss = Failing.apply(loss)
            return loss

    monkeypatch.setattr(loop, "_empty_cache", lambda _: alive.append(any(graph() is not None for graph in graphs)))
    model = BertForMaskedLM(BertConfig(**SIZE, vocab_size=50)).train()
    optimizer = AdamW(model.parameters(), lr=0.01, fused=True)
    state = TrainState(model, optimizer, LambdaLR(optimizer, lambda _: 1.0))
    rows = Large(torch.randint(5, 50, (8, LENGTH)), 10**9, OUT_OF_MEMORY[0])
    assert len(list(train(state, [rows], 1.0, MicrobatchOptions(64)))) == 1
    assert graphs
    assert alive == [False, False]


def test_memory_that_runs_out_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OUT_OF_MEMORY[0]

    with monkeypatch.context() as patch:
        patch.setattr(AdamW, "step", fail)
        with pytest.raises(UnavailableError, match="out of memory while updating the weights"):
            run(64)
    monkeypatch.setattr(Rows, "microbatches", fail)
    with pytest.raises(UnavailableError, match="out of memory while building batches"):
        run(64)
