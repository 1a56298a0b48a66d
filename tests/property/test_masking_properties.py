"""Invariants of every masking strategy, and an oracle that draws from the same numbers one at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from masks import RATES, draw

from mslm_cli.masking import pmi
from mslm_cli.masking.batch import DS_TERM, GENERIC, NOT_PREDICTED, RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.corruption import collect, corrupt
from mslm_cli.masking.grams import count_grams
from mslm_cli.masking.random import Purpose, child

MASK_ID, VOCAB_SIZE = 4, 50
SPECIAL_IDS = [0, 1, 2, 3, 4, 30, 49]
ORDINARY = [i for i in range(VOCAB_SIZE) if i not in SPECIAL_IDS]
STRATEGIES = list(RATES)
WHOLE_WORDS = [strategy for strategy in STRATEGIES if strategy != "token"]


Draw = Callable[[Purpose, int], float]


@dataclass(frozen=True)
class Rates:
    rate: float
    elm_rate: float
    blm_rate: float
    mask_replace: tuple[float, float, float]


@dataclass(frozen=True)
class Example:
    """One sequence: ids, the word of each token (None: special), mentions [start, end) in tokens, sentence starts."""

    ids: list[int]
    words: list[int | None]
    spans: list[tuple[int, int]]
    sentences: tuple[int, ...] = ()

    def stretches(self) -> list[list[list[int]]]:
        """The positions of the words, in runs of words that follow on each other in one sentence."""
        found: list[list[list[int]]] = []
        before: int | None = None
        for position, word in enumerate(self.words):
            if word is not None and word == before:
                found[-1][-1].append(position)
            elif word is not None and before is not None and position not in self.sentences:
                found[-1].append([position])
            elif word is not None:
                found.append([[position]])
            before = word
        return found


@st.composite
def sequences(draw: st.DrawFn) -> Example:
    """[CLS] words [SEP], or bare words; some unknown, mentions anywhere, also touching; or no word, or nothing."""
    if draw(st.integers(0, 9)) == 0:
        return Example([], [], [])
    is_framed = draw(st.booleans())
    ids: list[int] = [2] if is_framed else []
    words: list[int | None] = [None] if is_framed else []
    spans: list[tuple[int, int]] = []
    sentences: list[int] = []
    for _ in range(draw(st.integers(0, 8))):
        if not sentences or draw(st.integers(0, 3)) == 0:
            sentences.append(len(ids))
        kind = draw(st.sampled_from(["mention", "mention", "generic", "generic", "unknown"]))
        start = len(ids)
        for _ in range(draw(st.integers(1, 3))):
            word = len(ids)
            n_pieces = draw(st.integers(1, 3))
            ids += draw(st.lists(st.sampled_from(ORDINARY[:4]), min_size=n_pieces, max_size=n_pieces))
            words += [None if kind == "unknown" else word] * n_pieces
        if kind == "mention":
            spans.append((start, len(ids)))
    if is_framed:
        return Example([*ids, 3], [*words, None], spans, tuple(sentences))
    return Example(ids, words, spans, tuple(sentences))


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
NO_COLLOCATIONS = pmi.PmiVocabulary({})
BARE_WORD = Example([10], [0], [])
TOUCHING = Example([2, 10, 11, 12, 13, 3], [None, 0, 0, 1, 2, None], [(1, 3), (3, 4), (4, 5)])


def ragged(examples: list[Example], index: list[int] | None = None) -> RaggedBatch:
    words = [-1 if w is None else w for e in examples for w in e.words]
    return RaggedBatch(
        np.cumsum([0, *(len(e.ids) for e in examples)]),
        np.array([i for e in examples for i in e.ids], dtype=np.int32),
        np.array(words, dtype=np.int32),
        np.array([s for e in examples for s in e.spans], dtype=np.int32).reshape(-1, 2),
        np.zeros(sum(len(e.spans) for e in examples), dtype=np.int32),
        np.cumsum([0, *(len(e.spans) for e in examples)]),
        np.array([s for e in examples for s in e.sentences], dtype=np.int32),
        np.cumsum([0, *(len(e.sentences) for e in examples)]),
        np.array(range(len(examples)) if index is None else index, dtype=np.int64),
    )


def collocations(examples: list[Example]) -> pmi.PmiVocabulary:
    """About half of all n-grams of the examples, by a coin that their keys throw."""
    counted = count_grams(Blocks(lambda: [ragged(examples)]), 0)
    return pmi.PmiVocabulary({n: counted[n].keys[counted[n].keys % 2 == 0] for n in pmi.QUOTAS})


def masked(
    strategy: str, batch: RaggedBatch, r: Rates, seed: int, epoch: int, vocabulary: pmi.PmiVocabulary
) -> list[tuple[list[int], list[int]]]:
    """Kinds and corrupted ids of each sequence."""
    rates = {"rate": r.rate, "elm_rate": r.elm_rate, "blm_rate": r.blm_rate}
    drawn = draw(strategy, batch, **rates, seed=seed, epoch=epoch, vocabulary=vocabulary)
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


def is_below(seed: int, epoch: int, purpose: Purpose, sequence: int, position: int, rate: float) -> bool:
    return child(child(child(child(child(seed, 0), epoch), purpose), sequence), position) < rate * 2**64


def gram_key(ids: list[int], words: list[list[int]]) -> int:
    keys = [child(sum(child(ids[p], k) for k, p in enumerate(word)) % 2**64, 0) for word in words]
    key = keys[0]
    for other in keys[1:]:
        key = child(key, other)
    return key


def span_words(e: Example, r: Rates, u: Draw) -> list[tuple[list[int], int]]:
    """The words of spans that are placed one after the other, and where each one's span begins."""
    stretches = e.stretches()
    words = [word for stretch in stretches for word in stretch]
    n_tokens = sum(map(len, words))
    rooms: list[list[int]] = []
    for stretch in stretches:
        rooms.append([sum(n for _, n in rooms), len(stretch)])
    shares = [0.8**k for k in range(10)]
    until = [sum(shares[: k + 1]) / sum(shares) for k in range(9)]
    placed: list[tuple[list[int], int]] = []
    n_spans = 0
    while sum(len(word) for word, _ in placed) < r.rate * n_tokens and any(n for _, n in rooms):
        length = 1 + sum(bound <= u(Purpose.SPAN_LENGTH, n_spans) for bound in until)
        length = min(length, max(n for _, n in rooms))
        places = [(room, offset) for room in rooms for offset in range(room[1] - length + 1)]
        room, offset = places[int(u(Purpose.SPAN_START, n_spans) * len(places))]
        first = room[0] + offset
        rooms.append([first + length, room[1] - offset - length])
        room[1] = offset
        placed += [(word, words[first][0]) for word in words[first : first + length]]
        n_spans += 1
    crossing, before, masked = u(Purpose.SPAN_END, 0), 0, []
    for word, anchor in placed:
        if (before + crossing * len(word)) / n_tokens < r.rate:
            masked.append((word, anchor))
        before += len(word)
    return masked


