"""Counter-based random numbers: they depend only on a key, never on how many were drawn before.

The key is (seed, epoch, purpose, sequence, counter). Each level selects an output of the splitmix64 generator seeded
by the level above, so the same key gives the same number in any batch, in any order, on any machine.

Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014
(constants of the reference implementation by Vigna, splitmix64.c).
"""

import math
from enum import IntEnum
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB
_MASK_64 = 2**64 - 1


class Purpose(IntEnum):
    """The purpose of a random number; the values are part of every mask's identity and must never change."""

    TOKEN = 0  # whether a token is masked (strategy token)
    MENTION = 1  # whether a mention is masked (ELM)
    WORD = 2  # whether a word is masked (BLM)
    CORRUPTION = 3  # [MASK], random or unchanged, per unit
    RANDOM_ID = 4  # which random token, per token
    SPAN_LENGTH = 5  # the length of the k-th span of a sequence
    SPAN_START = 6  # the start of the k-th span of a sequence
    SPAN_END = 7  # whether the word that reaches a sequence's rate is masked
    OVERLAP = 8  # the priority of overlapping n-grams


def child(key: int, counter: int) -> int:
    """Output number ``counter`` (from 0) of the splitmix64 generator seeded with ``key``, in [0, 2^64)."""
    z = (key + (counter + 1) * _GAMMA) & _MASK_64
    z = ((z ^ (z >> 30)) * _MULTIPLIER_1) & _MASK_64
    z = ((z ^ (z >> 27)) * _MULTIPLIER_2) & _MASK_64
    return z ^ (z >> 31)


def children(keys: UInt64, counters: NDArray[np.integer[Any]]) -> UInt64:
    """``child`` for broadcastable arrays: uint64."""
    z = counters.astype(np.uint64)
    z += np.uint64(1)
    z *= np.uint64(_GAMMA)
    z = z + keys
    return _mixed(z)


def ragged_children(
    keys: UInt64, firsts: NDArray[np.int64], sizes: NDArray[np.integer[Any]], numbers: NDArray[np.int64]
) -> UInt64:
    """``child(keys[i], number - firsts[i])`` for the ``sizes[i]`` numbers of each i, concatenated: uint64."""
    z: UInt64 = numbers.view(np.uint64) * np.uint64(_GAMMA)
    # Arithmetic wraps around, so the part shared by all numbers of a key is computed once.
    z += np.repeat(keys + (1 - firsts).view(np.uint64) * np.uint64(_GAMMA), sizes)
    return _mixed(z)


def _mixed(z: UInt64) -> UInt64:
    """The output function of splitmix64, in place."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(_MULTIPLIER_1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_MULTIPLIER_2)
    z ^= z >> np.uint64(31)
    return z


def named_stream(name: str) -> int:
    """A purpose for plugins: a hash of the name, at least 2^63 and so distinct from every ``Purpose``."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") | 1 << 63


def sequence_keys(seed: int, epoch: int, purpose: int, index: NDArray[np.int64]) -> UInt64:
    """The key of each sequence's stream: uint64 [n].

    ``purpose``: a ``Purpose`` or a ``named_stream``. ``index``: global sequence numbers, so that a sequence keeps
    its stream in every batch.
    """
    stream = child(child(child(seed, 0), epoch), purpose)
    return children(np.full(1, stream, dtype=np.uint64), index)


def uniforms(keys: UInt64, counters: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), multiples of 2^-53: float64, one for each (key, counter)."""
    return to_uniforms(children(keys, counters))


def is_below(numbers: UInt64, fraction: float) -> NDArray[np.bool_]:
    """Whether each random 64-bit number is below ``fraction`` * 2^64, true with that probability: bool."""
    if fraction >= 1:
        return np.ones(len(numbers), dtype=np.bool_)
    below: NDArray[np.bool_] = numbers < np.uint64(math.ceil(fraction * 2**64))
    return below


def to_uniforms(numbers: UInt64) -> NDArray[np.float64]:
    """Map random 64-bit numbers to [0, 1), multiples of 2^-53: float64."""
    uniform: NDArray[np.float64] = (numbers >> np.uint64(11)).astype(np.float64)
    uniform *= 2.0**-53
    return uniform
