"""Optimizer steps over several sources."""

from itertools import chain

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from mslm_cli.training.batching import plan_steps
from mslm_cli.training.mixing import Companion, plan_epochs
from mslm_cli.training.schedule import Schedule

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def sources(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """The length and the origin of each sequence, of one to four sources."""
    counts = [draw(st.integers(1, 30)) for _ in range(draw(st.integers(1, 4)))]
    lengths = draw(st.lists(st.integers(3, 60), min_size=sum(counts), max_size=sum(counts)))
    return np.array(lengths), np.repeat(np.arange(len(counts)), counts)


@given(sources(), SEEDS, st.integers(1, 4), st.integers(20, 300))
def test_the_training_data_are_planned_as_if_alone(data, seed: int, epochs: int, tokens: int) -> None:
    lengths, origins = data
    companions = [Companion(int(i), 1.0, epochs) for i in np.unique(origins[origins > 0])]
    plans = plan_epochs(lengths, origins, companions, Schedule(epochs, tokens, 0), seed)
    own = lengths[origins == 0]
    for epoch, plan in enumerate(plans):
        alone = plan_steps(own, tokens, seed=seed, epoch=epoch)
        assert [step[origins[step] == 0].tolist() for step in plan] == [step.tolist() for step in alone]


@given(sources(), SEEDS, st.integers(1, 4), st.sampled_from([0.5, 1.0, 2.0]))
def test_companions_keep_their_share_and_come_evenly(data, seed: int, epochs: int, ratio: float) -> None:
    lengths, origins = data
    numbers = np.unique(origins[origins > 0]).tolist()
    plans = plan_epochs(
        lengths, origins, [Companion(i, ratio, epochs) for i in numbers], Schedule(epochs, 100, 0), seed
    )
    for number in numbers:
        n_own = n_companion = 0
        counts = np.zeros(len(lengths), dtype=int)
        for step in chain.from_iterable(plans):
            n_own += lengths[step[origins[step] == 0]].sum()
            n_companion += lengths[step[origins[step] == number]].sum()
            assert 0 <= n_companion - ratio * n_own < lengths[origins == number].max()
            np.add.at(counts, step, 1)
            of_it = counts[origins == number]
            assert of_it.max() - of_it.min() <= 1


@example((np.array([3, 3, 6]), np.array([0, 1, 2])), 0, 2, 2)
@given(sources(), SEEDS, st.integers(1, 5), st.integers(0, 5))
def test_a_companion_takes_part_in_the_first_epochs_only(data, seed: int, epochs: int, mixed: int) -> None:
    lengths, origins = data
    numbers = np.unique(origins[origins > 0]).tolist()
    plans = plan_epochs(lengths, origins, [Companion(i, 1.0, mixed) for i in numbers], Schedule(epochs, 100, 0), seed)
    for epoch, plan in enumerate(plans):
        found = set(origins[np.concatenate(plan)].tolist())
        assert 0 in found
        assert found <= {0, *(numbers if epoch < mixed else [])}
        # later on, one whose last sequence was long may be ahead by more than an epoch
        assert epoch or not mixed or found == {0, *numbers}
