"""Counts of the parts of a text add up to those of the whole, in any order, and survive their file."""

import json
import pickle
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.terms import words as word_lists
from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.evidence import Evidence, Passage, TermFinder
from mslm_cli.terms.lexicon import Term, identity
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.partitions import (
    TABLES,
    MergedCounts,
    Runs,
    frequent_mentions,
    join_words,
    write_counts,
    write_merged,
)
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.terms.termhood import Termhood
from mslm_cli.terms.words import WordReader
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
READER = WordReader(word_lists.english())
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


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 3))
def test_counts_in_files_are_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[str]], partitions: int, least: int
) -> None:
    """Block by block to files, merged partition by partition: the terms of one count over everything."""
    folder = tmp_path_factory.mktemp("counts")
    total = CandidateCounts()
    for number, texts in enumerate(blocks):
        found = evidence(texts).candidates
        write_counts(folder, number, found, MentionCounts(), partitions)
        total.add(found)
    merged = folder / "merged"
    merged.mkdir()
    runs = {table: Runs(folder, table, range(len(blocks))) for table in TABLES}
    n = sum(write_merged(merged, i, runs, least, {"renal"}) for i in range(partitions))
    assert n == len(total.counts)
    words = join_words(merged, partitions)
    expected = Termhood(total, {}, READER)
    nouns = dict(expected.noun_like(least))
    forms: set[str] = set()
    for i in range(partitions):
        counts = MergedCounts(merged, partitions, total.n_words, words).candidates(i)
        forms |= counts.counts.keys()
        assert all(total.counts[form] == m for form, m in counts.counts.items())
        assert all(total.doc_counts[form] == m for form, m in counts.doc_counts.items())
        assert all(total.surfaces[form] == spellings for form, spellings in counts.surfaces.items())
        ranking = Termhood(counts, {}, READER, fractions=words.fractions)
        assert dict(ranking.noun_like(least)).items() <= nouns.items()
        for name in ("words", "content", "ends", "before_determiner"):
            table, column = getattr(total, name), getattr(counts, name)
            assert all(column[word] == table[word] and (word in column) == (word in table) for word in total.words)
            assert column["never seen"] == 0
    sent, read_first = (pickle.loads(pickle.dumps(words)).file for _ in range(2))
    read_first.read([*total.words, "never seen"])
    for word in [*total.words, "never seen"]:
        assert sent[word] == read_first[word] == words.file[word]
    assert forms == {form for form, m in total.counts.items() if m >= least or form == "renal"}


MENTIONS = st.builds(
    DetectedMention, st.sampled_from(["IL-2", "IL 2", "il-2", "cancer", "Cancer"]), st.sampled_from([None, "A", "B"])
)


@given(st.lists(st.lists(MENTIONS, max_size=6), max_size=5), st.integers(1, 4), st.integers(1, 4))
def test_mentions_in_files_are_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[DetectedMention]], partitions: int, least: int
) -> None:
    folder = tmp_path_factory.mktemp("counts")
    total = MentionCounts()
    for number, mentions in enumerate(documents):
        found = MentionCounts()
        found.add_document(mentions)
        write_counts(folder, number, CandidateCounts(), found, partitions)
        total.add(found)
    runs = Runs(folder, "mentions", range(len(documents)))
    merged = [frequent_mentions(runs, i, least).terms("toy", min_count=1) for i in range(partitions)]
    expected = total.terms("toy", min_count=least)
    assert sorted((term for part in merged for term in part), key=lambda term: identity(term.term)) == expected


def test_halves_of_surrogate_pairs_are_counted(tmp_path: Path) -> None:
    """JSON can hold them, and UTF-8 cannot."""
    counts = CandidateCounts(counts=Counter({"a\ud800": 2}), doc_counts=Counter({"a\ud800": 1}))
    counts.words["a\ud800"] = 2
    write_counts(tmp_path, 0, counts, MentionCounts(), 2)
    (tmp_path / "merged").mkdir()
    runs = {table: Runs(tmp_path, table, [0]) for table in TABLES}
    assert sum(write_merged(tmp_path / "merged", i, runs, 1, set()) for i in (0, 1)) == 1
    words = join_words(tmp_path / "merged", 2)
    found = [MergedCounts(tmp_path / "merged", 2, 2, words).candidates(i).counts for i in (0, 1)]
    assert found[0] + found[1] == counts.counts
    assert words.columns()[0]["a\ud800"] == 2
