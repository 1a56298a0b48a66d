"""Invariants of every masking strategy, and an oracle that draws from the same numbers one at a time."""

from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from mslm_cli.masking.random import Purpose, child
from mslm_cli.masking.strategies import BASE, ENTITY, NOT_PREDICTED, RaggedBatch, collect, corrupt, draw

MASK_ID, VOCAB_SIZE = 4, 50
SPECIAL_IDS = [0, 1, 2, 3, 4, 30, 49]
ORDINARY = [i for i in range(VOCAB_SIZE) if i not in SPECIAL_IDS]
STRATEGIES = ["token", "mslm"]


@dataclass(frozen=True)
class Rates:
    rate: float
    elm_rate: float
    blm_rate: float
    mask_replace: tuple[float, float, float]


@dataclass(frozen=True)
class Example:
    """One sequence: ids, the word of each token (None: special), and mentions [start, end) in tokens."""

    ids: list[int]
    words: list[int | None]
    spans: list[tuple[int, int]]


@st.composite
def sequences(draw: st.DrawFn) -> Example:
    """[CLS] words [SEP], or bare words; some unknown, mentions anywhere, also touching; or no word, or nothing."""
    if draw(st.integers(0, 9)) == 0:
        return Example([], [], [])
    is_framed = draw(st.booleans())
    ids: list[int] = [2] if is_framed else []
    words: list[int | None] = [None] if is_framed else []
    spans: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["mention", "mention", "generic", "generic", "unknown"]))
        start = len(ids)
        for _ in range(draw(st.integers(1, 3))):
            word = len(ids)
            n_pieces = draw(st.integers(1, 3))
            ids += draw(st.lists(st.sampled_from(ORDINARY), min_size=n_pieces, max_size=n_pieces))
            words += [None if kind == "unknown" else word] * n_pieces
        if kind == "mention":
            spans.append((start, len(ids)))
    return Example([*ids, 3], [*words, None], spans) if is_framed else Example(ids, words, spans)


rates = st.sampled_from([0.0, 0.15, 0.5, 1.0])
all_rates = st.builds(
    Rates, rates, rates, rates, st.sampled_from([(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.2, 0.3, 0.5)])
)
batches = st.lists(sequences(), max_size=5)
seeds = st.integers(0, 2**63 - 1)
epochs = st.integers(0, 999)
ONE_MENTION = Example([2, 10, 11, 12, 3], [None, 0, 0, 1, None], [(1, 4)])
NO_WORDS = Example([2, 3], [None, None], [])
NOTHING = Example([], [], [])
BARE_WORD = Example([10], [0], [])
TOUCHING = Example([2, 10, 11, 12, 13, 3], [None, 0, 0, 1, 2, None], [(1, 3), (3, 4), (4, 5)])


def ragged(examples: list[Example], index: list[int] | None = None) -> RaggedBatch:
    words = [-1 if w is None else w for e in examples for w in e.words]
    return RaggedBatch(
        np.cumsum([0, *(len(e.ids) for e in examples)]),
        np.array([i for e in examples for i in e.ids], dtype=np.int32),
        np.array(words, dtype=np.int32),
        np.array([s for e in examples for s in e.spans], dtype=np.int32).reshape(-1, 2),
        np.cumsum([0, *(len(e.spans) for e in examples)]),
        np.array(range(len(examples)) if index is None else index, dtype=np.int64),
    )


def masked(strategy: str, batch: RaggedBatch, r: Rates, seed: int, epoch: int) -> list[tuple[list[int], list[int]]]:
    """Kinds and corrupted ids of each sequence."""
    drawn = draw(strategy, batch, rate=r.rate, elm_rate=r.elm_rate, blm_rate=r.blm_rate, seed=seed, epoch=epoch)
    ids = corrupt(
        batch,
        drawn,
        mask_id=MASK_ID,
        vocab_size=VOCAB_SIZE,
        special_ids=np.array(SPECIAL_IDS),
        mask_replace=r.mask_replace,
        seed=seed,
        epoch=epoch,
    )
    cuts = batch.offsets[1:-1]
    return [(k.tolist(), i.tolist()) for k, i in zip(np.split(drawn.kinds, cuts), np.split(ids, cuts), strict=True)]


def uniform(seed: int, epoch: int, purpose: Purpose, sequence: int, position: int) -> float:
    return (child(child(child(child(child(seed, 0), epoch), purpose), sequence), position) >> 11) / 2**53


def oracle(strategy: str, e: Example, sequence: int, r: Rates, seed: int, epoch: int) -> tuple[list[int], list[int]]:
    """Kinds and corrupted ids, one token after the other."""

    def u(purpose: Purpose, position: int) -> float:
        return uniform(seed, epoch, purpose, sequence, position)

    units: list[tuple[list[int], int]] = []
    if strategy == "token":
        for position, word in enumerate(e.words):
            if word is not None and u(Purpose.TOKEN, position) < r.rate:
                units.append(([position], BASE))
    else:
        for start, end in e.spans:
            if u(Purpose.MENTION, start) < r.elm_rate:
                units.append((list(range(start, end)), ENTITY))
        in_mention = {p for start, end in e.spans for p in range(start, end)}
        for word in sorted({w for w in e.words if w is not None}):
            positions = [p for p, w in enumerate(e.words) if w == word]
            if not in_mention.intersection(positions) and u(Purpose.WORD, positions[0]) < r.blm_rate:
                units.append((positions, BASE))
    kinds, ids = [NOT_PREDICTED] * len(e.ids), list(e.ids)
    for positions, kind in units:
        fate = u(Purpose.CORRUPTION, positions[0])
        for position in positions:
            kinds[position] = kind
            if fate < r.mask_replace[0]:
                ids[position] = MASK_ID
            elif fate < 1 - r.mask_replace[2]:
                ids[position] = ORDINARY[int(u(Purpose.RANDOM_ID, position) * len(ORDINARY))]
    return kinds, ids


