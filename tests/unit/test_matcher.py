"""Matching: boundaries, case rules, overlaps, and offsets in text that is not plain."""

import pytest

from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.matcher import Match, Matcher


def find(text: str, *terms: str | Term) -> list[str]:
    matcher = Matcher([term if isinstance(term, Term) else Term(term, ("user",)) for term in terms])
    return [text[match.start : match.end] for match in matcher.find(text)]


def test_a_match_names_its_term_and_its_place() -> None:
    matcher = Matcher([Term("aspirin", ("user",)), Term("kidney disease", ("user",))])
    assert matcher.find("Aspirin in kidney disease.") == [Match(0, 7, 0), Match(11, 25, 1)]


def test_terms_match_on_word_boundaries() -> None:
    assert find("beta blockers", "beta", "beta block") == ["beta"]
    assert find("the IL-2R gene", "IL-2") == []
    assert find("COVID-19-related (COVID-19)", "covid-19") == ["COVID-19", "COVID-19"]
    assert find("snake_case", "snake", "case") == []


@pytest.mark.parametrize("text", ["IL-2", "IL - 2", "IL -2", "IL\n- 2", "IL\u20112", "IL–2"])
def test_raw_and_tokenised_text_are_the_same(text: str) -> None:
    assert find(f"an {text} gene", "IL-2") == [text]
    assert find("an IL-2 gene", text) == ["IL-2"]


def test_the_longest_comes_first_then_the_leftmost() -> None:
    text = "adenomatous polyposis coli tumour suppressor"
    assert find(text, "adenomatous polyposis coli", "coli tumour suppressor") == ["adenomatous polyposis coli"]
    assert find("aa bb cc", "aa bb", "bb cc") == ["aa bb"]
    assert find("aa bb cc dd", "bb", "aa bb cc", "cc dd") == ["aa bb cc"]
    assert find("aa bb ccc dd", "aa bb", "bb ccc", "dd") == ["bb ccc", "dd"]


def test_occurrences_that_touch_are_all_found() -> None:
    assert find("aspirin aspirin", "aspirin") == ["aspirin", "aspirin"]


def test_short_capitals_match_in_their_case_only() -> None:
    assert find("it was WAS", "WAS") == ["WAS"]
    assert find("Ms and MS, ms-ms", "MS") == ["MS"]
    assert find("il-2 and IL-2", "IL-2") == ["IL-2"]
    assert find("Plasma plasma PLASMA", "PLASMA") == ["Plasma", "plasma", "PLASMA"]


def test_a_case_sensitive_term_matches_in_its_case_only() -> None:
    sensitive = Term("mTOR", ("user",), case_sensitive=True)
    assert find("MTOR mtor mTOR", sensitive) == ["mTOR"]
    assert find("MTOR mtor mTOR", "mTOR") == ["MTOR", "mtor", "mTOR"]


def test_of_two_rules_for_one_spelling_each_gets_its_own() -> None:
    matcher = Matcher([Term("Aids", ("user",)), Term("AIDS", ("user",))])
    assert [match.term for match in matcher.find("aids AIDS Aids")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("İİ İstanbul fever", "İİ i\u0307stanbul FEVER"),
        ("ŉŉ ﬁbrosis", "fibrosis"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "café"),
        ("café", "cafe\u0301"),
        ("β-catenin", "Β-CATENIN"),
        ("µ-opioid", "μ-opioid"),
        ("Parkinson’s disease", "parkinson's disease"),
        ("infor\u00admation", "information"),
        ("hae\u200bmo\ufeffphilia", "haemophilia"),
        ("Ca²⁺ channel", "Ca2+ channel"),
        ("H₂O₂", "h2o2"),
        ("¹⁴C-glucose", "14C-glucose"),
    ],
)
def test_spellings_of_one_word_match_and_keep_their_offsets(text: str, term: str) -> None:
    before, after = "\u0130\u00df (", ") ﬁ"
    found = Matcher([Term(term, ("user",))]).find(before + text + after)
    assert len(found) == 1
    assert (before + text + after)[found[0].start : found[0].end] in text
    assert found[0].end == len(before + text)


IGNORABLE = [
    *[0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)],
    *[*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0],
    *[*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000, 17)],
]
"""The code points with the property Default_Ignorable_Code_Point in Unicode 16, one in 17 of the last 4,096."""


@pytest.mark.parametrize("form", ["kidney{} disease", "{}kidney disease", "kid{}ney disease{}", "kidney {} disease"])
def test_invisible_characters_are_nothing(form: str) -> None:
    for code in IGNORABLE:
        text = form.replace("{}", chr(code))
        assert find(f"a {text}, b", "kidney disease") == [text.strip(chr(code))], hex(code)
        assert find("a kidney disease, b", text) == ["kidney disease"], hex(code)
        assert find(chr(code), chr(code)) == []


def test_superscript_digits_at_the_end_of_a_word_are_no_part_of_it() -> None:
    text = "IL-2² and CD4⁴ and 10⁶ cells, p53¹ too, heart failure¹² and 10⁻⁶ or stroke³⁻⁵, fever¹,²"
    terms = (
        "IL-2",
        "IL-22",
        "CD4",
        "CD44",
        "106",
        "10-6",
        "p53",
        "p531",
        "heart failure",
        "failure12",
        "stroke",
        "fever",
    )
    assert find(text, *terms) == ["IL-2", "CD4", "p53", "heart failure", "stroke", "fever"]
    assert find(text, "10⁶ cells") == ["10⁶ cells"]


def test_a_combining_mark_belongs_to_its_letter() -> None:
    assert find("e\u0301 e", "e") == ["e"]
    assert find("the naï\u0308ve", "na") == []


def test_nothing_to_find() -> None:
    assert find("", "aspirin") == []
    assert find("aspirin") == []
    assert find("aspirin", "\u200b", " ") == []
    assert find("\ufeff", "aspirin") == []
