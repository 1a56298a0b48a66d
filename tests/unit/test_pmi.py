"""The vocabulary of collocations: values worked out by hand, quotas, and how text is cut into them."""

import math
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.masking import grams as gram_counts
from mslm_cli.masking import pmi
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.grams import Grams, count_grams, gram_keys, word_keys

A, B, C, D, E = 10, 11, 12, 13, 14
SENTENCES = [[A, B, C, D, E], [A, B, C, D, E], [A, B], [C, A]]


def batch_of(sentences: list[list[int]]) -> RaggedBatch:
    """One sequence a sentence, in it one word a token."""
    sizes = [len(s) for s in sentences]
    return RaggedBatch(
        np.cumsum([0, *sizes]),
        np.array([t for s in sentences for t in s], dtype=np.int32),
        np.array([i for n in sizes for i in range(n)], dtype=np.int32),
        np.empty((0, 2), dtype=np.int32),
        np.empty(0, dtype=np.int32),
        np.zeros(len(sentences) + 1, dtype=np.int64),
        np.zeros(len(sentences), dtype=np.int32),
        np.arange(len(sentences) + 1),
        np.arange(len(sentences)),
    )


def key(*tokens: int) -> int:
    return int(gram_keys(word_keys(batch_of([list(tokens)]))[None, :])[0])


def values(grams: dict[int, Grams], n: int) -> dict[int, float]:
    return dict(zip(grams[n].keys.tolist(), pmi.mutual_information(grams, n).tolist(), strict=True))


def test_counts_are_of_words_in_one_sentence() -> None:
    grams = count_grams(Blocks(lambda: [batch_of(SENTENCES)]), 0)
    assert [grams[n].n_all for n in range(1, 6)] == [14, 10, 6, 4, 2]
    assert dict(zip(grams[2].keys.tolist(), grams[2].counts.tolist(), strict=True)) == {
        key(A, B): 3,
        key(B, C): 2,
        key(C, D): 2,
        key(D, E): 2,
        key(C, A): 1,
    }


def test_values_worked_out_by_hand() -> None:
    # 14 words (a 4, b 3, c 3, d 2, e 2), 10 pairs (ab 3, ca 1, the rest 2), 6 triples, 4 of n = 4, 2 of n = 5
    grams = count_grams(Blocks(lambda: [batch_of(SENTENCES)]), 0)
    found = {n: values(grams, n) for n in range(2, 6)}
    assert found[2][key(A, B)] == pytest.approx(math.log((3 / 10) / (4 / 14 * 3 / 14)))
    assert found[2][key(C, A)] == pytest.approx(math.log((1 / 10) / (3 / 14 * 4 / 14)))
    # ab|c is likelier than a|bc and a|b|c
    assert found[3][key(A, B, C)] == pytest.approx(math.log((2 / 6) / (3 / 10 * 3 / 14)))
    # a|bcd is likelier than abc|d, ab|cd and all cuttings into more pieces
    assert found[4][key(A, B, C, D)] == pytest.approx(math.log((2 / 4) / (4 / 14 * 2 / 6)))
    # a|bcde is likelier than abcd|e, abc|de, ab|cde
    assert found[5][key(A, B, C, D, E)] == pytest.approx(math.log((2 / 2) / (4 / 14 * 2 / 4)))
    assert math.exp(found[5][key(A, B, C, D, E)]) == pytest.approx(7)


@given(st.lists(st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=9), min_size=1, max_size=6))
def test_every_value_is_the_minimum_over_all_segmentations(sentences: list[list[int]]) -> None:
    counts = {n: Counter(tuple(s[i : i + n]) for s in sentences for i in range(len(s) - n + 1)) for n in range(1, 6)}

    def p(gram: tuple[int, ...]) -> float:
        return counts[len(gram)][gram] / counts[len(gram)].total()

    grams = count_grams(Blocks(lambda: [batch_of(sentences)]), 0)
    for n in range(2, 6):
        expected = {}
        for gram in counts[n]:
            ratios = []
            for n_cuts in range(1, n):
                for cuts in combinations(range(1, n), n_cuts):
                    bounds = [0, *cuts, n]
                    pieces = [gram[a:b] for a, b in pairwise(bounds)]
                    ratios.append(p(gram) / math.prod(map(p, pieces)))
            expected[key(*gram)] = math.log(min(ratios))
        assert values(grams, n) == pytest.approx(expected, abs=1e-9)


