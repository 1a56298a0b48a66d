"""Counts of the parts of a text add up to those of the whole, in any order, and survive their file."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.terms.evidence import Evidence, Passage, TermFinder
from mslm_cli.terms.lexicon import Term
from mslm_cli.text.sentences import split_sentences

WORDS = st.sampled_from(
    [
        "heart",
        "failure",
        "(HF)",
        "HF",
        "Heart",
        "the",
        "of",
        "renal",
        "Renal",
        "disease",
        "2",
        "IL-2",
        "and",
        ".",
        "was",
    ]
)
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=5)
PROSPECTOR = TermFinder(("abbreviation", "termhood"), "none", [Term("renal", ("user",))], max_words=4)


def evidence(texts: list[str]) -> Evidence:
    return PROSPECTOR.evidence([Passage(text, split_sentences(text), is_tokenised=False) for text in texts])


@given(TEXTS, st.randoms(use_true_random=False))
def test_parts_add_up_to_the_whole_in_any_order(texts: list[str], order: random.Random) -> None:
    parts = [evidence([text]) for text in texts]
    order.shuffle(parts)
    total = Evidence()
    for part in parts:
        total.add(part)
    assert total == evidence(texts)
    assert total.n_documents == len(texts)


@given(TEXTS)
def test_what_is_saved_is_loaded(texts: list[str]) -> None:
    found = evidence(texts)
    loaded = Evidence.from_json(json.loads(json.dumps(found.to_json())))
    assert loaded == found
    loaded.add(found)
    assert loaded.candidates.n_words == 2 * found.candidates.n_words
