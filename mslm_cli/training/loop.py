"""The training loop: a generator that yields after each optimizer step.

Saving, logging and progress are up to the caller.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from mslm_cli import console
from mslm_cli.config import TrainingOptions
from mslm_cli.errors import DivergedError, UnavailableError
from mslm_cli.training import ranks
from mslm_cli.training.batching import max_tokens_per_microbatch
from mslm_cli.training.device import precision
from mslm_cli.training.passes import Passes
from mslm_cli.training.reduction import GradientReducer

EXPLODED_LOSS = 1000.0
"""In nats; guessing uniformly over a vocabulary costs about 10."""
_MIN_TOKENS = 16
SMALL_STEP = 16_384
"""Tokens; on CUDA, launching the kernels of such steps takes longer than running them (benchmarks/gpu.md)."""
MAX_SKIPPED = 10
"""Maximum number of consecutive skipped steps; beyond that the weights themselves are broken."""


class Microbatch(Protocol):
    """The data of one forward and backward pass."""

    def loss(self, model: PreTrainedModel) -> torch.Tensor:
        """Its contribution to the loss of its step, which is the sum over all microbatches and processes."""

    @property
    def reported(self) -> torch.Tensor | None:
        """Other numbers of the pass, float64 [k] on the device, after ``loss``; summed over the microbatches."""


Batch = TypeVar("Batch", bound=Microbatch)
Made = TypeVar("Made", bound=Microbatch, covariant=True)


class Update(Protocol[Made]):
    """The data of an optimizer step on this process."""

    def microbatches(self, max_tokens: int) -> Sequence[Made]:
        """The step in microbatches with at most ``max_tokens`` tokens, including padding, or a single sequence."""


@dataclass
class TrainState:
    """Everything that training changes: model, optimizer and schedule.

    n_steps: steps done. n_skipped: consecutive skipped steps up to now. max_tokens: limit for a microbatch after memory
    ran out; 0 before. passes: how passes run, once they did.
    """

    model: PreTrainedModel
    optimizer: AdamW
    schedule: LambdaLR
    n_steps: int = 0
    n_skipped: int = 0
    max_tokens: int = 0
    passes: Passes | None = None


@dataclass(frozen=True)
class StepResult(Generic[Batch]):
    """A finished optimizer step: loss, gradient norm before clipping, learning rate, microbatches.

    reported: the sum of what the microbatches of this process report.
    is_skipped: the loss or the gradient was not finite or exploded, so the weights were left unchanged.
    """

    number: int
    loss: float
    grad_norm: float
    learning_rate: float
    microbatches: Sequence[Batch]
    reported: Sequence[float]
    is_skipped: bool

    def outcome(self) -> dict[str, float | str]:
        """The entry in metrics.jsonl: loss and gradient norm, or the reason for skipping (JSON has no NaN)."""
        if self.is_skipped:
            return {"skipped": f"loss {self.loss:.4g}, gradient norm {self.grad_norm:.4g}"}
        return {"loss": round(self.loss, 5), "grad_norm": round(self.grad_norm, 4)}


@dataclass(frozen=True)
class MicrobatchOptions:
    """How to make and run the microbatches of a step.

    max_tokens: in each, including padding. dtype: of matrix products. seed: for dropout. has_copies, compile_with,
    has_graphs: of ``Passes``. reads_late: the host reads the numbers of a step when it has begun the next, so that a
    GPU never waits.
    """

    max_tokens: int
    dtype: torch.dtype = torch.float32
    seed: int = 0
    has_copies: bool = False
    compile_with: str = ""
    has_graphs: bool = False
    reads_late: bool = False

    @classmethod
    def of(cls, config: TrainingOptions, tokens_per_step: int, device: torch.device) -> "MicrobatchOptions":
        """The options from ``config``, for steps of ``tokens_per_step`` tokens."""
        max_tokens = max_tokens_per_microbatch(config.batch_tokens, tokens_per_step, device)
        dtype, is_cuda = precision(config.precision, device), device.type == "cuda"
        has_copies = is_cuda and dtype != torch.float32
        has_graphs = has_copies and tokens_per_step <= SMALL_STEP and ranks.n_ranks() == 1
        return cls(max_tokens, dtype, config.seed, has_copies=has_copies, has_graphs=has_graphs, reads_late=is_cuda)


def train(
    state: TrainState, updates: Iterable[Update[Batch]], max_grad_norm: float, options: MicrobatchOptions
) -> Iterator[StepResult[Batch]]:
    """Take an optimizer step on each of ``updates`` and yield its result.

    A step with a non-finite loss or gradient, or a loss above ``EXPLODED_LOSS``, changes no weights; data and schedule
    advance. At each yield ``state`` is that after the step.

    Raises:
        UnavailableError: there is not enough memory for a single sequence.
        DivergedError: more than ``MAX_SKIPPED`` steps in a row were skipped.
    """
    parameters = [p for p in state.model.parameters() if p.requires_grad]
    if state.max_tokens:
        options = replace(options, max_tokens=min(options.max_tokens, state.max_tokens))
    passes = state.passes = state.passes or Passes(
        state.model,
        options.dtype,
        has_copies=options.has_copies,
        compile_with=options.compile_with,
        has_graphs=options.has_graphs,
    )
    passes.update()
    reducer = GradientReducer(parameters, passes)
    waiting = iter(updates)
    unread: _Numbers[Batch] | None = None
    try:
        update = next(waiting, None)
        microbatches = _built(update, options)
        while update:
            while (found := _gradients(state, microbatches, passes, reducer, options)) is None:
                options = _with_less_memory(state, options)
                microbatches = _built(update, options)
            done = microbatches
            update = next(waiting, None)
            # built while the GPU still computes the gradients
            microbatches = _built(update, options)
            loss, reported = reducer.finish(found[0]), found[1:]
            norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            if unread:
                yield unread.read(state)
            learning_rate = float(state.schedule.get_last_lr()[0])
            with _naming_memory("updating the weights", "use a smaller encoder"):
                _step(state, loss, norm)
            passes.update()
            numbers = torch.cat([loss.reshape(1), norm.reshape(1), reported])
            unread = _Numbers.of(numbers, state.n_steps, learning_rate, done)
            if not options.reads_late:
                yield unread.read(state)
                unread = None
        if unread:
            yield unread.read(state)
    finally:
        state.optimizer.zero_grad(set_to_none=True)
        reducer.close()


@dataclass(frozen=True)
class _Numbers(Generic[Batch]):
    """The numbers of a step, on their way to the host: loss, gradient norm, and what is reported of it."""

    values: torch.Tensor
    arrived: torch.cuda.Event | None
    number: int
    learning_rate: float
    microbatches: Sequence[Batch]

    @classmethod
    def of(
        cls, values: torch.Tensor, number: int, learning_rate: float, microbatches: Sequence[Batch]
    ) -> "_Numbers[Batch]":
        """Begin to copy ``values`` to the host, which does not wait."""
        arrived = None
        if values.device.type == "cuda":
            target = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = target.copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            arrived.record()
        return cls(values, arrived, number, learning_rate, microbatches)

    def read(self, state: TrainState) -> StepResult[Batch]:
        """The result of the step, counted in ``state`` if it was skipped; the only place where the host waits.

        Raises:
            DivergedError: too many steps in a row were skipped.
        """
        if self.arrived:
            self.arrived.synchronize()
        loss, grad_norm, *reported = self.values.tolist()
        is_skipped = not (math.isfinite(grad_norm) and loss <= EXPLODED_LOSS)
        state.n_skipped = state.n_skipped + 1 if is_skipped else 0
        if state.n_skipped > MAX_SKIPPED:
            raise DivergedError(
                f"training diverged: {state.n_skipped} steps in a row were skipped, the last with loss {loss:.4g} and"
                f" gradient norm {grad_norm:.4g}",
                hint="start over with --resume never and a lower --learning-rate",
            )
        return StepResult(self.number, loss, grad_norm, self.learning_rate, self.microbatches, reported, is_skipped)


def _built(update: Update[Batch] | None, options: MicrobatchOptions) -> Sequence[Batch]:
    with _naming_memory("building batches", "use a smaller --tokens-per-step"):
        return update.microbatches(options.max_tokens) if update else []


def _with_less_memory(state: TrainState, options: MicrobatchOptions) -> MicrobatchOptions:
    """The options with microbatches half as large."""
    state.max_tokens = options.max_tokens // 2
    if state.max_tokens < _MIN_TOKENS:
        hint = "use shorter sequences (preprocess --max-length) or a smaller encoder"
        raise UnavailableError("out of memory even with one sequence at a time", hint=hint)
    console.warn(f"out of memory: continuing with at most {state.max_tokens:,} tokens in a forward pass")
    return replace(options, max_tokens=state.max_tokens)


def _step(state: TrainState, loss: torch.Tensor, norm: torch.Tensor) -> None:
    """Step the optimizer and the schedule; the device decides by itself whether to leave the weights as they are."""
    is_good = norm.isfinite() & (loss <= EXPLODED_LOSS)
    # read by the fused optimizer, as torch's gradient scaler does it
    setattr(state.optimizer, "found_inf", (~is_good).to(torch.float32))  # noqa: B010 - torch declares no such attribute
    state.optimizer.step()
    state.schedule.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.n_steps += 1


def _gradients(
    state: TrainState,
    microbatches: Sequence[Microbatch],
    passes: Passes,
    reducer: GradientReducer,
    options: MicrobatchOptions,
) -> torch.Tensor | None:
    """Compute the gradients of a step; its loss and what is reported of it, or None if memory ran out.

    Dropout is seeded for each step and process, so it depends neither on earlier attempts nor on resuming.
    """
    key = np.random.SeedSequence([options.seed, state.n_steps, ranks.rank()])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
    try:
        return _accumulated(microbatches, passes, reducer)
    except RuntimeError as error:
        is_memory = _is_out_of_memory(error)
        if passes.is_plain and not is_memory:
            raise
        problem = "out of memory" if is_memory else str(error).splitlines()[0]
    # from here on nothing refers to the graph of the microbatch that failed
    passes.drop_gradients()
    state.optimizer.zero_grad(set_to_none=True)
    _empty_cache(passes.device)
    if passes.is_plain:
        return None
    console.warn(f"passes are neither compiled nor recorded as CUDA graphs: {problem}")
    passes.run_plainly()
    return _gradients(state, microbatches, passes, reducer, options)


def _accumulated(microbatches: Sequence[Microbatch], passes: Passes, reducer: GradientReducer) -> torch.Tensor:
    """Add the gradients of ``microbatches``; their loss, then what they report, summed: float64 [1 + k].

    Gradients are exchanged between processes during the last backward pass.
    """
    total = torch.zeros((), dtype=torch.float64, device=passes.device)
    for number, microbatch in enumerate(microbatches, 1):
        with reducer.exchanging() if number == len(microbatches) else nullcontext():
            found = passes.run(microbatch)
        passes.collect_gradients()
        total = total + found
    reducer.exchange_rest()
    return total.reshape(-1)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # CPU out-of-memory errors have no class of their own
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _naming_memory(doing: str, hint: str) -> Iterator[None]:
    """Convert an out-of-memory error within the block, where smaller passes do not help.

    Raises:
        UnavailableError: memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise UnavailableError(f"out of memory while {doing}", hint=hint) from error