def grams(e: Example, vocabulary: pmi.PmiVocabulary, priority: Callable[[int], int]) -> list[list[int]]:
    """The positions of each n-gram of the vocabulary, and of each word that is in none."""
    keys = {n: set(found.tolist()) for n, found in vocabulary.keys.items()}
    units = []
    for words in e.stretches():
        found = [
            (i, i + n) for n in keys for i in range(len(words) - n + 1) if gram_key(e.ids, words[i : i + n]) in keys[n]
        ]
        found = [g for g in found if not any(o != g and o[0] <= g[0] and g[1] <= o[1] for o in found)]
        free = set(range(len(words)))
        for start, end in sorted(found, key=lambda g: -priority(words[g[0]][0])):
            if free.issuperset(range(start, end)):
                free -= set(range(start, end))
                units.append([p for word in words[start:end] for p in word])
        units += [words[i] for i in free]
    return units


def oracle(
    strategy: str, e: Example, sequence: int, r: Rates, seed: int, epoch: int, vocabulary: pmi.PmiVocabulary
) -> tuple[list[int], list[int]]:
    """Kinds and corrupted ids, one token after the other."""

    def u(purpose: Purpose, position: int) -> float:
        return uniform(seed, epoch, purpose, sequence, position)

    def priority(position: int) -> int:
        return child(child(child(child(child(seed, 0), epoch), Purpose.OVERLAP), sequence), position)

    words = [word for stretch in e.stretches() for word in stretch]
    in_mention = {p for start, end in e.spans for p in range(start, end)}
    mentions = [list(range(start, end)) for start, end in e.spans]
    found: list[tuple[list[int], Purpose, float, int]] = []
    match strategy:
        case "token":
            found = [([p], Purpose.TOKEN, r.rate, GENERIC) for word in words for p in word]
        case "word":
            found = [(word, Purpose.WORD, r.rate, GENERIC) for word in words]
        case "pmi":
            found = [(unit, Purpose.WORD, r.rate, GENERIC) for unit in grams(e, vocabulary, priority)]
        case "entity" | "mslm":
            found = [(mention, Purpose.MENTION, r.elm_rate, DS_TERM) for mention in mentions]
        case "span" | "none":  # the units of span are found below
            pass
        case _:
            raise AssertionError(f"the oracle does not know {strategy}: add its case")
    if strategy == "mslm":
        found += [(w, Purpose.WORD, r.blm_rate, GENERIC) for w in words if not in_mention.intersection(w)]
    units = [
        (positions, positions[0], kind)
        for positions, purpose, rate, kind in found
        if is_below(seed, epoch, purpose, sequence, positions[0], rate)
    ]
    if strategy == "span":
        units = [(word, anchor, GENERIC) for word, anchor in span_words(e, r, u)]
    kinds, ids = [NOT_PREDICTED] * len(e.ids), list(e.ids)
    for positions, anchor, kind in units:
        fate = u(Purpose.CORRUPTION, anchor)
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
    known = collocations(examples)
    found = masked(strategy, ragged(examples), r, seed, epoch, known) if examples else []
    assert found == [oracle(strategy, e, i, r, seed, epoch, known) for i, e in enumerate(examples)]


