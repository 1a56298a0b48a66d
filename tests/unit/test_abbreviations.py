"""Abbreviation pairs: counting, and which of them are terms."""

import os
import subprocess
import sys
from pathlib import Path

from mslm_cli.terms.abbreviations import AbbreviationCounts
from mslm_cli.terms.definitions import Abbreviation
from mslm_cli.terms.words import WordLists, WordReader

LISTS = WordLists(
    stop=frozenset(["the", "of", "was", "showed", "for"]), general=frozenset(["confidence", "interval", "index"])
)

READER = WordReader(LISTS)


def pairs(*documents: tuple[str, str, str], min_count: int = 1) -> list[tuple[str, str]]:
    found, _ = counted(*documents).pairs(READER, min_count=min_count)
    return [(short.term, long.term) for short, long in found]


def counted(*documents: tuple[str, str, str]) -> AbbreviationCounts:
    """Counts of documents, each given as a short form, its long form, and the text."""
    counts = AbbreviationCounts()
    for short, long, text in documents:
        counts.add_document([Abbreviation(short, long)], text, READER)
    return counts


def test_both_forms_are_terms_counted_where_they_are_defined() -> None:
    text = "Familial polyposis (FAP). FAP, fap and familial  polyposis. FAP FAP"
    found, general = counted(("FAP", "Familial polyposis", text), ("FAP", "Familial polyposis", text)).pairs(
        READER, min_count=2
    )
    ((short, long),) = found
    assert (short.term, short.count, short.doc_count, short.case_sensitive) == ("FAP", 8, 2, True)
    assert (long.term, long.count, long.doc_count, long.case_sensitive) == ("Familial polyposis", 4, 2, None)
    assert short.sources == long.sources == ("abbreviation",)
    assert general == set()


def test_a_pair_is_kept_by_its_more_frequent_form() -> None:
    document = ("FAP", "familial polyposis", "familial polyposis (FAP), FAP, FAP")
    assert pairs(document, min_count=3) == [("FAP", "familial polyposis")]
    assert pairs(document, min_count=4) == []


def test_plural_and_singular_short_forms_are_stored_if_they_occur() -> None:
    text = "Chronic kidney diseases (CKDs) matter. Every CKD patient: CKD."
    found, _ = counted(("CKDs", "chronic kidney diseases", text)).pairs(READER, min_count=2)
    assert [(short.term, short.count, long.term) for short, long in found] == [
        ("CKD", 2, "chronic kidney diseases"),
        ("CKDs", 1, "chronic kidney diseases"),
    ]
    only = ("CKD", "chronic kidney disease", "chronic kidney disease (CKD)")
    assert pairs(only) == [("CKD", "chronic kidney disease")]
    general = ("CI", "confidence interval", "confidence interval (CI), CIs")
    assert counted(general).pairs(READER, min_count=1)[1] == {"CI", "CIs"}


def test_forms_of_general_words_are_excluded_and_reported() -> None:
    ci = ("CI", "confidence interval", "confidence interval (CI)")
    implant = ("CI", "cochlear implant", "cochlear implant (CI)")
    assert counted(ci, ci, implant).pairs(READER, min_count=1) == ([], {"CI"})
    assert pairs(ci, implant) == [("CI", "cochlear implant")]


def test_forms_that_are_not_terms_are_left_out() -> None:
    text = "any text"
    assert pairs(("nm", "nanometre", text)) == []
    assert pairs(("X", "xenon", text)) == []
    assert pairs(("DS", "disease showed symptoms", text)) == []
    assert pairs(("TD", "the disease", text)) == []
    assert pairs(("DOA", "deficiency of adenosine", text)) == [("DOA", "deficiency of adenosine")]


def test_the_forms_are_shown_as_words() -> None:
    assert pairs(("G6PD", "glucose-6-phosphate  dehydrogenase", "")) == [("G6PD", "glucose-6-phosphate dehydrogenase")]


PROGRAM = """
from mslm_cli.terms.abbreviations import AbbreviationCounts
from mslm_cli.terms.definitions import Abbreviation
from mslm_cli.terms.words import WordLists, WordReader

counts, reader = AbbreviationCounts(), WordReader(WordLists(frozenset(), frozenset()))
pairs = [Abbreviation(c + "V", c + word) for c in "RLMN" for word in ("ight", "eft", "ost", "one")]
counts.add_document(pairs, "", reader)
print(counts.pairs(reader, min_count=0))
"""


def test_pairs_have_one_order_in_every_process() -> None:
    """Sets have another order in every process; nothing of it may show."""
    root = str(Path(__file__).resolve().parents[2])
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