@given(st.sampled_from(STRATEGIES), batches, all_rates, seeds, epochs)
@example("mslm", [ONE_MENTION, NOTHING, NO_WORDS, TOUCHING], Rates(0.5, 0.5, 0.5, (0.4, 0.4, 0.2)), 3, 0)
@example("mslm", [BARE_WORD, BARE_WORD, BARE_WORD], Rates(0.5, 0.5, 0.5, (1.0, 0.0, 0.0)), 0, 0)
def test_the_oracle_draws_the_same_masks(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    found = masked(strategy, ragged(examples), r, seed, epoch) if examples else []
    assert found == [oracle(strategy, e, i, r, seed, epoch) for i, e in enumerate(examples)]


@given(st.sampled_from(STRATEGIES), batches, all_rates, seeds, epochs)
def test_special_tokens_are_never_predicted_nor_replaced(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    for e, (kinds, ids) in zip(examples, masked(strategy, ragged(examples), r, seed, epoch), strict=False):
        for position, word in enumerate(e.words):
            if word is None:
                assert kinds[position] == NOT_PREDICTED
                assert ids[position] == e.ids[position]
            assert ids[position] in (e.ids[position], MASK_ID) or ids[position] not in SPECIAL_IDS


@given(batches, all_rates, seeds, epochs)
def test_mslm_never_masks_half_a_word(examples: list[Example], r: Rates, seed: int, epoch: int) -> None:
    for e, (kinds, _) in zip(examples, masked("mslm", ragged(examples), r, seed, epoch), strict=False):
        for word in {w for w in e.words if w is not None}:
            assert len({k for k, w in zip(kinds, e.words, strict=True) if w == word}) == 1


@given(batches, all_rates, seeds, epochs)
@example([TOUCHING], Rates(0, 0.5, 1.0, (1.0, 0.0, 0.0)), 1, 0)
def test_mslm_masks_mentions_whole_or_not_and_words_outside_only(
    examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    for e, (kinds, _) in zip(examples, masked("mslm", ragged(examples), r, seed, epoch), strict=False):
        outside = set(range(len(kinds)))
        for start, end in e.spans:
            assert set(kinds[start:end]) in ({ENTITY}, {NOT_PREDICTED})
            outside -= set(range(start, end))
        assert all(kinds[position] != ENTITY for position in outside)


@given(st.sampled_from(STRATEGIES), st.lists(sequences(), min_size=1, max_size=6), all_rates, seeds, epochs, st.data())
def test_a_mask_does_not_depend_on_the_batch(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int, data: st.DataObject
) -> None:
    index = data.draw(st.lists(st.integers(0, 2**40), min_size=len(examples), max_size=len(examples), unique=True))
    together = masked(strategy, ragged(examples, index), r, seed, epoch)
    order = data.draw(st.permutations(range(len(examples))))
    shuffled = masked(strategy, ragged([examples[i] for i in order], [index[i] for i in order]), r, seed, epoch)
    assert shuffled == [together[i] for i in order]
    first = data.draw(st.integers(0, len(examples) - 1))
    part = ragged(examples, index).rows(first, len(examples))
    assert masked(strategy, part, r, seed, epoch) == together[first:]


@given(st.lists(sequences(), min_size=1, max_size=5), seeds, epochs)
def test_rates_of_one_mask_everything_and_rates_of_zero_nothing(examples: list[Example], seed: int, epoch: int) -> None:
    shares = (0.8, 0.1, 0.1)
    for strategy in STRATEGIES:
        full = masked(strategy, ragged(examples), Rates(1.0, 1.0, 1.0, shares), seed, epoch)
        none = masked(strategy, ragged(examples), Rates(0.0, 0.0, 0.0, shares), seed, epoch)
        for e, (all_kinds, _), (no_kinds, ids) in zip(examples, full, none, strict=True):
            assert [k > 0 for k in all_kinds] == [w is not None for w in e.words]
            assert not any(no_kinds)
            assert ids == e.ids


@given(batches, all_rates, seeds, epochs)
def test_collected_masks_rebuild_the_corrupted_sequences(
    examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    batch = ragged(examples)
    drawn = draw("mslm", batch, rate=0, elm_rate=r.elm_rate, blm_rate=r.blm_rate, seed=seed, epoch=epoch)
    ids = corrupt(
        batch,
        drawn,
        mask_id=MASK_ID,
        vocab_size=VOCAB_SIZE,
        special_ids=np.array(SPECIAL_IDS),
        mask_replace=r.mask_replace,
        seed=seed,
        epoch=epoch,
    )
    masks = collect(batch, drawn, ids)
    assert len(masks.offsets) == len(examples) + 1
    for i, e in enumerate(examples):
        here = slice(masks.offsets[i], masks.offsets[i + 1])
        rebuilt = np.array(e.ids, dtype=np.int32)
        rebuilt[masks.positions[here]] = masks.replacements[here]
        assert rebuilt.tolist() == ids[batch.offsets[i] : batch.offsets[i + 1]].tolist()
        assert np.all(masks.kinds[here] > 0)


def test_touching_mentions_are_drawn_apart() -> None:
    seen = set()
    for epoch in range(200):
        (kinds, _), *_ = masked("mslm", ragged([TOUCHING]), Rates(0, 0.5, 0, (1.0, 0.0, 0.0)), 0, epoch)
        seen.add((kinds[1], kinds[3], kinds[4]))
    assert len(seen) == 8, "each of three mentions is masked or not, whatever happens to the others"
