"""Gold mentions by characters against predicted mentions of words: exact means the same characters."""

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.documents import CharSpan, LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import ScoredMention, strict_mentions, tags_from_mentions
from mslm_cli.corpus.predictions import PredictedSentence, scored_corpus
from mslm_cli.corpus.scoring import scoring_units
from mslm_cli.corpus.standoff import AnnotatedDocument, Annotation, disjoint, labelled_corpus


def corpus_of(text: str, *spans: tuple[int, int, str]) -> LabelledCorpus:
    return labelled_corpus([AnnotatedDocument("1", text, tuple(Annotation((s[:2],), s[2]) for s in spans))])


def test_words_that_gold_leaves_whole_are_the_units() -> None:
    corpus = corpus_of("heart failure and p53", (0, 13, "Disease"))
    units = scoring_units(corpus.sentences[0])
    assert units.sentence.words == corpus.sentences[0].words
    assert units.sentence.mentions == corpus.sentences[0].mentions
    assert units.n_off_boundary == 0


def test_a_mention_that_ends_inside_a_word_is_missed_even_when_its_word_is_found() -> None:
    corpus = corpus_of("the 5-HT6 receptor", (4, 8, "Gene"))
    (sentence,) = corpus.sentences
    assert sentence.mentions == ((1, 4, "Gene"),)
    scored = scored_corpus(corpus, [PredictedSentence(sentence.tags, [ScoredMention(1, 4, "Gene", 0.5)])])
    (found,) = scored.sentences
    assert found.words == ("the", "5", "-", "HT", "6", "receptor")
    assert (found.gold, found.predicted, found.scores) == (((1, 4, "Gene"),), ((1, 5, "Gene"),), (0.5,))
    assert scored.n_off_boundary == 1


def test_a_mention_that_goes_on_in_another_sentence_is_missed() -> None:
    text = "He had a failure. Of the heart."
    corpus = corpus_of(text, (9, 30, "Disease"))
    scored = scored_corpus(corpus, [PredictedSentence.of_tags(s.tags) for s in corpus.sentences])
    assert scored.n_off_boundary == 1
    gold = {(i, m) for i, s in enumerate(scored.sentences) for m in s.gold}
    predicted = {(i, m) for i, s in enumerate(scored.sentences) for m in s.predicted}
    assert (len(gold), len(predicted), len(gold & predicted)) == (1, 1, 0)


@st.composite
def sentences(draw: st.DrawFn) -> tuple[LabelledSentence, list[tuple[int, int, str]]]:
    """Words with gaps, gold spans anywhere, and predicted mentions of words."""
    words, position = [], 0
    for _ in range(draw(st.integers(1, 6))):
        position += draw(st.integers(0, 2))
        size = draw(st.integers(1, 4))
        words.append((position, position + size))
        position += size
    spans = st.tuples(st.integers(0, position), st.integers(1, 6), st.sampled_from("AB"))
    gold, _ = disjoint([CharSpan(s, s + n, k) for s, n, k in draw(st.lists(spans, max_size=4))], "longest")
    of_words = st.tuples(st.integers(0, len(words) - 1), st.integers(1, 3), st.sampled_from("AB"))
    chosen = [CharSpan(s, min(s + n, len(words)), k) for s, n, k in draw(st.lists(of_words, max_size=4))]
    predicted, _ = disjoint(chosen, "longest")
    sentence = LabelledSentence(
        "1", None, tuple("abcdef"[:n] for n in (e - s for s, e in words)), (), (), tuple(words), tuple(gold)
    )
    return sentence, [(m.start, m.end, m.type) for m in predicted]


@given(sentences(), st.sampled_from(["IOB2", "IOBES"]))
def test_units_agree_exactly_where_characters_do(
    case: tuple[LabelledSentence, list[tuple[int, int, str]]], scheme: str
) -> None:
    sentence, predicted = case
    assert sentence.offsets is not None
    assert sentence.gold is not None
    tags = tags_from_mentions(predicted, len(sentence.words))
    if scheme == "IOBES":
        for start, end, kind in predicted:
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{kind}"
    units = scoring_units(sentence)
    found = strict_mentions(units.expanded(tags), scheme)
    assert len(found) == len(predicted)
    by_characters = [(sentence.offsets[a][0], sentence.offsets[b - 1][1], kind) for a, b, kind in predicted]
    correct = {tuple(span) for span in sentence.gold} & set(by_characters)
    assert len(set(units.sentence.mentions) & set(found)) == len(correct)
    assert len(units.sentence.mentions) == len(sentence.gold)
    edges = ({s for s, _ in sentence.offsets}, {e for _, e in sentence.offsets})
    assert units.n_off_boundary == sum(s.start not in edges[0] or s.end not in edges[1] for s in sentence.gold)
