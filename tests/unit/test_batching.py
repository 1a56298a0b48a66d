from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.training.batching import max_tokens_per_microbatch, pad, plan_forward_passes, plan_steps

LENGTHS = st.lists(st.integers(1, 40), max_size=200).map(lambda x: np.array(x, dtype=np.int64))


@given(LENGTHS, st.integers(1, 200), st.integers(0, 3))
def test_an_epoch_is_a_permutation_of_all_sequences(lengths: np.ndarray, budget: int, epoch: int) -> None:
    steps = plan_steps(lengths, budget, seed=1, epoch=epoch)
    assert sorted(i for u in steps for i in u) == list(range(len(lengths)))
    assert all(len(u) for u in steps)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 3))
def test_every_step_but_one_has_its_tokens(lengths: np.ndarray, budget: int, epoch: int) -> None:
    tokens = sorted(int(lengths[u].sum()) for u in plan_steps(lengths, budget, seed=1, epoch=epoch))
    assert all(n >= 0.95 * budget for n in tokens[1:])
    assert all(n < budget + 40 for n in tokens)


def test_steps_have_the_tokens_asked_for_on_average() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=20_000)
    tokens = np.array([lengths[u].sum() for u in plan_steps(lengths, 1000, seed=0, epoch=0)])
    assert abs(tokens.mean() - 1000) < 10


def test_sequences_of_a_step_have_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=20_000)
    steps = plan_steps(lengths, 1000, seed=0, epoch=0)
    padded = sum(lengths[u].max() * len(u) for u in steps)
    assert lengths.sum() / padded > 0.97


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=500)

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(plan_steps(lengths, 300, seed=seed, epoch=epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


@given(LENGTHS, st.integers(1, 200))
def test_forward_passes_fit_and_hold_everything(lengths: np.ndarray, budget: int) -> None:
    groups = plan_forward_passes(np.arange(len(lengths)), lengths, budget)
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or lengths[group].max() * len(group) <= budget
    for group, following in pairwise(groups):
        assert lengths[following[0]] * (len(group) + 1) > budget, "or one more would fit"


def test_padding() -> None:
    ids, lengths = np.array([5, 6, 7, 8], np.int32), np.array([3, 1])
    batch = pad(ids, lengths, 0)
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert (batch.lengths.tolist(), batch.begins.tolist()) == ([3, 1], [0, 3])
    assert "attention_mask" not in pad(ids[:3], lengths[:1], 0).inputs


def test_batch_tokens() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert max_tokens_per_microbatch("4096", 512, cpu) == 4096
    assert max_tokens_per_microbatch("auto", 65_536, cpu) == max_tokens_per_microbatch("auto", 4096, cpu), (
        "a good size, whatever the step"
    )
    assert max_tokens_per_microbatch("auto", 4096, cuda) >= 4096, "all of a step, or what fits of it"
