"""The matcher agrees with a plain search that has no automaton, no regular expression and no fast path."""

import unicodedata
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.terms.lexicon import Term, matches_case
from mslm_cli.terms.matcher import Match, Matcher
from mslm_cli.text.tokens import exact_form, folded_form, visible

CHARACTERS = "aAbBıİßſσςΣ2²⁺⁻₂_-–'.( \n\u0301\u0308\u00ad\u200b\u200d\u3164\ufe0féﬁ½µ\x1c"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
TEXTS = st.text(CHARACTERS, max_size=30) | st.text("aAb2- ", max_size=30) | st.text(max_size=20)
TERMS = st.lists(
    st.builds(
        Term, st.text("aAbB2- \u0301İß", max_size=6), st.just(("user",)), case_sensitive=st.none() | st.booleans()
    ),
    max_size=8,
)


def tokens(text: str) -> list[tuple[int, int]]:
    """Spans of the tokens, found on the visible characters alone."""
    seen = [i for i, c in enumerate(text) if visible(c)]
    spans: list[list[int]] = []
    is_open = False
    for i in seen:
        c = text[i]
        is_word = c.isalnum() or c == "_"
        if is_open and (is_word or unicodedata.category(c)[0] == "M"):
            spans[-1].append(i)
        elif not c.isspace():
            spans.append([i])
            is_open = is_word
        else:
            is_open = False
    found = []
    for at in spans:
        word = "".join(text[i] for i in at)
        n = len(word.rstrip(SUPERSCRIPTS))
        after = [text[i] for i in seen if i > at[-1]][:2]
        is_charge = after[:1] == ["⁺"] or (after[:1] == ["⁻"] and not (after[1:] and after[1] in SUPERSCRIPTS))
        found += [at] if n in (0, len(word)) or is_charge else [at[:n], at[n:]]
    return [(at[0], at[-1] + 1) for at in found if folded_form(text[at[0] : at[-1] + 1])]


def oracle(terms: list[Term], text: str) -> list[Match]:
    spans = tokens(text)
    folded = [folded_form(text[start:end]) for start, end in spans]
    exact = [exact_form(text[start:end]) for start, end in spans]
    hits = []
    for i in range(len(spans)):
        for j in range(i + 1, len(spans) + 1):
            same = []
            for index, term in enumerate(terms):
                parts = [term.term[start:end] for start, end in tokens(term.term)]
                if [folded_form(part) for part in parts] != folded[i:j]:
                    continue
                if not matches_case(term):
                    same.append((1, index))
                elif [exact_form(part) for part in parts] == exact[i:j]:
                    same.append((0, index))
            if same:
                hits.append((-len(" ".join(folded[i:j])), i, j, min(same)[1]))
    taken: set[int] = set()
    chosen = []
    for _, i, j, index in sorted(hits):
        if taken.isdisjoint(range(i, j)):
            taken.update(range(i, j))
            chosen.append(Match(spans[i][0], spans[j - 1][1], index))
    return sorted(chosen)


@given(TERMS, TEXTS)
def test_finds_what_a_plain_search_finds(terms: list[Term], text: str) -> None:
    assert Matcher(terms).find(text) == oracle(terms, text)


WORDS = [
    *["a", "aa", "IL-2", "ab", "b2", "-", "(a)", "a_b", "A"],
    *["β", "Β", "ς", "α-b", "ﬁa", "ﬃ", "ß", "SS", "ŉ", "İ", "ᾳ", "ϐ", "µ", "½", "℅a", "…", "ⅳ", "Ꮰ", "ꭰ"],
    *["e\u0301", "\u0301", "a\u0308b", "a\u200bb", "\u00ad", "b²", "Ca²⁺", "a²³", "10⁻⁶", "“a”", "a–b", "日本", "ａ２"],
]
GAPS = st.sampled_from([" ", " ", " ", "", "\n", "  ", "\u00a0", "\u3000", "\t "])
MIXED = st.lists(st.sampled_from(WORDS) | st.just("a b"), max_size=14).flatmap(
    lambda words: st.lists(GAPS, min_size=len(words), max_size=len(words)).map(
        lambda gaps: "".join(chain.from_iterable(zip(gaps, words, strict=True)))
    )
)
"""Words in ASCII among others: Greek, ligatures, longer case foldings, combining marks, what is compared as nothing."""
PHRASES = st.builds(
    lambda words, case: Term(" ".join(words), ("user",), case_sensitive=case),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.none() | st.booleans(),
)


@given(st.lists(PHRASES, max_size=8), MIXED)
def test_words_in_any_script_are_found_alike(terms: list[Term], text: str) -> None:
    assert Matcher(terms).find(text) == oracle(terms, text)


@given(TERMS, st.text("aAbB2-_.' \n\t\x0b\x1c\x1f\x00", max_size=30))
def test_words_between_any_spaces_are_found_alike(terms: list[Term], text: str) -> None:
    assert Matcher(terms).find(text) == oracle(terms, text)


@given(st.text(CHARACTERS, min_size=1, max_size=12), TEXTS, TEXTS)
def test_a_term_is_found_at_its_position(term: str, before: str, after: str) -> None:
    text = f"{before} {term} {after}"
    found = Matcher([Term(term, ("user",), case_sensitive=True)]).find(text)
    if tokens(term) and not any(unicodedata.category(c)[0] == "M" for c in term[:1]):
        first = len(before) + 1 + tokens(term)[0][0]
        assert any(match.start <= first < match.end for match in found)


@given(TERMS, TEXTS)
def test_matches_are_ordered_and_disjoint(terms: list[Term], text: str) -> None:
    found = Matcher(terms).find(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(0 <= match.start < match.end <= len(text) for match in found)
