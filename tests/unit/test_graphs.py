"""Batches in a fixed shape change no gradient, and a pass recorded once serves all batches of its shape.

Without CUDA a recorded pass is stood for by one that computes again from the tensors that it was recorded with.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training import fixed_shapes, graphs
from mslm_cli.training.batching import Collator, Targets, pack
from mslm_cli.training.fixed_shapes import fix_targets, pack_fixed
from mslm_cli.training.loop import MicrobatchOptions, StepResult, TrainState, train
from mslm_cli.training.masked import MaskedBatch, MaskedData, Objectives, add_heads
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.selection import Selection

CPU = torch.device("cpu")
SHAPES = {"_TOKENS": 64, "_SEQUENCES": 16, "_TARGETS": 32}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in SHAPES.items():
        monkeypatch.setattr(fixed_shapes, name, size)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Passes are "recorded" on the CPU; a list with an item for each."""
    made: list[int] = []

    def record(run: Callable[[], torch.Tensor], between: Any, pool: Any) -> tuple[Callable[[], None], torch.Tensor]:
        run()
        between()
        result = run()
        made.append(1)
        gradients = {leaf: leaf.grad for leaf in between.__self__._leaves if leaf.grad is not None}

        def replay() -> None:
            between()
            result.copy_(run())
            for leaf, gradient in gradients.items():
                gradient.copy_(leaf.grad)

        return replay, result

    monkeypatch.setattr(graphs, "record", record)
    return made


def steps(
    chain: Path, layout: Collator, *, has_graphs: bool, objectives: Objectives | None = None
) -> tuple[list[StepResult[MaskedBatch]], torch.Tensor]:
    """The results and the weights after six steps of `mslm adapt`."""
    objectives = objectives or Objectives()
    model, _ = load_masked_lm(chain / "encoder", allow_pickle=False, seed=0)
    add_heads(model, objectives, 8, 0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # what is random depends on the shape
    reader = ShardReader(chain / "shards")
    data = MaskedData(reader, kind_weights("ratio:3", 1, 1), objectives, layout, CPU)
    optimizer = make_optimizer(model.named_parameters(), 1e-3, 0.0)
    state = TrainState(model, optimizer, make_schedule(optimizer, 6, 0.1))
    updates = (data.update(reader.epoch(0), np.arange(8 * i, 8 * (i + 1))) for i in range(6))
    options = MicrobatchOptions(10_000, has_copies=True, has_graphs=has_graphs)
    found = list(train(state, updates, 1.0, options))
    return found, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("has_graphs", [False, True])
def test_fixed_shapes_and_recorded_passes_change_nothing(chain: Path, recorded: list[int], has_graphs: bool) -> None:
    expected, weights = steps(chain, partial(pack, with_mask=True), has_graphs=False)
    found, same_weights = steps(chain, partial(pack_fixed, with_mask=True), has_graphs=has_graphs)
    for step, other in zip(found, expected, strict=True):
        assert step.loss == pytest.approx(other.loss, rel=1e-5)
        assert step.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
        assert step.reported == pytest.approx(other.reported, rel=1e-5)
    assert float((same_weights - weights).norm() / weights.norm()) < 1e-4
    assert len(recorded) == 0 if not has_graphs else 0 < len(recorded) < len(found)


def test_a_pass_serves_no_batch_with_another_longest_sequence(recorded: list[int]) -> None:
    """Attention kernels take its length as a number, not as an array."""

    class Batch(NamedTuple):
        values: torch.Tensor
        longest: int

        @property
        def graph_key(self) -> int:
            return self.longest

        def mapped(self, convert: Callable[[Any], Any]) -> "Batch":
            return self._replace(values=convert(self.values))

    passes = graphs.PassGraphs(lambda batch: batch.values * batch.longest, [])
    batches = [Batch(torch.tensor([2.0]), longest) for longest in (256, 512, 256)]
    assert [passes.run(batch).item() for batch in batches] == [512.0, 1024.0, 512.0]
    assert len(recorded) == 2


def test_other_objectives_are_not_recorded(chain: Path, recorded: list[int]) -> None:
    several = Objectives(sbo=0.5, detect=0.5)
    expected, weights = steps(chain, partial(pack, with_mask=True), has_graphs=False, objectives=several)
    found, same = steps(chain, partial(pack_fixed, with_mask=True), has_graphs=True, objectives=several)
    assert not recorded
    assert [s.loss for s in found] == pytest.approx([s.loss for s in expected], rel=1e-5)
    assert float((same - weights).norm() / weights.norm()) < 1e-4


def test_a_pass_that_cannot_be_recorded_runs_as_it_is(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", fails)
    found, weights = steps(chain, partial(pack_fixed, with_mask=True), has_graphs=True)
    expected, plain = steps(chain, partial(pack_fixed, with_mask=True), has_graphs=False)
    assert [s.loss for s in found] == [s.loss for s in expected]
    assert torch.equal(weights, plain)
    assert capsys.readouterr().err.count("recorded as CUDA graphs: operation not permitted") == 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 9))
