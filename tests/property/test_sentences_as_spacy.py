"""Sentences begin where spaCy's sentencizer has them begin."""

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mslm_cli.errors import UnavailableError
from mslm_cli.text import english, spacy_rules
from mslm_cli.text.spacy_rules import english_rules

spacy = pytest.importorskip("spacy")

EXCEPTIONS = [tokens.replace(" ", "") for tokens in english_rules().exceptions]
MARKS = [
    *"!.?。！।։.…,:;()[]{}'\"’”“«»-–—/%°+=<>*_&$€§¿¡~^|\\@#",
    "..",
    "...",
    "?!",
    "'s",
    "km²",
    "10",
    "5.5",
    "http://",
]
WORDS = [
    "The",
    "cells",
    "a",
    "vitamin",
    "Fig",
    "al",
    "et",
    "Ph",
    "D",
    "IL-2",
    "p53",
    "µm",
    "α",
    "Über",
    "i",
    "e",
    "g",
    "1",
]
SPACES = [" ", " ", " ", " ", "", "", "", "  ", "\t", "\n", "\xa0", "\u2003", " \n", "\n "]


@cache
def sentencizer() -> "spacy.language.Language":
    nlp = spacy.blank("en")
    for abbreviation in english._ABBREVIATIONS:
        nlp.tokenizer.add_special_case(abbreviation, [{"ORTH": abbreviation}])
    nlp.add_pipe("sentencizer")
    return nlp


def sentences(text: str, starts: list[int]) -> list[tuple[int, str]]:
    """The sentences that begin at ``starts``, without surrounding white space, with where they begin."""
    parts = [(start, text[start:end]) for start, end in pairwise([*starts, len(text)])]
    return [(start + len(part) - len(part.lstrip()), part.strip()) for start, part in parts if part.strip()]


def as_spacy(text: str) -> list[tuple[int, str]]:
    return sentences(text, [sentence.start_char for sentence in sentencizer()(text).sents])


pieces = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(MARKS),
    st.sampled_from(EXCEPTIONS),
    st.text(max_size=3),
    st.sampled_from(".?!"),
)
texts = st.lists(st.tuples(pieces, st.sampled_from(SPACES)), max_size=14).map(
    lambda pairs: "".join(piece + space for piece, space in pairs)
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(texts, st.text(max_size=30)))
def test_sentences_are_those_of_spacy(text: str) -> None:
    assert sentences(text, english.sentence_starts(text)) == as_spacy(text)


FORMS = ["{} The", "x-{} The", "({}) The", "{}, the. {}", "A {}.", "'{}' 'A", "{}{}. B", "one. {} two", "1{} {}a. B"]


@pytest.mark.parametrize("form", FORMS)
def test_exceptions_end_sentences_as_in_spacy(form: str) -> None:
    for exception in EXCEPTIONS:
        text = form.format(exception, exception)
        assert sentences(text, english.sentence_starts(text)) == as_spacy(text), text


def not_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_rules_are_kept_and_made_anew_where_they_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSLM_CACHE", str(tmp_path / "cache"))
    rules = english_rules()
    (kept,) = (tmp_path / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spacy", None)
        assert english_rules() == rules
        patch.setattr(spacy_rules, "version", not_installed)
        assert english_rules() == rules, "the last that were kept"
        kept.write_text(kept.read_text(encoding="utf-8")[:-100], encoding="utf-8")
        with pytest.raises(UnavailableError, match="rules of spaCy"):
            english_rules()
    assert english_rules() == rules
    kept.write_text("{}")
    kept.parent.chmod(0o500)
    assert english_rules() == rules
