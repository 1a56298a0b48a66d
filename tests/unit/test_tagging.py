import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import encoders
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.corpus.labels import strict_mentions
from mslm_cli.models import load_tokenizer
from mslm_cli.training.classifier import label_names
from mslm_cli.training.device import prepare_model
from mslm_cli.training.model import load_token_classifier
from mslm_cli.training.tagging import (
    Context,
    Windows,
    best_labels,
    continuations_of,
    make_windows,
    piece_classes,
    predict_probabilities,
    scored_mentions,
    word_pieces,
)


class Window(NamedTuple):
    """One of ``Windows``."""

    sentence: int
    input_ids: np.ndarray
    words: np.ndarray
    pieces: np.ndarray


def each(windows: Windows) -> Iterator[Window]:
    """The windows one by one."""
    tokens, labels = (itertools.pairwise(offsets.tolist()) for offsets in (windows.offsets, windows.label_offsets))
    for sentence, (a, b), (c, d) in zip(windows.sentences.tolist(), tokens, labels, strict=True):
        yield Window(sentence, windows.input_ids[a:b], windows.words[c:d], windows.pieces[c:d])


def predict_tags(
    model: PreTrainedModel, windows: Windows, n_words: list[int], *, pad_id: int, batch_tokens: int
) -> list[list[str]]:
    found = predict_probabilities(model, windows, n_words, pad_id=pad_id, batch_tokens=batch_tokens)
    labels = label_names(model)
    return [[labels[i] for i in best_labels(probabilities, labels, 0.5)] for probabilities in found]


WORDS = st.lists(
    st.sampled_from(["patients", "nephropathy", "\u200b", "a\u200bcute", "β", "acute", "x" * 200, "�", "[MASK]"]),
    max_size=40,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tiny_encoder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sentences=st.lists(WORDS, max_size=4), max_length=st.integers(8, 64), overlap=st.integers(0, 20))
def test_every_word_is_labelled_once_at_its_first_piece(
    tokenizer: PreTrainedTokenizerFast, sentences: list[list[str]], max_length: int, overlap: int
) -> None:
    windows = list(each(make_windows(sentences, tokenizer, max_length, overlap)))
    labelled = [(w.sentence, int(word)) for w in windows for word in w.words]
    assert labelled == [(i, word) for i, words in enumerate(sentences) for word in range(len(words))]
    for window in windows:
        assert len(window.input_ids) <= max_length
        assert window.input_ids[0] == tokenizer.cls_token_id
        assert window.input_ids[-1] == tokenizer.sep_token_id
        for word, position in zip(window.words, window.pieces, strict=True):
            # "[MASK]" and invisible characters are not the tokenizer's: the one is text, the others are nothing
            text = sentences[window.sentence][word].replace("[MASK]", "[").replace("\u200b", "")
            pieces = tokenizer([text], is_split_into_words=True, add_special_tokens=False)
            first = pieces["input_ids"][0] if pieces["input_ids"] else tokenizer.unk_token_id
            assert window.input_ids[position] == first


def test_a_word_of_no_pieces_and_one_of_too_many_are_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    words = ["acute", "\u200b", "z" * 99, "disease"]
    windows = list(each(make_windows([words], tokenizer, 16, 4)))
    assert sorted(int(i) for w in windows for i in w.words) == [0, 1, 2, 3]
    unknown = next(w.input_ids[p] for w in windows for i, p in zip(w.words, w.pieces, strict=True) if i == 1)
    assert unknown == tokenizer.unk_token_id


def test_prediction_does_not_depend_on_the_batches(tiny_encoder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    labels = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    model = load_token_classifier(tiny_encoder, labels, allow_pickle=False, seed=3)
    rng = np.random.default_rng(0)
    vocabulary = ["patients", "acute", "disease", "cancer", "of", "nephropathy"]
    sentences = [[str(w) for w in rng.choice(vocabulary, size=n)] for n in (3, 90, 0, 17, 40)]
    windows = make_windows(sentences, tokenizer, 64, 10)
    n_words = [len(s) for s in sentences]
    one, many = (
        predict_tags(model, windows, n_words, pad_id=tokenizer.pad_token_id, batch_tokens=n) for n in (1, 10_000)
    )
    assert one == many
    assert [len(t) for t in one] == n_words
    assert len({tag for tags in one for tag in tags}) > 1


def test_prediction_is_that_of_the_plain_model(tiny_encoder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = load_token_classifier(tiny_encoder, ["O", "B-X", "I-X"], allow_pickle=False, seed=1).eval()
    words = ["familial", "adenomatous", "polyposis", "of", "the", "colon"]
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        best = model(input_ids=encoded["input_ids"]).logits[0].argmax(-1)
    word_ids = encoded.word_ids(0)
    expected = [model.config.id2label[int(best[word_ids.index(i)])] for i in range(len(words))]
    windows = make_windows([words], tokenizer, 64, 10)
    assert predict_tags(model, windows, [6], pad_id=tokenizer.pad_token_id, batch_tokens=100) == [expected]


LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


@given(seed=st.integers(0, 1000), n_words=st.integers(1, 4))
def test_the_score_of_a_mention_is_the_probability_that_drawn_tags_spell_it(seed: int, n_words: int) -> None:
    """Against all tag sequences, each with its probability."""
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(LABELS)), size=n_words).astype(np.float32)
    expected: dict[tuple[int, int, str], float] = {}
    for tags in itertools.product(range(len(LABELS)), repeat=n_words):
        p = math.prod(float(probabilities[word, tag]) for word, tag in enumerate(tags))
        for mention in strict_mentions([LABELS[tag] for tag in tags]):
            expected[mention] = expected.get(mention, 0.0) + p
    for tags in itertools.product(LABELS, repeat=n_words):
        for found in scored_mentions(tags, probabilities, LABELS):
            assert found.score == pytest.approx(expected[found.mention], abs=1e-5)


