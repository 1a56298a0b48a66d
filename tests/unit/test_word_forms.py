"""How raw text is parted into words, and which of the two ways some words were made by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.text.tokens import joined_spans, keeps_punctuation, token_spans, visible, word_spans


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in joined_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IL-2R (HF), 5.5 mmol/L.", ["IL-2R", "(", "HF", ")", ",", "5.5", "mmol/L", "."]),
        ("«β-thalassaemia»...", ["«", "β-thalassaemia", "»", ".", ".", "."]),
        ("nai\u0308ve -- 4.7%", ["nai\u0308ve", "-", "-", "4.7", "%"]),
        ("IL-2², H₂O₂ Ca²⁺", ["IL-2", "²", ",", "H₂O₂", "Ca²", "⁺"]),
        ("\u200b(\u200eHF\u200f)", ["(", "HF", ")"]),
        (" \n", []),
    ],
)
def test_punctuation_is_split_only_at_the_ends(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p53, IL-2R (18th) 10mg/L", ["p53", ",", "IL-2R", "(", "18th", ")", "10mg", "/", "L"]),
        ("1,2-dichloro Wilson’s CD4+ 5.5%", ["1,2-dichloro", "Wilson’s", "CD4", "+", "5.5", "%"]),
        ("pre- and post-natal a.b -x", ["pre", "-", "and", "post-natal", "a", ".", "b", "-", "x"]),
        ("IL‑2R² in-\u200bvivo heart-¹", ["IL‑2R", "²", "in-\u200bvivo", "heart", "-", "¹"]),
        ("", []),
    ],
)
def test_words_are_tokens_and_compounds(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == expected


@given(st.text("aB_s15-'., %"))
def test_words_of_plain_text_are_those_of_any_text(text: str) -> None:
    assert word_spans(text) == word_spans(f"{text} é")[:-1]


@given(st.text() | st.text("a2-.,'s² \u200b\u0301"))
def test_all_ways_keep_all_visible_characters(text: str) -> None:
    for spans in (joined_spans(text), token_spans(text), word_spans(text)):
        assert visible("".join(text[start:end] for start, end in spans)) == "".join(visible(text).split())
        assert [at for span in spans for at in span] == sorted(at for span in spans for at in span)


def test_corpora_reveal_how_they_were_split() -> None:
    assert keeps_punctuation(["IL-2R", *["gene"] * 500])
    assert not keeps_punctuation(["IL", "-", "2R", "gene", *["gene"] * 500])
    assert not keeps_punctuation(["IL-2R", *["gene"] * 1000])