@given(
    st.lists(st.lists(st.sampled_from([A, B, C]), max_size=7), min_size=1, max_size=6),
    st.integers(0, 3),
    st.integers(1, 30),
)
def test_rare_ones_are_left_out_and_blocks_do_not_matter(
    sentences: list[list[int]], min_count: int, n_at_once: int
) -> None:
    """Nor does it matter how many are merged at once."""
    whole = batch_of(sentences)
    every = count_grams(Blocks(lambda: [whole]), 0)
    blocks = Blocks(lambda: [whole.rows(i, i + 1) for i in range(len(sentences))])
    with patch.object(gram_counts, "_MAX_IN_MEMORY", n_at_once):
        found = count_grams(blocks, min_count)
    for n in range(1, 6):
        often = every[n].counts > min_count
        assert found[n].n_all == every[n].n_all
        assert found[n].keys.tolist() == every[n].keys[often].tolist()
        assert found[n].counts.tolist() == every[n].counts[often].tolist()


def test_words_differ_if_any_of_their_tokens_do() -> None:
    words = [[A], [B], [A, B], [B, A], [A, B, C], [A, A], [A, B]]
    sizes = [len(w) for w in words]
    batch = RaggedBatch(
        np.array([0, sum(sizes) + 1]),
        np.array([2, *(t for w in words for t in w)], dtype=np.int32),
        np.array([-1, *np.repeat(np.arange(len(words)), sizes)], dtype=np.int32),
        np.empty((0, 2), dtype=np.int32),
        np.empty(0, dtype=np.int32),
        np.zeros(2, dtype=np.int64),
        np.array([1], dtype=np.int32),
        np.array([0, 1]),
        np.array([0]),
    )
    keys = word_keys(batch).tolist()
    assert keys[2] == keys[6]
    assert len(set(keys)) == len(words) - 1


def test_quotas_take_the_best_of_each_order() -> None:
    rng = np.random.default_rng(0)
    # Zipfian words, so that there are frequent n-grams of every order
    text = [(np.minimum(rng.zipf(1.6, size=60), 30) + 10).tolist() for _ in range(400)]
    blocks = [batch_of(text)]
    vocabulary = pmi.build(Blocks(lambda: blocks), 10, 80)
    assert {n: len(keys) for n, keys in vocabulary.keys.items()} == {2: 40, 3: 20, 4: 10, 5: 10}
    assert len(vocabulary) == 80
    grams = count_grams(Blocks(lambda: blocks), 10)
    for n, keys in vocabulary.keys.items():
        of_all = values(grams, n)
        chosen = [of_all[k] for k in keys.tolist()]
        others = [value for k, value in of_all.items() if k not in set(keys.tolist())]
        assert min(chosen) >= max(others)
    half = pmi.build(Blocks(lambda: blocks), 10)
    assert len(half) <= sum(len(grams[n].keys) for n in pmi.QUOTAS) / 2 + 2


def cut(sentence: list[int], *collocations: tuple[int, ...], epoch: int = 0) -> list[int]:
    """The number of words of each unit."""
    known = {n: np.sort(np.array([key(*c) for c in collocations if len(c) == n], dtype=np.uint64)) for n in pmi.QUOTAS}
    return pmi.segment(batch_of([sentence]), pmi.PmiVocabulary(known), 0, epoch)[1].tolist()


def test_a_containing_collocation_wins() -> None:
    assert cut([A, B, C, D], (A, B), (A, B, C), (B, C)) == [3, 1]
    assert cut([A, B, C, D, E], (A, B), (B, C, D), (A, B, C, D, E)) == [5]
    assert cut([A, B, A, B], (A, B)) == [2, 2]
    assert cut([A, B]) == [1, 1]
    assert cut([]) == []


def test_overlapping_ones_take_turns_from_epoch_to_epoch() -> None:
    found = [tuple(cut([A, B, C], (A, B), (B, C), epoch=epoch)) for epoch in range(400)]
    n_left = found.count((2, 1))
    assert n_left + found.count((1, 2)) == 400
    assert abs(n_left - 200) < 5 * 10
    chain = {tuple(cut([A, B, C, D, E], (A, B), (B, C), (C, D), (D, E), epoch=epoch)) for epoch in range(400)}
    assert chain == {(2, 2, 1), (2, 1, 2), (1, 2, 2)}


def test_memory_is_that_of_what_is_merged_at_once(tmp_path: Path) -> None:
    """Beside it there are the n-grams of one block, and the frequent ones."""
    n_blocks, n_words, at_once = 40, 10_000, 20_000

    def read() -> Iterator[RaggedBatch]:
        for i in range(n_blocks):
            text = np.random.default_rng(i).integers(10, 2000, n_words).tolist()
            yield replace(batch_of([text]), index=np.array([i]))

    with patch.object(gram_counts, "_MAX_IN_MEMORY", at_once):
        tracemalloc.start()
        try:
            found = count_grams(Blocks(read, tmp_path), 5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found[2].n_all == n_blocks * (n_words - 1)
    size_of_pairs = 32 * n_blocks * n_words
    assert peak < size_of_pairs / 2
    assert not list(tmp_path.iterdir()), "temporary files are deleted"
