"""The items of a probe are matched, and its intervals are those of a bootstrap."""

from collections import Counter

import numpy as np
import pytest
from test_strategies import make_batch

from mslm_cli.evaluation.probe import Bootstrap, Items, general_items, matched_items, words_in
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.pmi import word_keys


@pytest.fixture(scope="module")
def batch() -> RaggedBatch:
    made = make_batch(300, 60)
    # few different ids, so that words come again and have frequencies
    ids = (made.input_ids % 5 + 10).astype(np.int32)
    return RaggedBatch(**{**made.__dict__, "input_ids": ids})


def words(batch: RaggedBatch, items: Items, i: int) -> list[int]:
    starts, _ = batch.words
    return list(range(*np.searchsorted(starts, [items.starts[i], items.ends[i]]).tolist()))


def test_pairs_agree_in_words_tokens_and_frequency(batch: RaggedBatch) -> None:
    found = matched_items(batch, 400, np.random.default_rng(0))
    counts = Counter(word_keys(batch).tolist())
    keys = word_keys(batch).tolist()
    for one, other in (("mention", "generic_span"), ("mention_word", "generic_word")):
        assert len(found[one].starts) == len(found[other].starts) == 400
        for i in range(400):
            a, b = words(batch, found[one], i), words(batch, found[other], i)
            assert len(a) == len(b)
            assert one == "mention" or len(a) == 1
            sizes = [found[name].ends[i] - found[name].starts[i] for name in (one, other)]
            assert sizes[0] == sizes[1]
            frequencies = [np.mean([np.log2(counts[keys[w]]) for w in run]) for run in (a, b)]
            assert abs(frequencies[0] - frequencies[1]) < 1


def test_mentions_are_mentions_and_generic_text_touches_none(batch: RaggedBatch) -> None:
    found = matched_items(batch, 400, np.random.default_rng(0))
    _, starts, ends = batch.mentions
    whole = set(zip(starts.tolist(), ends.tolist(), strict=True))
    assert whole.issuperset(zip(found["mention"].starts.tolist(), found["mention"].ends.tolist(), strict=True))
    for name, inside in (("mention_word", True), ("generic_span", False), ("generic_word", False)):
        for start, end in zip(*found[name], strict=True):
            assert set(batch.in_mention[start:end].tolist()) == {inside}
    stretch = np.cumsum(batch.begins_run)
    for i in range(400):
        assert len(set(stretch[words(batch, found["generic_span"], i)].tolist())) == 1
    for items in found.values():
        assert len(set(zip(*map(np.ndarray.tolist, items), strict=True))) == len(items.starts), (
            "nothing is probed twice"
        )


def test_general_text_is_probed_at_the_lengths_asked_for(batch: RaggedBatch) -> None:
    lengths = np.array([1] * 30 + [2] * 20 + [3] * 10)
    found = general_items(batch, lengths, 1000, np.random.default_rng(0))
    assert Counter(words_in(batch, found["general_span"]).tolist()) == {1: 30, 2: 20, 3: 10}
    assert Counter(words_in(batch, found["general_word"]).tolist()) == {1: 60}
    for items in found.values():
        assert not any(batch.in_mention[s:e].any() for s, e in zip(*items, strict=True))


def test_intervals_cover_clusters_not_items() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(50), 20)
    values = rng.normal(size=50)[clusters]
    interval = Bootstrap(50, 2000, 0).mean(values, clusters)
    assert interval.value == pytest.approx(values.mean())
    of_clusters = 1.96 * values.reshape(50, 20)[:, 0].std() / np.sqrt(50)
    assert interval.high - interval.value == pytest.approx(of_clusters, rel=0.15)
    assert interval.value - interval.low == pytest.approx(of_clusters, rel=0.15)
    constant = Bootstrap(50, 100, 0).mean(np.full(1000, 3.0), clusters)
    assert tuple(constant) == (3.0, 3.0, 3.0)


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(1)
    clusters = np.arange(200)
    noise = rng.normal(size=200) * 10
    resampling = Bootstrap(200, 500, 0)
    paired = resampling.mean((noise + 0.5) - noise, clusters)
    assert tuple(paired) == pytest.approx((0.5, 0.5, 0.5))
    apart = resampling.difference((noise + 0.5, clusters), (noise, clusters))
    assert tuple(apart) == pytest.approx((0.5, 0.5, 0.5)), "the same replicates on both sides"
