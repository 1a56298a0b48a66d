"""Words hidden in the input of fine-tuning: whole mentions, labels untouched, and the same draw in any batch."""

from functools import cache

import numpy as np
import torch
from encoders import word_piece
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.tasks.ner import NER
from mslm_cli.training.batching import pad
from mslm_cli.training.labelled import LabelledSequences, TrainingSource

LABELS = ["O", "B-D", "I-D", "B-C", "I-C"]
VOCABULARY = ["breast", "carcinomatosis", "of", "the", "p53-mutated", "patients", "in", "II", "immunohistochemistry"]
RATES = st.sampled_from([0.0, 0.3, 0.7, 1.0])


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    found = word_piece(VOCABULARY)
    found.model_max_length = 24
    return found


@st.composite
def sentences(draw: st.DrawFn) -> LabelledSentence:
    words = tuple(draw(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=25)))
    mentions, start = [], 0
    while start < len(words):
        end = min(len(words), start + draw(st.integers(1, 4)))
        if draw(st.booleans()):
            mentions.append((start, end, draw(st.sampled_from("CD"))))
        start = end
    return LabelledSentence("1", None, words, tuple(mentions), tuple(tags_from_mentions(mentions, len(words))))


CORPORA = st.lists(sentences(), min_size=1, max_size=5)


def encoded(found: list[LabelledSentence], **options: object) -> LabelledSequences:
    source = TrainingSource(LabelledCorpus(tuple(found), ("C", "D"), "IOB2", 0), frozenset("CD"))
    return NER.training_data([source], LABELS, tokenizer(), FinetuneConfig.build(overlap=4, **options))


def inputs(data: LabelledSequences, epoch: int, order: np.ndarray) -> dict[int, list[int]]:
    """The input ids of each sequence in an epoch, by its number."""
    update = data.update(order, epoch, lambda ids, lengths: pad(ids, lengths, 0), torch.device("cpu"))
    by_length = order[np.argsort(data.lengths[order], kind="stable")]
    return {
        int(i): update.input_ids[a:b].tolist()
        for i, a, b in zip(by_length, update.offsets, update.offsets[1:], strict=False)
    }


@given(CORPORA, RATES, RATES, st.integers(0, 3), st.integers(0, 2**32), st.booleans())
def test_hidden_words(
    found: list[LabelledSentence], mentions: float, words: float, epoch: int, seed: int, all_pieces: bool
) -> None:
    pieces = "all" if all_pieces else "first"
    plain = encoded(found, seed=seed, label_pieces=pieces)
    hiding = encoded(found, mask_mentions=mentions, mask_words=words, seed=seed, label_pieces=pieces)
    for name in ("offsets", "input_ids", "label_offsets", "positions", "classes"):
        assert np.array_equal(getattr(plain, name), getattr(hiding, name))
    order = np.random.default_rng(seed).permutation(len(plain))
    seen, shown = inputs(plain, epoch, order), inputs(hiding, epoch, order)
    mask = tokenizer().mask_token_id
    for number in range(len(plain)):
        before, after = np.array(seen[number]), np.array(shown[number])
        is_hidden = after != before
        assert set(after[is_hidden].tolist()) <= {mask}
        assert not is_hidden[[0, -1]].any()  # special tokens
        if hiding.hiding is None:
            assert not is_hidden.any()
            continue
        units = hiding.hiding.units[plain.offsets[number] : plain.offsets[number + 1]]
        for unit in set(units.tolist()) - {-1}:
            assert is_hidden[units == unit].all() or not is_hidden[units == unit].any()
            rate = hiding.hiding.rates[unit]
            if rate in (0.0, 1.0):
                assert is_hidden[units == unit].all() == bool(rate)
    # the draw is that of the epoch, whatever the batch
    assert {
        **inputs(hiding, epoch, order[: len(order) // 2]),
        **inputs(hiding, epoch, order[len(order) // 2 :]),
    } == shown


@given(CORPORA)
def test_a_mention_is_one_unit_and_other_words_are_their_own(found: list[LabelledSentence]) -> None:
    data = encoded(found, mask_mentions=1.0)
    assert data.hiding is not None
    first = np.cumsum([0, *(len(s.words) for s in found)])
    for number, sentence in enumerate(found):
        inside = {i: start for start, end, _ in sentence.mentions for i in range(start, end)}
        for i in range(len(sentence.words)):
            unit = first[number] + inside.get(i, i)
            assert unit in data.hiding.units
            assert data.hiding.rates[unit] == (1.0 if i in inside else 0.0)


def test_rates_are_kept_and_epochs_differ() -> None:
    words = tuple(VOCABULARY[i % 3] for i in range(10))
    sentence = LabelledSentence("1", None, words, ((2, 4, "D"),), tuple(tags_from_mentions([(2, 4, "D")], 10)))
    data = encoded([sentence] * 400, mask_mentions=0.2, mask_words=0.4)
    assert data.hiding is not None
    tokens = np.arange(len(data.input_ids))
    is_mention = data.hiding.rates[data.hiding.units] == 0.2
    is_special = data.hiding.units < 0
    drawn = [data.hiding.hidden(tokens, epoch) for epoch in range(3)]
    for hidden in drawn:
        assert abs(hidden[is_mention & ~is_special].mean() - 0.2) < 0.08
        assert abs(hidden[~is_mention & ~is_special].mean() - 0.4) < 0.04
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])