def test_all_pieces_of_a_word_are_labelled_for_training(tokenizer: PreTrainedTokenizerFast) -> None:
    words = ["patients", "nephro-x", "acute", "x" * 30] * 6  # 1, 8 and 30 pieces: several windows
    label_ids = np.array([0, 1, 2, 3] * 6)
    windows = make_windows([words], tokenizer, 64, 10, all_pieces=True)
    assert len(windows) > 1
    found: list[tuple[int, int]] = []
    classes = piece_classes(windows, [label_ids], continuations_of(LABELS))
    for window, (first, last) in zip(each(windows), itertools.pairwise(windows.label_offsets.tolist()), strict=True):
        targets = classes[first:last]
        assert window.pieces.tolist() == list(range(window.pieces[0], window.pieces[-1] + 1))
        found += zip(window.words.tolist(), targets.tolist(), strict=True)
    sizes = [len(tokenizer.tokenize(word)) for word in words]
    later = {0: 0, 1: 2, 2: 2, 3: 4}
    assert found == [
        (i, int(label) if piece == 0 else later[int(label)])
        for i, (size, label) in enumerate(zip(sizes, label_ids, strict=True))
        for piece in range(size)
    ]


@pytest.mark.parametrize("family", encoders.FAMILIES)
def test_a_model_in_its_place_predicts_the_same(family: str, tmp_path: Path) -> None:
    text = ["patients with acute disease", "familial colon cancer of the kidney"] * 5
    folder = encoders.save(family, text, tmp_path / family)
    tokenizer = load_tokenizer(folder)
    model = load_token_classifier(folder, LABELS, allow_pickle=False, seed=1)
    words = [line.split() for line in text[:2]]
    windows = make_windows(words, tokenizer, 64, 10)
    n_words = [len(w) for w in words]

    def probabilities(of: PreTrainedModel) -> np.ndarray:
        return np.concatenate(
            predict_probabilities(of, windows, n_words, pad_id=tokenizer.pad_token_id, batch_tokens=100)
        )

    plain = probabilities(model)
    prepare_model(model, torch.device("cpu"))
    assert np.allclose(probabilities(model), plain, atol=1e-5)
    assert plain.sum(-1) == pytest.approx(1)


DOCUMENTS = st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sentences=st.lists(WORDS, min_size=6, max_size=6),
    documents=DOCUMENTS,
    n_around=st.integers(1, 4),
    max_length=st.integers(8, 96),
)
def test_context_is_of_the_same_document_and_labels_nothing(
    tokenizer: PreTrainedTokenizerFast,
    sentences: list[list[str]],
    documents: list[str | None],
    n_around: int,
    max_length: int,
) -> None:
    sentences = sentences[: len(documents)]
    context = Context(n_around, documents)
    alone = make_windows(sentences, tokenizer, max_length, 4)
    shown = make_windows(sentences, tokenizer, max_length, 4, context=context)
    assert [w.sentence for w in each(shown)] == [w.sentence for w in each(alone)]
    pieces = [list(itertools.chain.from_iterable(p)) for p in word_pieces(sentences, tokenizer)]
    for without, found in zip(each(alone), each(shown), strict=True):
        assert len(found.input_ids) <= max_length
        assert found.words.tolist() == without.words.tolist()
        own = found.input_ids[found.pieces].tolist()
        assert own == without.input_ids[without.pieces].tolist()
        i = found.sentence
        first = int(found.pieces[0]) - int(without.pieces[0]) if len(own) else 0
        before = found.input_ids[1 : 1 + first].tolist()
        after = found.input_ids[1 + first + len(without.input_ids) - 2 : -1].tolist()
        if not len(own):
            continue
        near = [j for j in range(len(sentences)) if abs(i - j) <= n_around and documents[i] is not None]
        same = [j for j in near if all(documents[k] == documents[i] for k in range(min(i, j), max(i, j) + 1))]
        text_before = list(itertools.chain.from_iterable(pieces[j] for j in same if j < i))
        text_after = list(itertools.chain.from_iterable(pieces[j] for j in same if j > i))
        assert before == text_before[len(text_before) - len(before) :]
        assert after == text_after[: len(after)]
        if sum(1 for w in alone.sentences if w == i) > 1:
            assert not [*before, *after]
        elif len(text_before) + len(without.input_ids) + len(text_after) <= max_length:
            assert (before, after) == (text_before, text_after)


def test_a_whole_document_is_shown_as_far_as_it_fits(tokenizer: PreTrainedTokenizerFast) -> None:
    sentences = [["acute"], ["patients", "acute"], ["disease"], ["of"]]
    found = list(each(make_windows(sentences, tokenizer, 64, 4, context=Context(4, ["a"] * 4))))
    assert len({tuple(window.input_ids) for window in found}) == 1
    assert [int(w.pieces[0]) for w in found] == sorted(int(w.pieces[0]) for w in found)
    assert Context(1, ["a", "a", "b", "b"]).around(1) == (range(0, -1, -1), range(2, 2))