@given(st.sampled_from(STRATEGIES), batches, all_rates, seeds, epochs)
def test_special_tokens_are_never_predicted_nor_replaced(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    for e, (kinds, ids) in zip(
        examples, masked(strategy, ragged(examples), r, seed, epoch, collocations(examples)), strict=False
    ):
        for position, word in enumerate(e.words):
            if word is None:
                assert kinds[position] == NOT_PREDICTED
                assert ids[position] == e.ids[position]
            assert ids[position] in (e.ids[position], MASK_ID) or ids[position] not in SPECIAL_IDS


@given(st.sampled_from(WHOLE_WORDS), batches, all_rates, seeds, epochs)
def test_no_strategy_but_token_masks_half_a_word(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    for e, (kinds, _) in zip(
        examples, masked(strategy, ragged(examples), r, seed, epoch, collocations(examples)), strict=False
    ):
        for word in {w for w in e.words if w is not None}:
            assert len({k for k, w in zip(kinds, e.words, strict=True) if w == word}) == 1


@given(st.sampled_from(["entity", "mslm"]), batches, all_rates, seeds, epochs)
@example("mslm", [TOUCHING], Rates(0, 0.5, 1.0, (1.0, 0.0, 0.0)), 1, 0)
def test_mentions_are_masked_whole_or_not_and_words_outside_only(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    for e, (kinds, _) in zip(
        examples, masked(strategy, ragged(examples), r, seed, epoch, NO_COLLOCATIONS), strict=False
    ):
        outside = set(range(len(kinds)))
        for start, end in e.spans:
            assert set(kinds[start:end]) in ({DS_TERM}, {NOT_PREDICTED})
            outside -= set(range(start, end))
        assert all(kinds[position] != DS_TERM for position in outside)
        assert strategy == "mslm" or not any(kinds[position] for position in outside)


@given(batches, all_rates, seeds, epochs)
@example([ONE_MENTION, TOUCHING, NO_WORDS, NOTHING], Rates(0, 1.0, 1.0, (1.0, 0.0, 0.0)), 1, 0)
def test_elm_and_blm_never_mask_the_same_token(examples: list[Example], r: Rates, seed: int, epoch: int) -> None:
    drawn = draw("mslm", ragged(examples), elm_rate=r.elm_rate, blm_rate=r.blm_rate, seed=seed, epoch=epoch)
    tokens = [token for part in drawn.parts for token in part.tokens.tolist()]
    assert len(set(tokens)) == len(tokens)
    assert {part.mask_kind for part in drawn.parts} == {GENERIC, DS_TERM}
    for part in drawn.parts:
        assert np.all(np.diff(part.tokens) > 0)


@given(st.sampled_from(["span", "pmi"]), batches, all_rates, seeds, epochs)
def test_spans_and_collocations_are_runs_of_words_in_one_sentence(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    batch = ragged(examples) if examples else ragged([NOTHING])
    drawn = draw(strategy, batch, rate=r.rate, seed=seed, epoch=epoch, vocabulary=collocations(examples))
    for e, begin in zip(examples, batch.offsets, strict=False):
        units = [max(u - int(begin), -1) for u in drawn.units[begin : begin + len(e.ids)].tolist()]
        for unit in set(units) - {-1}:
            positions = [p for p, u in enumerate(units) if u == unit]
            assert positions == list(range(unit, unit + len(positions)))
            homes = [s for s in e.stretches() if {p for w in s for p in w}.issuperset(positions)]
            assert len(homes) == 1
            n_words = sum(word[0] in positions for word in homes[0])
            assert n_words <= (10 if strategy == "span" else 5)


@given(st.sampled_from(STRATEGIES), st.lists(sequences(), min_size=1, max_size=6), all_rates, seeds, epochs, st.data())
def test_a_mask_does_not_depend_on_the_batch(
    strategy: str, examples: list[Example], r: Rates, seed: int, epoch: int, data: st.DataObject
) -> None:
    index = data.draw(st.lists(st.integers(0, 2**40), min_size=len(examples), max_size=len(examples), unique=True))
    known = collocations(examples)
    together = masked(strategy, ragged(examples, index), r, seed, epoch, known)
    order = data.draw(st.permutations(range(len(examples))))
    shuffled = masked(strategy, ragged([examples[i] for i in order], [index[i] for i in order]), r, seed, epoch, known)
    assert shuffled == [together[i] for i in order]
    first = data.draw(st.integers(0, len(examples) - 1))
    part = ragged(examples, index).rows(first, len(examples))
    assert masked(strategy, part, r, seed, epoch, known) == together[first:]


@given(st.lists(sequences(), min_size=1, max_size=5), seeds, epochs)
def test_rates_of_one_mask_everything_and_rates_of_zero_nothing(examples: list[Example], seed: int, epoch: int) -> None:
    shares = (0.8, 0.1, 0.1)
    known = collocations(examples)
    for strategy in STRATEGIES:
        none = masked(strategy, ragged(examples), Rates(0.0, 0.0, 0.0, shares), seed, epoch, known)
        for e, (kinds, ids) in zip(examples, none, strict=True):
            assert not any(kinds), strategy
            assert ids == e.ids, strategy
    for strategy in ("mslm", "token", "word", "span", "pmi"):  # these can mask every word
        full = masked(strategy, ragged(examples), Rates(1.0, 1.0, 1.0, shares), seed, epoch, known)
        for e, (kinds, _) in zip(examples, full, strict=True):
            assert [k > 0 for k in kinds] == [w is not None for w in e.words], strategy


@given(batches, all_rates, seeds, epochs)
def test_collected_masks_rebuild_the_corrupted_sequences(
    examples: list[Example], r: Rates, seed: int, epoch: int
) -> None:
    batch = ragged(examples)
    drawn = draw("mslm", batch, elm_rate=r.elm_rate, blm_rate=r.blm_rate, seed=seed, epoch=epoch)
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


def test_touching_mentions_are_drawn_independently() -> None:
    seen = set()
    for epoch in range(200):
        (kinds, _), *_ = masked(
            "mslm", ragged([TOUCHING]), Rates(0, 0.5, 0, (1.0, 0.0, 0.0)), 0, epoch, NO_COLLOCATIONS
        )
        seen.add((kinds[1], kinds[3], kinds[4]))
    assert len(seen) == 8, "each of three mentions is masked or not, whatever happens to the others"


@given(st.lists(sequences(), min_size=1, max_size=4), seeds, epochs)
def test_a_higher_rate_masks_a_superset(examples: list[Example], seed: int, epoch: int) -> None:
    known = collocations(examples)
    for strategy in STRATEGIES:
        low, high = (
            draw(strategy, ragged(examples), rate=x, elm_rate=x, blm_rate=x, seed=seed, epoch=epoch, vocabulary=known)
            for x in (0.2, 0.6)
        )
        assert np.all(high.kinds >= low.kinds)
