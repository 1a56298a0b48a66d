"""Masking strategies over more than a million tokens: the promised rates, shares and uniformity."""

import numpy as np
import pytest
from masks import RATES, draw, solve, units
from numpy.typing import NDArray

from mslm_cli.errors import UsageError
from mslm_cli.masking import grams, pmi, spans
from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, RaggedBatch, flat_ranges
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.corruption import collect, corrupt
from mslm_cli.masking.counts import MaskCounts

MASK_ID, VOCAB_SIZE = 4, 3000
SPECIAL_IDS = np.array([0, 1, 2, 3, 4, 1500, 2999])
ORDINARY = np.setdiff1d(np.arange(VOCAB_SIZE), SPECIAL_IDS)
N_SIGMA = 5  # a fixed seed either passes or not; five standard deviations leave no room for a lucky bug


def make_batch(n_sequences: int, n_words: int, seed: int = 0) -> RaggedBatch:
    """Sequences [CLS] words [SEP], words of 1 to 4 pieces, sentences of 20 words or fewer.

    After every 3 to 6 words there is a mention of 1 to 3 words.
    """
    rng = np.random.default_rng(seed)
    pieces = rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.1, 0.1], size=(n_sequences, n_words))
    word_start = np.cumsum(pieces, axis=1) - pieces + 1
    lengths = pieces.sum(axis=1) + 2
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    word_ids = np.full(offsets[-1], -1, dtype=np.int32)
    first = (offsets[:-1, None] + word_start).reshape(-1)
    word_ids[flat_ranges(first, pieces.reshape(-1))] = np.repeat(
        np.tile(np.arange(n_words), n_sequences), pieces.reshape(-1)
    )
    ends = np.concatenate([word_start[:, 1:], (lengths - 1)[:, None]], axis=1)
    spans: list[tuple[int, int]] = []
    n_spans = [0]
    gaps, sizes = rng.integers(3, 7, size=(n_sequences, n_words)), rng.integers(1, 4, size=(n_sequences, n_words))
    for i in range(n_sequences):
        word = 0
        for gap, size in zip(gaps[i].tolist(), sizes[i].tolist(), strict=True):
            word += gap
            if word + size > n_words:
                break
            spans.append((int(word_start[i, word]), int(ends[i, word + size - 1])))
            word += size
        n_spans.append(len(spans))
    return RaggedBatch(
        offsets,
        rng.choice(ORDINARY, size=offsets[-1]).astype(np.int32),
        word_ids,
        np.array(spans, dtype=np.int32).reshape(-1, 2),
        np.zeros(len(spans), dtype=np.int32),
        np.array(n_spans),
        word_start[:, ::20].reshape(-1).astype(np.int32),
        np.arange(n_sequences + 1) * len(range(0, n_words, 20)),
        np.arange(n_sequences),
    )


@pytest.fixture(scope="module")
def big() -> RaggedBatch:
    batch = make_batch(8000, 80)
    assert (batch.word_ids >= 0).sum() > 1_000_000
    return batch


