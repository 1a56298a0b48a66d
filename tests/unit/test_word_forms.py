"""How raw text is parted into words, and which of the two ways some words were made by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.text.tokens import joined_spans, keeps_punctuation, token_spans


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in joined_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IL-2R (HF), 5.5 mmol/L.", ["IL-2R", "(", "HF", ")", ",", "5.5", "mmol/L", "."]),
        ("«β-thalassaemia»...", ["«", "β-thalassaemia", "»", ".", ".", "."]),
        ("nai\u0308ve -- 4.7%", ["nai\u0308ve", "-", "-", "4.7", "%"]),
        (" \n", []),
    ],
)
def test_punctuation_is_split_only_at_the_ends(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_both_ways_keep_all_non_space_characters(text: str) -> None:
    for spans in (joined_spans(text), token_spans(text)):
        assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
        assert [at for span in spans for at in span] == sorted(at for span in spans for at in span)


def test_corpora_reveal_how_they_were_split() -> None:
    assert keeps_punctuation(["IL-2R", *["gene"] * 500])
    assert not keeps_punctuation(["IL", "-", "2R", "gene", *["gene"] * 500])
    assert not keeps_punctuation(["IL-2R", *["gene"] * 1000])
