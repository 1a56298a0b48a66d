"""Sentence boundaries in running text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.text.sentences import chunks, split_sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


def test_sentences_end_at_full_stops_that_are_none_of_an_abbreviation() -> None:
    text = "Smith et al. (1999) gave 2.5 mg, e.g. in Fig. 2. Was it E. coli? Yes! No"
    assert split(text) == ["Smith et al. (1999) gave 2.5 mg, e.g. in Fig. 2.", "Was it E. coli?", "Yes!", "No"]


def test_invisible_characters_change_no_sentence() -> None:
    text = "Heart failure.\u200b Dr\u00ad. X\u200d: a\ufeff\n\u200b\n\u200eNo \u3164. Yes."
    plain = text.translate(dict.fromkeys(map(ord, "\u200b\u00ad\u200d\ufeff\u200e\u3164")))
    assert [s.translate(dict.fromkeys(map(ord, "\u200b\u00ad\u200d\ufeff\u200e\u3164"))) for s in split(text)] == split(
        plain
    )
    assert split(text)[0] == "Heart failure."


def test_no_sentence_contains_a_blank_line() -> None:
    assert split("A title\n \nof two\n\n\n  lines  \n\n") == ["A title", "of two", "lines"]


def test_a_title_line_stands_alone() -> None:
    body = "Aspirin prevents stroke in many patients with atrial fibrillation."
    assert split(f"Aspirin for stroke\n{body}") == ["Aspirin for stroke", body]


def test_wrapped_lines_are_one_sentence() -> None:
    text = "Patients who were given\nwarfarin or\nAspirinoides did worse\nthan others. The end"
    assert split(text) == [text.removesuffix(" The end"), "The end"]


@pytest.mark.parametrize("text", ["", " \n\n \t"])
def test_only_white_space(text: str) -> None:
    assert split(text) == []


@given(st.text("aA. \n\t)?é", max_size=60))
def test_sentences_are_ordered_stripped_and_complete(text: str) -> None:
    spans = split_sentences(text)
    assert "".join("".join(split(text)).split()) == "".join(text.split())
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    assert spans == sorted(spans)


def test_text_without_any_end_is_cut_at_spaces() -> None:
    text = "word " * 50_000
    found = split(text)
    assert max(map(len, found)) <= 100_000
    assert {word for sentence in found for word in sentence.split()} == {"word"}


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_chunks_cover_the_text(start: int, length: int) -> None:
    text = ("x" * 99_999 + " " + "y" * 250_000 + " " + "z" * 250_000)[: start + length]
    parts = list(chunks(text, start, len(text))) if start <= len(text) else []
    assert "".join(text[a:b] for a, b in parts) == text[start:]
    assert all(b - a <= 100_000 for a, b in parts)
