"""Words of pieces: with a tokenizer of every family, the words that are masked are those of the word rule."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from encoders import FAMILIES, ROBERTA_SPECIAL, save
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli import models
from mslm_cli.config import ExtractTermsConfig, PreprocessConfig
from mslm_cli.corpus.documents import Document
from mslm_cli.errors import UnavailableError
from mslm_cli.masking.packing import words_of_tokens
from mslm_cli.sequences import Vocabulary, encode, vocabulary_of
from mslm_cli.stages import extract_terms, preprocess, show_masks
from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.matcher import Matcher

TRAIN = [
    "the familial breast cancer gene",
    "patients treated with aspirin had acute renal failure",
    "side effects of warfarin in heart failure and stroke",
    "given heparin on the first day",
]
WORDS = (
    "The p53 and IL-2R genes respond to 5-fluorouracil given on the 18th day, ATP7B too; CD4+ cells with 10mg heparin."
)
PUNCTUATED = 'Side effects (warfarin), heart failure/stroke; warfarin-treated, and "heart failure".'
SPECIAL = "The token [MASK] and <mask> and <s> in </s> <unk> [UNK] [PAD] <pad> heart failure [CLS] again."


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, [*TRAIN, WORDS] * 5, tmp_path_factory.mktemp("encoder") / request.param)


@cache
def vocabulary(folder: Path) -> Vocabulary:
    return vocabulary_of(models.load_tokenizer(folder), folder)


def words_and_mentions(folder: Path, text: str, *terms: str) -> tuple[list[str], list[str]]:
    """The words that are masked whole, and the mentions, in characters of ``text`` without spaces.

    Words with unknown pieces are never masked, so each of their pieces is a word here.
    """
    matcher = Matcher([Term(term, ("user",)) for term in terms])
    document = Document("1", text, ((0, len(text)),), False)
    batch = encode([document], vocabulary(folder), matcher, 512).sequences.batch
    pieces = vocabulary(folder).backend.encode(text, add_special_tokens=False)
    ids = batch.word_ids[1:-1].tolist()
    assert batch.input_ids[1:-1].tolist() == pieces.ids
    starts = [i for i, (a, b) in enumerate(pairwise([None, *ids])) if a != b or b == -1]
    bounds = list(pairwise([*starts, len(ids)]))
    spans = (batch.spans - 1).tolist()
    return tuple(
        [text[pieces.offsets[a][0] : pieces.offsets[b - 1][1]].strip() for a, b in found] for found in (bounds, spans)
    )


def test_words_are_never_split(folder: Path) -> None:
    words, _ = words_and_mentions(folder, WORDS)
    assert {"p53", "IL-2R", "5-fluorouracil", "18th", "ATP7B", "CD4", "10mg", "cells", "day"} <= set(words)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        (PUNCTUATED, ["warfarin", "heart failure", "warfarin", "heart failure"]),
        ("«warfarin»,anti-warfarin/aspirin", ["warfarin", "warfarin"]),
        ("warfarin§ §heart failure§§", ["warfarin", "heart failure"]),
        ("warfarin’s (heart failure)-stroke", ["warfarin", "heart failure"]),
    ],
)
def test_a_mention_is_its_words_alone(folder: Path, text: str, mentions: list[str]) -> None:
    assert words_and_mentions(folder, text, "warfarin", "heart failure")[1] == mentions


def test_special_tokens_written_in_a_text_are_text(folder: Path) -> None:
    tokenizer = models.load_tokenizer(folder)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    backend = vocabulary(folder).backend
    for text in (SPECIAL, "<mask>", "a<mask>b </s>", *ROBERTA_SPECIAL.values()):
        assert special.isdisjoint(backend.encode(text, add_special_tokens=False).ids)
        assert special.isdisjoint(backend.encode([text], is_pretokenized=True, add_special_tokens=False).ids)
    # what has nothing special is encoded as by the tokenizer itself
    for text in TRAIN:
        assert (
            backend.encode(text, add_special_tokens=False).ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        )


@pytest.mark.parametrize("strategy", ["word", "span", "pmi"])
def test_strategies_mask_a_word_whole_or_not_at_all(folder: Path, tmp_path: Path, strategy: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join([WORDS, PUNCTUATED] * 30), encoding="utf-8")
    config = PreprocessConfig.build(model=str(folder), strategy=strategy, max_length=128, rate=0.4)
    shards = preprocess.run([text], tmp_path / "shards", config, lexicon=None)
    n_masked = 0
    for sequence in show_masks.run(shards, 100, 0):
        kinds: dict[int, set[int]] = {}
        for word, kind in zip(sequence.word_ids, sequence.kind, strict=True):
            if word is not None:
                kinds.setdefault(word, set()).add(kind)
        assert all(len(found) == 1 for found in kinds.values())
        n_masked += sum(kind > 0 for (kind,) in kinds.values())
    assert n_masked > 100


def test_mentions_are_masked_without_their_neighbours(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(PUNCTUATED, encoding="utf-8")
    (tmp_path / "terms.txt").write_text("warfarin\nheart failure\n", encoding="utf-8")
    lexicon = extract_terms.run(
        [],
        tmp_path / "lexicon",
        ExtractTermsConfig.build(),
        given=extract_terms.TermInputs(terms=[tmp_path / "terms.txt"]),
    )
    config = PreprocessConfig.build(model=str(folder), strategy="entity", max_length=128, elm_rate=1.0)
    shards = preprocess.run([tmp_path / "text.txt"], tmp_path / "shards", config, lexicon=lexicon)
    (sequence,) = show_masks.run(shards, 100, 0)
    masked = {i for start, end in sequence.spans for i in range(start, end)}
    assert len(sequence.spans) == 4
    assert {i for i, kind in enumerate(sequence.kind) if kind} == masked


@pytest.mark.parametrize("family", ["bert", "xlm-r"])
def test_a_tokenizer_with_more_entries_than_embeddings_is_refused(family: str, tmp_path: Path) -> None:
    folder = save(family, TRAIN * 5, tmp_path / "encoder")
    tokenizer = models.load_tokenizer(folder)
    n = len(tokenizer)
    tokenizer.add_tokens(["prewarfarin", "heparins"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UnavailableError, match=f"has {n + 2} entries, but its encoder only {n} embeddings"):
        models.load_tokenizer(folder)


@given(data=st.data())
def test_words_of_tokens_agree_with_a_search_of_every_character(data: st.DataObject) -> None:
    text = data.draw(st.text("ab -", max_size=20))
    words = []
    for i, c in enumerate(text):
        if c != " ":
            if c == "-" or i == 0 or text[i - 1] in " -":
                words.append((i, i + 1))
            else:
                words[-1] = (words[-1][0], i + 1)
    if not words:
        return
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=3))
    bounds = sorted(data.draw(st.sets(st.integers(0, words[-1][1]), max_size=8)) | {0, words[-1][1]})
    tokens = list(pairwise(bounds))
    arrays = (np.array(values, dtype=np.int64) for values in (*zip(*tokens, strict=True), words, cuts))
    found = words_of_tokens(*arrays).tolist()

    parts = sorted(
        {
            (a, b)
            for start, end in words
            for a, b in pairwise([start, *sorted({c for c in cuts if start < c < end}), end])
        }
    )
    at = {i: number for number, (start, end) in enumerate(parts) for i in range(start, end)}
    following = [next(at[i] for i in range(a, len(text)) if i in at) for a, _ in tokens]
    touched = [{at[i] for i in range(a, b) if i in at} or {n} for (a, b), n in zip(tokens, following, strict=True)]
    group = list(range(len(parts)))
    for together in touched:
        least = min(group[n] for n in together)
        group = [least if g in {group[n] for n in together} else g for g in group]
    expected = [group[min(together)] for together in touched]
    assert found[0] == 0
    assert [b - a for a, b in pairwise(found)] == [int(a != b) for a, b in pairwise(expected)]
