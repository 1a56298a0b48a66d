"""The gradient of one step is that of the plain formula, however the step is split, padded or shared."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_bert
from torch import distributed
from torch.nn.functional import cross_entropy

from mslm_cli import models
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training import ranks, reduction
from mslm_cli.training.batching import Collator, pack, pad
from mslm_cli.training.loop import MicrobatchOptions, TrainState, train
from mslm_cli.training.masked import MaskedData, Objectives, add_heads
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.passes import Passes
from mslm_cli.training.reduction import GradientReducer

SEQUENCES = np.array([3, 17, 4, 40, 22, 9, 31, 55, 8, 14, 26], dtype=np.int64)
WEIGHTS = kind_weights("ratio:4", 1, 1)
PLAIN = Objectives()


@pytest.fixture(scope="module")
def folder(chain: Path, tiny_vocab: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, and an encoder with its MLM head and no dropout."""
    made = tmp_path_factory.mktemp("split")
    make_bert(made / "encoder", tiny_vocab, with_head=True, dropout=0.0)
    (made / "shards").symlink_to(chain / "shards")
    return made


def gradient(
    folder: Path,
    batch_tokens: int,
    sequences: Sequence[int] = tuple(SEQUENCES),
    objectives: Objectives = PLAIN,
    layout: Collator | None = None,
    *,
    has_copies: bool = False,
) -> torch.Tensor:
    """All gradients of one step of ``mslm adapt``, with its own loop, loss and batches: float32 [n_parameters]."""
    reader = ShardReader(folder / "shards")
    tokenizer = models.load_tokenizer(folder / "encoder")
    model, _ = load_masked_lm(folder / "encoder", allow_pickle=False, seed=0)
    add_heads(model, objectives, 2, 0)
    collate_fn = layout or partial(pad, pad_id=tokenizer.pad_token_id)
    data = MaskedData(reader, WEIGHTS, objectives, collate_fn, torch.device("cpu"))
    update = data.update(reader.epoch(0), np.array(sequences))
    found: list[torch.Tensor] = []
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)

    def keep(*_: object) -> None:
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone())

    optimizer.register_step_pre_hook(keep)
    state = TrainState(model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0))
    (step,) = train(state, [update], 1e9, MicrobatchOptions(batch_tokens, has_copies=has_copies))
    return torch.cat([found[0], torch.tensor([step.loss])])


def by_the_formula(folder: Path) -> torch.Tensor:
    """The same, from each sequence alone, the logits of all its tokens and the definition in double precision."""
    reader, masks = ShardReader(folder / "shards"), ShardReader(folder / "shards").epoch(0)
    model, _ = load_masked_lm(folder / "encoder", allow_pickle=False, seed=0)
    model.double()
    numerator, denominator = torch.zeros((), dtype=torch.float64), 0.0
    for i in SEQUENCES.tolist():
        ids, mask = reader[i].input_ids.copy(), masks[i]
        ids[mask.positions] = mask.replacements
        logits = model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0]
        for position, kind in zip(mask.positions.tolist(), mask.kinds.tolist(), strict=True):
            weight = {1: WEIGHTS.generic, 2: WEIGHTS.ds_term}[kind]
            target = torch.tensor(int(reader[i].input_ids[position]))
            numerator = numerator + weight * cross_entropy(logits[position], target)
            denominator += weight
    loss = numerator / denominator
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([*gradients, loss.detach().reshape(1)]).float()


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    assert float(found[-1]) == pytest.approx(float(expected[-1]), rel=1e-6)


@pytest.fixture(scope="module")
def expected(folder: Path) -> torch.Tensor:
    return by_the_formula(folder)


@pytest.mark.parametrize("batch_tokens", [16, 64, 100, 10_000])
def test_split_into_forward_passes_of_any_size(folder: Path, expected: torch.Tensor, batch_tokens: int) -> None:
    assert_same(gradient(folder, batch_tokens), expected)


def test_in_any_order(folder: Path, expected: torch.Tensor) -> None:
    assert_same(gradient(folder, 100, SEQUENCES[::-1].tolist()), expected)


@pytest.mark.parametrize("batch_tokens", [16, 100])
@pytest.mark.parametrize("objectives", [Objectives(sbo=0.5), Objectives(detect=0.5), Objectives(0.3, 0.7)])
def test_with_other_objectives(folder: Path, batch_tokens: int, objectives: Objectives) -> None:
    expected = gradient(folder, 10_000, objectives=objectives)
    assert len(expected) > len(gradient(folder, 10_000))
    assert_same(gradient(folder, batch_tokens, SEQUENCES[::-1].tolist(), objectives), expected)