def corrupted(
    batch: RaggedBatch, drawn: Drawn, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> NDArray[np.int32]:
    return corrupt(
        batch,
        drawn,
        mask_id=MASK_ID,
        vocab_size=VOCAB_SIZE,
        special_ids=SPECIAL_IDS,
        mask_replace=shares,
        seed=11,
        epoch=0,
    )


def assert_share(count: int, n: int, p: float) -> None:
    assert abs(count - n * p) <= N_SIGMA * np.sqrt(n * p * (1 - p)), f"{count} of {n}: {count / n:.5f}, expected {p}"


@pytest.mark.parametrize("rate", [0.0, 0.075, 0.15, 0.4, 1.0])
def test_token_masks_single_tokens_at_the_rate(big: RaggedBatch, rate: float) -> None:
    drawn = draw("token", big, rate=rate, seed=11, epoch=0)
    kinds = drawn.kinds
    ordinary = big.word_ids >= 0
    assert_share(int((kinds == GENERIC).sum()), int(ordinary.sum()), rate)
    assert not np.any(kinds[~ordinary])
    assert not np.any(kinds == DS_TERM)
    assert np.array_equal(drawn.units[kinds > 0], np.flatnonzero(kinds))


def test_token_masks_every_position_alike(big: RaggedBatch) -> None:
    kinds = draw("token", big, rate=0.15, seed=11, epoch=0).kinds
    ordinary = big.word_ids >= 0
    positions = np.arange(1, 70)
    n = np.bincount(big.position[ordinary], minlength=70)[positions]
    masked = np.bincount(big.position[kinds > 0], minlength=70)[positions]
    chi_square = ((masked - n * 0.15) ** 2 / (n * 0.15 * 0.85)).sum()
    assert abs(chi_square - len(positions)) < N_SIGMA * np.sqrt(2 * len(positions))


@pytest.mark.parametrize(("elm_rate", "blm_rate"), [(0.5, 0.15), (0.25, 0.225), (1.0, 0.0), (0.0, 1.0)])
def test_mslm_masks_mentions_and_generic_words_at_their_rates(
    big: RaggedBatch, elm_rate: float, blm_rate: float
) -> None:
    drawn = draw("mslm", big, elm_rate=elm_rate, blm_rate=blm_rate, seed=11, epoch=0)
    counts = MaskCounts.of(big, drawn, collect(big, drawn, corrupted(big, drawn)), MASK_ID)
    assert_share(counts.n_predicted_mentions, counts.n_mentions, elm_rate)
    assert_share(counts.n_predicted_generic_words, counts.n_generic_words, blm_rate)
    assert counts.n_predicted_generic + counts.n_predicted_ds_term == counts.n_predicted
    assert counts.n_predicted_ds == counts.n_predicted_ds_term


def test_mslm_masks_every_word_position_alike(big: RaggedBatch) -> None:
    kinds = draw("mslm", big, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0).kinds
    starts, _ = big.words
    starts = starts[~big.in_mention[starts]]
    place = big.word_ids[starts]
    n, masked = np.bincount(place), np.bincount(place[kinds[starts] > 0])
    used = n > 100
    chi_square = ((masked - n * 0.15) ** 2 / (n * 0.15 * 0.85))[used].sum()
    assert abs(chi_square - used.sum()) < N_SIGMA * np.sqrt(2 * used.sum())


def test_mentions_are_masked_independently(big: RaggedBatch) -> None:
    kinds = draw("mslm", big, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0).kinds
    row, starts, _ = big.mentions
    masked = kinds[starts] == DS_TERM
    neighbours = row[1:] == row[:-1]
    correlation = np.corrcoef(masked[1:][neighbours], masked[:-1][neighbours])[0, 1]
    assert abs(correlation) < N_SIGMA / np.sqrt(neighbours.sum())


def test_epochs_and_seeds_give_independent_masks(big: RaggedBatch) -> None:
    first = draw("token", big, rate=0.15, seed=11, epoch=0).kinds > 0
    n = int((big.word_ids >= 0).sum())
    for seed, epoch in [(11, 1), (12, 0)]:
        other = draw("token", big, rate=0.15, seed=seed, epoch=epoch).kinds > 0
        assert_share(int((first & other).sum()), n, 0.15**2)


@pytest.fixture(scope="module")
def collocations(big: RaggedBatch) -> pmi.PmiVocabulary:
    """Half of the pairs and triples of the words of some sequences, as if they were collocations."""
    counted = grams.count_grams(Blocks(lambda: [big.rows(0, 4000)]), 0)
    return pmi.PmiVocabulary({n: counted[n].keys[::2] for n in pmi.QUOTAS})


ASKED = {"rate": 0.15, "elm_rate": 0.5, "blm_rate": 0.15, "seed": 11, "epoch": 0}


@pytest.mark.parametrize("strategy", sorted(RATES.keys() - {"none"}))
@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (0.0, 0.3, 0.7)])
def test_corruption_has_the_given_fractions_per_unit(
    big: RaggedBatch, collocations: pmi.PmiVocabulary, strategy: str, shares: tuple[float, float, float]
) -> None:
    drawn = draw(strategy, big, **ASKED, vocabulary=collocations)
    ids = corrupted(big, drawn, shares)
    predicted = np.flatnonzero(drawn.kinds)
    _, unit, n_pieces = np.unique(
        np.stack([big.row[predicted], drawn.units[predicted]]), axis=1, return_inverse=True, return_counts=True
    )
    unit = unit.reshape(-1)
    n_to_mask = np.bincount(unit, weights=ids[predicted] == MASK_ID)
    n_same = np.bincount(unit, weights=ids[predicted] == big.input_ids[predicted])
    assert np.all((n_to_mask == 0) | (n_to_mask == n_pieces)), "[MASK] for all pieces or none"
    to_mask, unchanged = n_to_mask > 0, n_same == n_pieces
    # a random piece is the original one once in 2,993 times: with one piece, that looks like an unchanged unit
    looks_unchanged = shares[2] + shares[1] * float(np.mean((n_pieces == 1) / len(ORDINARY)))
    assert_share(int(to_mask.sum()), len(n_pieces), shares[0])
    assert_share(int(unchanged.sum()), len(n_pieces), looks_unchanged)


def test_corruption_leaves_everything_else_alone(big: RaggedBatch) -> None:
    drawn = draw("mslm", big, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0)
    before = big.input_ids.copy()
    ids = corrupted(big, drawn)
    assert np.array_equal(ids[drawn.kinds == 0], big.input_ids[drawn.kinds == 0])
    assert np.array_equal(big.input_ids, before)


