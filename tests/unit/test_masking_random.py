"""The counter-based generator: its published stream, its statistics, its independence of order."""

import numpy as np
import pytest

from mslm_cli.masking.random import Purpose, child, children, sequence_keys, uniforms

N = 1_000_000


def test_child_is_the_published_splitmix64_stream() -> None:
    # first outputs of splitmix64.c (Vigna) seeded with 1234567
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [child(1234567, i) for i in range(4)] == expected


def test_arrays_give_what_single_numbers_give() -> None:
    keys = np.array([0, 1, 2**63, 2**64 - 1, 1234567], dtype=np.uint64)
    counters = np.array([0, 7, 2**31, 3, 2**40])
    assert children(keys, counters).tolist() == [
        child(int(k), int(c)) for k, c in zip(keys, counters.tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_type_of_the_counter_does_not_matter(dtype: type) -> None:
    keys = np.full(10, 42, dtype=np.uint64)
    assert children(keys, np.arange(10, dtype=dtype)).tolist() == children(keys, np.arange(10)).tolist()


def test_masks_of_a_published_key_never_change() -> None:
    """These numbers are what every mask ever written was drawn from."""
    keys = sequence_keys(7, 3, Purpose.WORD, np.array([0, 1, 10**9]))
    assert keys.tolist() == [child(child(child(child(7, 0), 3), 2), i) for i in (0, 1, 10**9)]
    assert uniforms(keys, np.array([5, 5, 5])).tolist() == [(child(k, 5) >> 11) / 2**53 for k in keys.tolist()]
    assert [p.value for p in Purpose] == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_a_sequence_has_the_same_key_in_any_batch() -> None:
    index = np.arange(1000)
    keys = sequence_keys(1, 2, Purpose.TOKEN, index)
    chosen = np.array([999, 3, 500])
    assert sequence_keys(1, 2, Purpose.TOKEN, chosen).tolist() == keys[chosen].tolist()


@pytest.mark.parametrize("along", ["counter", "sequence"])
def test_uniforms_are_uniform(along: str) -> None:
    if along == "counter":
        u = uniforms(np.full(N, sequence_keys(0, 0, Purpose.TOKEN, np.array([0]))[0]), np.arange(N))
    else:
        u = uniforms(sequence_keys(0, 0, Purpose.TOKEN, np.arange(N)), np.zeros(N, dtype=np.int64))
    assert u.min() >= 0.0
    assert u.max() < 1.0
    n_bins = 1000
    observed = np.bincount((u * n_bins).astype(int), minlength=n_bins)
    chi_square = ((observed - N / n_bins) ** 2 / (N / n_bins)).sum()
    # mean n - 1, variance 2 (n - 1): five standard deviations either way
    assert abs(chi_square - (n_bins - 1)) < 5 * np.sqrt(2 * (n_bins - 1))
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(N)


@pytest.mark.parametrize("changed", ["seed", "epoch", "purpose", "sequence"])
def test_neighbouring_keys_give_independent_streams(changed: str) -> None:
    base = {"seed": 5, "epoch": 5, "purpose": 1, "sequence": 5}
    streams = []
    for key in (base, {**base, changed: base[changed] + 1}):
        index = np.array([key["sequence"]])
        keys = sequence_keys(key["seed"], key["epoch"], Purpose(key["purpose"]), index)
        streams.append(uniforms(keys, np.arange(N)))
    assert abs(np.corrcoef(*streams)[0, 1]) < 5 / np.sqrt(N)