@pytest.mark.parametrize("batch_tokens", [100, 10_000])
def test_packed_into_one_row(folder: Path, expected: torch.Tensor, batch_tokens: int) -> None:
    packed = partial(pack, with_mask=True)
    assert_same(gradient(folder, batch_tokens, layout=packed), expected)
    every = Objectives(0.3, 0.7)
    found = gradient(folder, batch_tokens, objectives=every, layout=packed)
    assert_same(found, gradient(folder, 10_000, objectives=every))


def test_the_sequences_differ_in_length_and_weight(folder: Path) -> None:
    reader = ShardReader(folder / "shards")
    assert len(set(reader.lengths[SEQUENCES].tolist())) > 2, "or nothing is padded"
    shares = [masks.kinds.mean() for i in SEQUENCES.tolist() if len((masks := reader.epoch(0)[i]).kinds)]
    assert len(set(shares)) > 2, "or a mean of means would do"


def in_ranks(n_ranks: int, folder: Path, work: Callable[[Path], None]) -> None:
    """Run ``work`` in processes that know each other through a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mslm_cli.stages.adapt"])
    processes = [context.Process(target=_in_rank, args=(rank, n_ranks, folder, work)) for rank in range(n_ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * n_ranks


def _in_rank(rank: int, n_ranks: int, folder: Path, work: Callable[[Path], None]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = distributed.FileStore(str(folder / f"store-{work.__name__}-{n_ranks}"), n_ranks)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=n_ranks)
    work(folder)
    distributed.destroy_process_group()


def save_gradients(folder: Path) -> None:
    rank = distributed.get_rank()
    for objectives in (Objectives(0.3, 0.7), PLAIN):
        torch.save(gradient(folder, 64, objectives=objectives), folder / f"all-{objectives.sbo}-{rank}.pt")
    several = [gradient(folder, 64), gradient(folder, 10_000), gradient(folder, 64, SEQUENCES[:1].tolist())]
    torch.save(several, folder / f"gradients-{rank}.pt")
    assert ranks.total(rank + 1.0) == 3.0
    assert ranks.local_share(SEQUENCES).tolist() == SEQUENCES[rank::2].tolist()


def test_shared_by_two_processes(folder: Path, expected: torch.Tensor) -> None:
    in_ranks(2, folder, save_gradients)
    first, second = (torch.load(folder / f"gradients-{rank}.pt") for rank in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other), "all processes take the same step"
    for rank in range(2):
        assert_same(torch.load(folder / f"all-0.3-{rank}.pt"), gradient(folder, 64, objectives=Objectives(0.3, 0.7)))
    assert_same(first[0], expected)
    assert_same(first[1], expected)
    # with one sequence for two processes, one of them has nothing to do
    assert_same(first[2], gradient(folder, 64, SEQUENCES[:1].tolist()))


def save_in_buckets(folder: Path) -> None:
    """The gradients, summed in many buckets, one of them after memory ran out in the middle of sending them."""
    reduction._BUCKET_BYTES = 256
    n_early, exchange_rest = [], GradientReducer.exchange_rest

    def counted(reducer: GradientReducer) -> None:
        n_early.append(len(reducer._sent))
        if len(n_early) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        exchange_rest(reducer)
        assert len(reducer._sent) > 4

    GradientReducer.exchange_rest = counted  # type: ignore[method-assign]  # this process ends soon
    rank = distributed.get_rank()
    found = [gradient(folder, 64), gradient(folder, 64, has_copies=True), gradient(folder, 64)]
    assert all(n > 2 for n in n_early), "some were sent while the pass was running"
    torch.save(found, folder / f"buckets-{rank}.pt")


def test_gradients_are_summed_while_the_pass_runs(folder: Path, expected: torch.Tensor) -> None:
    in_ranks(2, folder, save_in_buckets)
    for found in torch.load(folder / "buckets-0.pt"):
        assert_same(found, expected)
    for one, other in zip(*(torch.load(folder / f"buckets-{rank}.pt") for rank in range(2)), strict=True):
        assert torch.equal(one, other)


def test_one_process_needs_no_sum() -> None:
    model: Any = torch.nn.Linear(2, 1)
    loss = torch.tensor(3.0)
    assert ranks.total(2.5) == 2.5
    assert ranks.local_share(SEQUENCES) is SEQUENCES
    assert GradientReducer(list(model.parameters()), Passes(model, torch.float32)).finish(loss) is loss
    assert model.weight.grad is None