def test_mask_alone_masks_every_predicted_token(big: RaggedBatch) -> None:
    drawn = draw("mslm", big, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0)
    assert np.all(corrupted(big, drawn, (1.0, 0.0, 0.0))[drawn.kinds > 0] == MASK_ID)


def test_random_tokens_are_uniform_over_non_special_ids(big: RaggedBatch) -> None:
    drawn = draw("token", big, rate=1.0, seed=11, epoch=0)
    ids = corrupted(big, drawn, (0.0, 1.0, 0.0))[drawn.kinds > 0]
    observed = np.bincount(ids, minlength=VOCAB_SIZE)
    assert not np.any(observed[SPECIAL_IDS])
    expected = len(ids) / len(ORDINARY)
    chi_square = ((observed[ORDINARY] - expected) ** 2 / expected).sum()
    assert abs(chi_square - len(ORDINARY)) < N_SIGMA * np.sqrt(2 * len(ORDINARY))


def test_pieces_of_one_word_get_different_random_tokens(big: RaggedBatch) -> None:
    drawn = draw("mslm", big, elm_rate=1.0, blm_rate=1.0, seed=11, epoch=0)
    ids = corrupted(big, drawn, (0.0, 1.0, 0.0))
    same_unit = (drawn.units[1:] == drawn.units[:-1]) & (drawn.units[1:] >= 0)
    n_equal = int((ids[1:] == ids[:-1])[same_unit].sum())
    assert_share(n_equal, int(same_unit.sum()), 1 / len(ORDINARY))


def test_collect_keeps_the_predicted_tokens_in_order(big: RaggedBatch) -> None:
    drawn = draw("mslm", big, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0)
    ids = corrupted(big, drawn)
    masks = collect(big, drawn, ids)
    for i in (0, 1, 4321, len(big) - 1):
        kinds = drawn.kinds[big.offsets[i] : big.offsets[i + 1]]
        here = slice(masks.offsets[i], masks.offsets[i + 1])
        assert masks.positions[here].tolist() == np.flatnonzero(kinds).tolist()
        assert masks.kinds[here].tolist() == kinds[kinds > 0].tolist()
        assert masks.replacements[here].tolist() == ids[big.offsets[i] : big.offsets[i + 1]][kinds > 0].tolist()


@pytest.mark.parametrize("strategy", ["word", "span", "pmi"])
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_words_spans_and_collocations_mask_the_expected_tokens(
    big: RaggedBatch, collocations: pmi.PmiVocabulary, strategy: str, rate: float
) -> None:
    kinds = draw(strategy, big, rate=rate, seed=11, epoch=0, vocabulary=collocations).kinds
    (found,) = units(strategy, big, 11, 0, vocabulary=collocations).values()
    n_tokens = int((big.word_ids >= 0).sum())
    sd = N_SIGMA * np.sqrt(rate * (1 - rate) * ((found.ends - found.starts) ** 2).sum())
    assert abs((kinds == GENERIC).sum() - rate * n_tokens) < sd
    assert not np.any(kinds == DS_TERM)


def test_spans_mask_the_rate_in_every_sequence(big: RaggedBatch) -> None:
    kinds = draw("span", big, rate=0.15, seed=11, epoch=0).kinds
    masked = np.bincount(big.row[kinds > 0], minlength=len(big))
    assert np.all(np.abs(masked - 0.15 * big.n_ordinary) < 4), "to less than the pieces of a word"


def test_words_mask_every_position_alike(big: RaggedBatch) -> None:
    kinds = draw("word", big, rate=0.15, seed=11, epoch=0).kinds
    starts, _ = big.words
    n, masked = np.bincount(big.word_ids[starts]), np.bincount(big.word_ids[starts[kinds[starts] > 0]])
    chi_square = ((masked - n * 0.15) ** 2 / (n * 0.15 * 0.85)).sum()
    assert abs(chi_square - len(n)) < N_SIGMA * np.sqrt(2 * len(n))