def test_shapes_are_few_and_what_is_added_has_no_weight(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_tokens = sum(lengths)
    ids = rng.integers(5, 25, n_tokens).astype(np.int32)
    batch = pack_fixed(ids, np.array(lengths), first_position=2)
    positions = np.sort(rng.choice(n_tokens, rng.integers(1, n_tokens + 1), replace=False))
    weights = rng.random(len(positions)).astype(np.float32)
    targets = Targets(positions, ids[positions].astype(np.int64), weights, 7.0)
    selection, fixed = fix_targets(batch, Selection.of(batch, positions), targets)
    n, size = len(positions), batch.inputs["input_ids"].shape[1]
    assert size % SHAPES["_TOKENS"] == 0
    assert n_tokens < size <= n_tokens + SHAPES["_TOKENS"]
    assert batch.inputs["input_ids"][0, :n_tokens].tolist() == ids.tolist()
    assert batch.inputs["position_ids"].max() < 2 + max(lengths)
    starts, queries = batch.inputs["sequence_starts"], selection.query_starts
    assert queries is not None
    assert (len(starts) - 1) % SHAPES["_SEQUENCES"] == 0
    assert starts[: len(lengths) + 1].tolist() == [0, *np.cumsum(lengths).tolist()]
    assert set(starts[len(lengths) + 1 :].tolist()) == {size}
    assert batch.inputs["longest_sequence"] >= int(np.diff(starts).max())
    for i in range(len(starts) - 1):  # each query is of the sequence in which its position is
        mine = selection.wanted[queries[i] : queries[i + 1]]
        assert ((starts[i] <= mine) & (mine < starts[i + 1])).all()
    assert queries[-1] == len(selection.wanted) == selection.width == selection.n_positions
    assert selection.wanted[selection.index][:n].tolist() == positions.tolist()
    assert len(selection.wanted) % SHAPES["_TARGETS"] == 0
    assert np.allclose(fixed.weights[:n], weights / 7.0)
    assert not fixed.weights[n:].any()
    assert fixed.total_weight == 1.0
    assert len(fixed.classes) == len(fixed.weights) == len(selection.wanted)


def test_memory_that_recording_takes_is_given_back_first(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Graphs keep memory of their own: without them there may be enough for passes of the same size."""

    def record(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graphs, "record", record)
    layout = partial(pack_fixed, with_mask=True)
    expected, _ = steps(chain, layout, has_graphs=False)
    found, _ = steps(chain, layout, has_graphs=True)
    assert [len(s.microbatches) for s in found] == [len(s.microbatches) for s in expected]
    said = capsys.readouterr().err
    assert said.count("recorded as CUDA graphs: out of memory") == 1
    assert "at most" not in said
