"""Sentences begin where spaCy's sentencizer has them begin."""

import json
import os
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mslm_cli.text import english

spacy = pytest.importorskip("spacy")

RESOURCE = Path(__file__).resolve().parents[2] / "resources" / "english-tokens.json"
EXCEPTIONS = [tokens.replace(" ", "") for tokens in json.loads(RESOURCE.read_text(encoding="utf-8"))["exceptions"]]
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


def test_the_rules_are_those_of_spacy() -> None:
    nlp = spacy.blank("en")
    ends = nlp.add_pipe("sentencizer").punct_chars
    exceptions = {
        " ".join(token.get("ORTH", token.get(65)) for token in tokens) for tokens in nlp.tokenizer.rules.values()
    }
    rules = {
        "prefix": nlp.tokenizer.prefix_search.__self__.pattern,
        "suffix": nlp.tokenizer.suffix_search.__self__.pattern,
        "infix": nlp.tokenizer.infix_finditer.__self__.pattern,
        "url": nlp.tokenizer.url_match.__self__.pattern,
        "ends": sorted(ends),
        "exceptions": sorted(tokens for tokens in exceptions if tokens.strip()),
    }
    if os.environ.get("UPDATE_GOLDEN"):
        RESOURCE.write_text(json.dumps(rules, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    assert json.loads(RESOURCE.read_text(encoding="utf-8")) == rules