def chi_square_of(observed: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    expected = observed.sum() * shares
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_drawn_span_lengths_are_geometric(big: RaggedBatch, rate: float) -> None:
    drawn, realised = spans.count_lengths(big, draw("span", big, rate=rate, seed=11, epoch=0), 11, 0, rate)
    weights = [0.8 ** (length - 1) for length in range(1, 11)]
    shares = np.array(weights) / sum(weights)
    assert drawn.sum() > 30_000
    assert drawn[0] == realised[0] == 0
    assert chi_square_of(drawn[1:], shares) < 9 + N_SIGMA * np.sqrt(2 * 9)
    lengths = np.arange(11)
    assert abs(drawn @ lengths / drawn.sum() - 3.80) < 0.05
    assert realised @ lengths / realised.sum() < drawn @ lengths / drawn.sum()
    # what is shorter than drawn is the last span of a sequence
    assert realised @ lengths < drawn @ lengths


def test_a_span_starts_anywhere_it_fits_alike() -> None:
    # one sentence of 12 words a sequence: the first span of length l has 13 - l places
    n = 40_000
    batch = RaggedBatch(
        np.arange(n + 1) * 12,
        np.zeros(12 * n, dtype=np.int32),
        np.tile(np.arange(12, dtype=np.int32), n),
        np.empty((0, 2), dtype=np.int32),
        np.empty(0, dtype=np.int32),
        np.zeros(n + 1, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        np.arange(n + 1),
        np.arange(n),
    )
    placed = spans.sample_spans(batch, 5, 0, 1e-9)
    assert len(placed.row) == n
    for length in range(1, 11):
        starts = np.bincount(placed.first[placed.lengths == length] % 12, minlength=12)
        n_places = 13 - length
        assert not starts[n_places:].any()
        uniform = np.full(n_places, 1 / n_places)
        assert chi_square_of(starts[:n_places], uniform) < n_places + N_SIGMA * np.sqrt(2 * n_places)


@pytest.mark.parametrize("strategy", sorted(RATES.keys() - {"none"}))
@pytest.mark.parametrize("share", [0.08, 0.15])
def test_a_budget_is_met_in_every_epoch(
    big: RaggedBatch, collocations: pmi.PmiVocabulary, strategy: str, share: float
) -> None:
    part = big.rows(0, 1500)

    def blocks() -> list[RaggedBatch]:
        return [part.rows(0, 400), part.rows(400, 1500)]

    solved = solve(strategy, blocks, [share] * 2, elm_rate=0.2, seed=3, vocabulary=collocations)
    n_tokens = part.n_ordinary.sum()
    for epoch, rates in enumerate(solved):
        kinds = draw(strategy, part, **rates, seed=3, epoch=epoch, vocabulary=collocations).kinds
        assert abs((kinds > 0).sum() / n_tokens - share) < 0.0002
        assert strategy != "mslm" or rates["elm_rate"] == 0.2


def test_the_largest_elm_rate_that_is_named_is_feasible(big: RaggedBatch) -> None:
    part = big.rows(0, 500)
    with pytest.raises(UsageError, match=r"--elm-rate 0\.9 alone .* largest feasible --elm-rate is 0\.\d+") as refused:
        solve("mslm", lambda: [part], [0.15, 0.12], elm_rate=0.9, seed=3)
    named = float(str(refused.value).rstrip(")").split()[-1])
    solved = solve("mslm", lambda: [part], [0.15, 0.12], elm_rate=named, seed=3)
    kinds = [draw("mslm", part, **rates, seed=3, epoch=epoch).kinds for epoch, rates in enumerate(solved)]
    for share, epoch in [(0.15, kinds[0]), (0.12, kinds[1])]:
        assert abs((epoch > 0).sum() / part.n_ordinary.sum() - share) < 0.0005
    with pytest.raises(UsageError, match="largest feasible"):
        solve("mslm", lambda: [part], [0.15, 0.12], elm_rate=named + 0.01, seed=3)


def test_a_budget_beyond_all_mentions_is_refused(big: RaggedBatch) -> None:
    part = big.rows(0, 500)
    ds_share = part.in_mention.sum() / part.n_ordinary.sum()
    with pytest.raises(UsageError, match=f"entity can mask at most {ds_share:.4f} of the tokens"):
        solve("entity", lambda: [part], [0.9], elm_rate=0.5, seed=3)


def test_draw_takes_the_rates_of_the_strategy_alone(big: RaggedBatch) -> None:
    rates = {"rate": 0.3, "elm_rate": 0.6, "blm_rate": 0.2}
    part = big.rows(0, 100)
    for strategy, names in RATES.items():
        if strategy != "pmi":
            own = {name: rates[name] for name in names}
            every, only = (draw(strategy, part, **r, seed=11, epoch=4).kinds for r in (rates, own))
            assert np.array_equal(every, only)
    assert not draw("none", part, **rates, seed=11, epoch=4).kinds.any()


def test_counts_of_shards_add_up_to_the_counts_of_all() -> None:
    batch = make_batch(60, 40)
    parts = [batch.rows(0, 13), batch.rows(13, 60)]
    whole, *counts = [
        MaskCounts.of(b, d, collect(b, d, corrupted(b, d)), MASK_ID)
        for b in [batch, *parts]
        for d in [draw("mslm", b, elm_rate=0.5, blm_rate=0.15, seed=11, epoch=0)]
    ]
    assert counts[0] + counts[1] == whole
    assert whole.rates()["mentions"] == whole.n_predicted_mentions / whole.n_mentions > 0


def test_rates_of_nothing_are_zero() -> None:
    assert set(MaskCounts().rates().values()) == {0.0}
    assert set(MaskCounts().corruption().values()) == {0.0}
