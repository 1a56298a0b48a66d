"""Words and their kinds: what can begin, continue and end a term."""

import pytest

from mslm_cli.terms.words import WordClass, WordLists, WordReader, english, shown

LISTS = WordLists(
    stop=frozenset(["the", "was", "of", "in", "and", "up", "to"]),
    general=frozenset(["study", "group"]),
    never_alone=frozenset(["failure"]),
)


@pytest.fixture
def reader() -> WordReader:
    return WordReader(LISTS)


def surfaces(reader: WordReader, text: str, *, is_tokenised: bool = False) -> list[str]:
    return [word.surface for word in reader.read(text, is_tokenised=is_tokenised)]


def test_compounds_and_possessives_are_one_word(reader: WordReader) -> None:
    assert surfaces(reader, "Wilson's X-linked (non-small-cell) pre- and 0.87") == [
        *["Wilson's", "X-linked", "(", "non-small-cell", ")", "pre", "-", "and", "0.87"]
    ]


def test_invisible_characters_and_superscripts_are_no_part_of_words(reader: WordReader) -> None:
    words = reader.read("inter\u200bleukin-\u20606² in¹ \u200e heart² H₂O₂")
    assert [word.surface for word in words] == ["interleukin-6", "²", "in", "¹", "heart", "²", "H2O2"]
    assert {word.word_class for word in words[1::2]} == {WordClass.BREAK}


def test_a_dash_between_spaces_joins_in_tokenised_text_only(reader: WordReader) -> None:
    text = "IL - 2 , Wilson ' s 1 , 2"
    assert surfaces(reader, text) == ["IL", "-", "2", ",", "Wilson", "'", "s", "1", ",", "2"]
    assert surfaces(reader, text, is_tokenised=True) == ["IL-2", ",", "Wilson's", "1", ",", "2"]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("aspirin", WordClass.CONTENT),
        ("p53", WordClass.CONTENT),
        ("IL-2", WordClass.CONTENT),
        ("5-HT", WordClass.CONTENT),
        ("β-catenin", WordClass.CONTENT),
        ("anomaly", WordClass.CONTENT),
        ("血液", WordClass.CONTENT),
        ("Failure", WordClass.PARTNER),
        ("failure-free", WordClass.CONTENT),
        ("study", WordClass.GENERAL),
        ("Group's", WordClass.GENERAL),
        ("study-group", WordClass.GENERAL),
        ("2-group", WordClass.GENERAL),
        ("VIII", WordClass.WEAK),
        ("B", WordClass.WEAK),
        ("α", WordClass.WEAK),
        ("12", WordClass.WEAK),
        ("A-T", WordClass.WEAK),
        ("Was", WordClass.BREAK),
        ("up-to", WordClass.BREAK),
        ("b", WordClass.BREAK),
        ("1998", WordClass.BREAK),
        ("0.87", WordClass.BREAK),
        ("1,200", WordClass.BREAK),
        ("5mg", WordClass.BREAK),
        ("5kDa", WordClass.BREAK),
        ("370C", WordClass.BREAK),
        ("14C", WordClass.CONTENT),
        ("Ca2+", WordClass.CONTENT),
        ("10-20", WordClass.BREAK),
        ("rapidly", WordClass.BREAK),
        ("(", WordClass.BREAK),
        ("-", WordClass.BREAK),
        ("_", WordClass.BREAK),
    ],
)
def test_kinds(reader: WordReader, word: str, kind: WordClass) -> None:
    assert [found.word_class for found in reader.read(f"x {word}")][1:] == [kind]


def test_a_letter_at_the_start_of_a_sentence_is_an_article_or_a_pronoun(reader: WordReader) -> None:
    assert [word.word_class for word in reader.read("A type A")] == [WordClass.BREAK, WordClass.CONTENT, WordClass.WEAK]
    assert reader.read("I saw factor I")[0].word_class is WordClass.BREAK


def test_a_letter_or_number_beside_a_sign_is_a_part_of_something_else(reader: WordReader) -> None:
    words = reader.read("x DNA G+C and 7% or a/B 5+ with CD4+ and Na+, 20 ng but NG", is_tokenised=False)
    classes = {word.surface: word.word_class for word in words}
    assert [classes[name] for name in ("G", "C", "7", "B", "5", "ng")] == [WordClass.BREAK] * 6
    assert [classes[name] for name in ("DNA", "CD4+", "Na+", "NG")] == [WordClass.CONTENT] * 4


def test_words_are_shown_as_written(reader: WordReader) -> None:
    words = reader.read("Non - Hodgkin LYMPHOMA", is_tokenised=True)
    assert shown(words) == "Non-Hodgkin LYMPHOMA"
    assert [word.form for word in words] == ["non-hodgkin", "lymphoma"]


def test_the_lists_that_ship_are_folded_and_hold_what_no_reader_would_call_a_term() -> None:
    lists = english()
    assert all(word == word.casefold() for word in lists.stop | lists.general | lists.never_alone)
    assert not lists.never_alone & (lists.stop | lists.general)
    assert {"the", "were", "showed", "mg"} <= lists.stop
    assert {"patients", "studies", "results", "significant"} <= lists.general
    assert {"nov", "micromol"} <= lists.stop
    assert {"ph"} <= lists.never_alone
    assert {"designated"} <= lists.general
    assert not {"cancer", "gene", "disease", "mutation", "heart", "cell"} & (lists.stop | lists.general)
