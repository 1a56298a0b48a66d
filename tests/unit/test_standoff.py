"""From characters to words: what of annotated mentions is kept, widened, cut and left out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.documents import CharSpan
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, align, disjoint, labelled_corpus, spans_of
from mslm_cli.text.sentences import split_sentences
from mslm_cli.text.tokens import joined_spans, token_spans

TEXT = "Patients took 5-HT6 blockers. IL-2Rα rose.\n\nA (R)-methyl. And more."


def span(text: str, part: str, kind: str = "X", nth: int = 0) -> CharSpan:
    start = -1
    for _ in range(nth + 1):
        start = text.index(part, start + 1)
    return CharSpan(start, start + len(part), kind)


def mentions(text: str, *spans: CharSpan) -> list[list[str]]:
    sentences, _ = align(text, spans)
    return [[text[s.words[a][0] : s.words[b - 1][1]] for a, b, _ in s.mentions] for s in sentences]


def changes(text: str, *spans: CharSpan) -> list[tuple[str, str, str]]:
    return [(change.kind, change.before, change.after) for change in align(text, spans)[1]]


def test_mentions_of_whole_words_stay_as_they_are() -> None:
    spans = [span(TEXT, "blockers"), span(TEXT, "IL-2Rα"), span(TEXT, "(R)-methyl")]
    assert mentions(TEXT, *spans) == [["blockers"], ["IL-2Rα"], ["(R)-methyl"], []]
    assert changes(TEXT, *spans) == []
    sentences, _ = align(TEXT, spans)
    assert [s for sentence in sentences for s in sentence.gold] == spans


def test_a_mention_is_widened_to_whole_words_and_kept_as_gold() -> None:
    cut = span(TEXT, "5-HT")
    assert mentions(TEXT, cut)[0] == ["5-HT6"]
    assert changes(TEXT, cut) == [("widened", "5-HT", "5-HT6")]
    assert align(TEXT, [cut])[0][0].gold == [cut]


def test_a_mention_in_two_sentences_keeps_its_longer_part() -> None:
    text = "He had failure. Of the heart and kidney it was."
    crossing = span(text, "failure. Of the heart")
    assert mentions(text, crossing) == [[], ["Of the heart"]]
    assert changes(text, crossing) == [("cut at a sentence end", "failure. Of the heart", "Of the heart")]
    assert [len(sentence.gold) for sentence in align(text, [crossing])[0]] == [1, 0]


def test_of_two_mentions_in_one_word_the_first_is_read() -> None:
    first, second = span(TEXT, "block"), span(TEXT, "ers")
    assert mentions(TEXT, first, second)[0] == ["blockers"]
    assert changes(TEXT, first, second) == [("widened", "block", "blockers"), ("in a word with another", "ers", "")]
    assert align(TEXT, [first, second])[0][0].gold == [first, second]


def test_a_mention_without_a_word_is_left_out_and_stays_gold() -> None:
    blank = CharSpan(8, 9, "X")
    assert TEXT[8] == " "
    assert mentions(TEXT, blank)[0] == []
    assert changes(TEXT, blank) == [("without a word", " ", "")]
    assert align(TEXT, [blank])[0][0].gold == [blank]


def test_words_can_be_those_of_a_model_that_keeps_punctuation() -> None:
    sentences, _ = align(TEXT, [span(TEXT, "IL-2")], joined_spans)
    (mention,) = sentences[1].mentions
    assert TEXT[slice(*sentences[1].words[mention[0]])] == "IL-2Rα"


NESTED = [CharSpan(0, 30, "A"), CharSpan(0, 10, "B"), CharSpan(12, 20, "C"), CharSpan(18, 40, "D")]


@pytest.mark.parametrize(
    ("rule", "kept"), [("longest", "A"), ("outermost", "A"), ("innermost", "BD")], ids=["longest", "outer", "inner"]
)
def test_which_of_overlapping_mentions_stays(rule: str, kept: str) -> None:
    found, left = disjoint(NESTED, rule)  # type: ignore[arg-type]  # one of the rules
    assert "".join(s.type for s in found) == kept
    assert sorted([*found, *left]) == sorted(NESTED)


def test_of_mentions_with_the_same_boundaries_the_first_stays() -> None:
    twice = [CharSpan(3, 9, "Gene"), CharSpan(3, 9, "Disease")]
    assert disjoint(twice, "longest") == ([twice[0]], [twice[1]])


def test_discontinuous_mentions() -> None:
    text = "left and right atria were seen"
    document = AnnotatedDocument("1", text, (Annotation(((0, 4), (15, 20)), "Organ"), Annotation(((9, 20),), "Organ")))
    expected = {"span": ["left and right atria"], "first": ["left", "right atria"], "drop": ["right atria"]}
    for rule, found in expected.items():
        spans, changed = spans_of(document, "longest", rule)  # type: ignore[arg-type]  # one of the rules
        assert [text[s.start : s.end] for s in spans] == found
        assert changed[0].kind == "discontinuous"
        assert changed[0].before == "left ... atria"


def test_equal_mentions_count_once() -> None:
    document = AnnotatedDocument("1", "heart failure", (Annotation(((0, 5),), "X"), Annotation(((0, 5),), "X", "T2")))
    corpus = labelled_corpus([document])
    assert corpus.sentences[0].mentions == ((0, 1, "X"),)
    assert corpus.changes == ()


spans_in_text = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from("AB")), max_size=8)
texts = st.text(st.sampled_from("ab1-. \n(αβ"), min_size=1, max_size=40)


@given(spans_in_text, st.sampled_from(["longest", "outermost", "innermost"]))
def test_what_stays_is_disjoint_and_nothing_else_would_fit(found: list[tuple[int, int, str]], rule: str) -> None:
    given_spans = list(dict.fromkeys(CharSpan(start, start + n, kind) for start, n, kind in found))
    kept, left = disjoint(given_spans, rule)  # type: ignore[arg-type]  # one of the rules
    assert all(one.end <= other.start for one, other in pairwise(kept))
    assert sorted([*kept, *left]) == sorted(given_spans)
    if rule == "longest":
        for out in left:
            assert any(k.start < out.end and out.start < k.end and k.end - k.start >= out.end - out.start for k in kept)


@given(texts, spans_in_text)
def test_mentions_have_no_part_in_sentences_and_words(text: str, found: list[tuple[int, int, str]]) -> None:
    given_spans, _ = disjoint([CharSpan(s, min(s + n, len(text)), k) for s, n, k in found if s < len(text)], "longest")
    sentences, changed = align(text, given_spans)
    expected = [[(s + a, s + b) for a, b in token_spans(text[s:e])] for s, e in split_sentences(text)]
    assert [sentence.words for sentence in sentences] == expected
    if sentences:
        assert sorted(s for sentence in sentences for s in sentence.gold) == sorted(given_spans)
    left_out = [change.span for change in changed if not change.after]
    assert sum(len(sentence.mentions) for sentence in sentences) == len(given_spans) - len(left_out)
    untouched = set(given_spans) - {change.span for change in changed}
    for sentence in sentences:
        assert all(a[1] <= b[0] for a, b in pairwise(sentence.mentions))
        covered = {CharSpan(sentence.words[a][0], sentence.words[b - 1][1], kind) for a, b, kind in sentence.mentions}
        untouched -= covered
    assert not untouched
