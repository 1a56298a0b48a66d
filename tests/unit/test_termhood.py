"""Candidates and their scores: what is counted, what the formula gives, and what is no term."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.lexicon import Term
from mslm_cli.terms.termhood import Termhood, general_english
from mslm_cli.terms.words import WordLists, WordReader

LISTS = WordLists(
    stop=frozenset(["the", "a", "was", "were", "of", "in", "and", "with", "for", "showed"]),
    general=frozenset(["patients", "study", "type", "high"]),
    never_alone=frozenset(["failure", "drug"]),
)


def count(*documents: str, max_words: int = 4) -> tuple[CandidateCounts, WordReader]:
    """Counts of documents whose sentences are parted by ``|``."""
    reader = WordReader(LISTS)
    counts = CandidateCounts()
    for document in documents:
        counts.add_document([reader.read(sentence) for sentence in document.split("|")], max_words=max_words)
    return counts, reader


def rank(*documents: str, general: Mapping[str, float] | None = None, min_count: int = 1) -> dict[str, Term]:
    counts, reader = count(*documents)
    return {t.term: t for t in Termhood(counts, general or {}, reader).ranked(min_count=min_count, min_score=0)}


def test_candidates_are_the_ngrams_between_stop_words() -> None:
    counts, _ = count("the adult polycystic kidney disease was in patients with high blood pressure")
    assert dict(counts.counts) == dict.fromkeys(
        [
            *["adult", "adult polycystic", "adult polycystic kidney", "adult polycystic kidney disease"],
            *["polycystic", "polycystic kidney", "polycystic kidney disease", "kidney", "kidney disease", "disease"],
            *["blood", "blood pressure", "pressure"],
        ],
        1,
    )
    assert counts.n_words == 12


def test_no_candidate_is_longer_than_allowed_or_crosses_punctuation() -> None:
    counts, _ = count("lung cancer, renal cell carcinoma", max_words=2)
    assert "renal cell" in counts.counts
    assert {"renal cell carcinoma", "cancer renal"}.isdisjoint(counts.counts)


def test_no_candidate_says_anything_twice() -> None:
    found = count("Surgery Surgery removes", "biologic therapy biologic therapy kills", "cd cd", "Naja naja bites")[
        0
    ].counts
    assert {"surgery", "biologic therapy", "naja naja", "surgery removes", "biologic therapy kills"} <= found.keys()
    twice = {"surgery surgery", "biologic therapy biologic therapy", "therapy biologic therapy", "cd cd"}
    assert not twice & found.keys()


def test_weak_words_end_a_candidate_and_never_begin_one() -> None:
    counts, _ = count("with factor VIII deficiency and hepatitis B and 12 mice and type 2 diabetes and type mice")
    assert {"factor viii", "factor viii deficiency", "hepatitis b", "type 2 diabetes"} <= counts.counts.keys()
    assert {"viii", "viii deficiency", "b", "12 mice", "type 2", "type mice", "2 diabetes"}.isdisjoint(counts.counts)


def test_partner_words_need_a_content_word() -> None:
    counts, _ = count("drug failure and heart failure and drug resistance and failure 2")
    assert {"heart failure", "drug resistance", "heart", "resistance"} == set(counts.counts)


def test_occurrences_and_documents_are_counted() -> None:
    counts, _ = count("gout|gout and gout", "gout", "asthma")
    assert (counts.counts["gout"], counts.doc_counts["gout"]) == (4, 2)


def test_the_spelling_is_the_most_frequent_one_and_sentence_starts_do_not_vote() -> None:
    counts, _ = count("Gout was|Gout was|a gout", "Crohn disease|of Crohn disease", "the BRCA1 and BRCA1 and brca1")
    assert counts.surface("gout") == ("gout", 3)
    assert counts.surface("crohn disease") == ("Crohn disease", 1)
    assert counts.surface("brca1") == ("BRCA1", 2)


def test_the_score_is_the_documented_formula() -> None:
    text = "renal carcinoma and renal carcinoma and papillary renal carcinoma"
    general = {"renal": 2e-6, "carcinoma": 1e-6}
    found = rank(text, general=general)
    n_words, smoothing = 9, 0.5 / 9

    def specificity(word: str, n: int) -> float:
        contrast = math.log10((n / n_words + smoothing) / (general.get(word, 0) + smoothing))
        rarity = 6 - math.log10(general[word] * 1e9) if word in general else 6
        return min(contrast, rarity)

    mean = (specificity("renal", 3) + specificity("carcinoma", 3)) / 2
    cohesion = math.log10((3 - 1) / (n_words * (3 / n_words) ** 2)) / 3
    assert cohesion > 0
    # in "papillary renal carcinoma" once, hence 3 - 1
    expected = math.log2(1 + 2) * math.log2(1 + 3 - 1) * (mean + 0.4 * cohesion) ** 2
    assert found["renal carcinoma"].score == pytest.approx(expected, abs=1e-3)
    assert (found["renal carcinoma"].count, found["renal carcinoma"].doc_count) == (3, 1)


def test_cohesive_common_words_are_a_term() -> None:
    general = {"heart": 1e-1, "attack": 1e-1}
    apart = [*["the heart and the heart"] * 5, *["an attack and an attack"] * 5]
    filler = [f"with word{i} and word{i}" for i in range(20)]
    assert "heart attack" not in rank(*apart, "a heart attack", *filler, general=general)
    assert rank(*apart, *["a heart attack"] * 5, *filler, general=general)["heart attack"].score > 0


def test_words_that_are_frequent_everywhere_are_no_terms() -> None:
    found = rank("people with gout and people with gout", general={"people": 1e-3, "gout": 1e-6})
    assert "gout" in found
    assert "people" not in found


def test_a_part_of_one_longer_term_alone_ranks_below_it() -> None:
    found = rank(*["the long QT syndrome"] * 5)
    assert "QT syndrome" not in found  # 5 - 5 = 0
    assert found["long QT syndrome"].score > 0


def test_adjectives_are_separated_from_nouns_by_the_next_word() -> None:
    found = rank(*["hepatic lesions and hepatic tumours and a lesion of the hepatic vein"] * 4)
    assert {"hepatic lesions", "hepatic tumours", "hepatic vein", "lesion"} <= found.keys()
    assert "hepatic" not in found


def test_symbols_are_terms_though_nouns_follow_them() -> None:
    found = rank(*["BRCA1 lesions and BRCA1 tumours and the BRCA1 vein"] * 4)
    assert "BRCA1" in found


def test_verbs_are_separated_from_nouns_by_the_next_determiner() -> None:
    found = rank(*["ligand binds the receptor and dystrophin binds a ligand", "gout and asthma and fever"] * 5)
    assert {"ligand", "dystrophin", "receptor"} <= found.keys()
    assert not [term for term in found if "binds" in term]


@pytest.mark.parametrize("word", ["mutated", "Wilson's"])
def test_participles_and_possessives_end_no_term(word: str) -> None:
    found = rank(*[f"the tumour {word} and the tumour"] * 3)
    assert "tumour" in found
    assert not [term for term in found if term.endswith(word)]


def test_both_thresholds_apply() -> None:
    counts, reader = count("gout and gout and asthma", "gout")
    ranking = Termhood(counts, {}, reader)
    best = ranking.ranked(min_count=1, min_score=0)[0]
    assert [t.term for t in ranking.ranked(min_count=2, min_score=0)] == ["gout"]
    assert [t.term for t in ranking.ranked(min_count=1, min_score=best.score)] == ["gout"]
    assert ranking.ranked(min_count=1, min_score=best.score + 0.001) == []


def test_short_capitals_count_in_their_own_case() -> None:
    found = rank("the MET and MET and met", "MET")
    assert (found["MET"].count, found["MET"].doc_count) == (3, 2)


def test_any_term_can_be_scored_and_counted() -> None:
    counts, reader = count("asthma of the lung and asthma", "asthma and DM and dm")
    ranking = Termhood(counts, {}, reader)
    assert ranking.count(Term("Asthma", ("user",))) == (3, 2)
    assert ranking.count(Term("asthma of the lung", ("user",))) == (0, 0)
    assert ranking.count(Term("DM", ("abbreviation",), case_sensitive=True)) == (0, 0)
    assert ranking.score("asthma", 2) > ranking.score("asthma of the lung", 1) > ranking.score("of the", 1) == 0
    assert ranking.score("asthma lung", 3, n_words=1) < ranking.score("asthma lung", 3)


WORDS = st.sampled_from(["the", "renal", "cell", "carcinoma", "B", "2", "study", "showed", ",", "IL-2"])


@given(st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=6), st.integers(1, 4))
def test_counts_are_those_of_a_plain_count(documents: list[str], min_count: int) -> None:
    counts, reader = count(*documents)
    for form, n in counts.counts.items():
        sentences = [[word.form for word in reader.read(document)] for document in documents]
        words = form.split()
        found = [sum(s[i : i + len(words)] == words for i in range(len(s))) for s in sentences]
        assert (n, counts.doc_counts[form]) == (sum(found), sum(map(bool, found)))
    for term in Termhood(counts, {}, reader).ranked(min_count=min_count, min_score=0):
        assert term.count >= min_count
        assert term.doc_count <= min(term.count, len(documents))


def test_general_english_knows_common_words_as_more_frequent() -> None:
    frequencies = general_english()
    assert frequencies["the"] > frequencies["patients"] > frequencies["hepatic"] > frequencies.get("dystrophin", 0)
