"""What the packaged detector is made by: text from words, held-out sentences, tokens, and completed annotation."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from mslm_cli.corpus.seen import sentence_hash

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "detector"
WORDS = st.lists(st.text("ab1.,;:()[]/-+'\"%=<α", min_size=1, max_size=3), max_size=12)


@pytest.fixture(scope="module")
def recipe() -> dict[str, ModuleType]:
    """The recipe's modules; they are scripts beside each other, not a part of the package."""
    pytest.importorskip("scispacy", reason="the detector is built with scispaCy's tokenizer")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPE)
        found = {name: importlib.import_module(name) for name in ("corpora", "tokens", "prepare", "calibrate")}
    for name in ("corpora", "tokens", "prepare", "calibrate", "scoring"):
        sys.modules.pop(name, None)
    return found


@pytest.fixture(scope="module")
def nlp(recipe: dict[str, ModuleType]) -> Language:
    blank = spacy.blank("en")
    recipe["tokens"].set_tokenizer(blank)
    return blank


@pytest.mark.parametrize(
    "text",
    [
        "Selegiline-induced hypotension in Parkinson's disease (PD): a study.",
        "Doses of 2.5 mg/kg, 1,000 mice [3, 4]; p = 0.05, 40% (n = 12).",
        'A "soft" sign, e.g. IL-2R/CD25 +/- 3.',
    ],
)
def test_text_is_put_together_as_it_was(recipe: dict[str, ModuleType], text: str) -> None:
    words = re.findall(r"[^\W_]+|[^\w\s]", text)
    assert recipe["corpora"].detokenise(words)[0] == text


@given(WORDS)
def test_word_offsets_are_correct(recipe: dict[str, ModuleType], words: list[str]) -> None:
    text, offsets = recipe["corpora"].detokenise(words)
    assert [text[start:end] for start, end in offsets] == words
    assert text.replace(" ", "") == "".join(words)


def test_held_out_sentences_are_cut_out_of_a_document(recipe: dict[str, ModuleType]) -> None:
    passage, without_held_out = recipe["corpora"].Passage, recipe["corpora"].without_held_out
    first, second, third = (
        "Gout was seen in two men.",
        "Aspirin was given to all of them.",
        "Gout went away after a week.",
    )
    document = passage(f"{first} {second} {third}", ((0, 4, "Disease"), (26, 33, "Chemical"), (60, 64, "Disease")))
    assert document.text[60:64] == "Gout"
    kept, n_held_out = without_held_out(document, {sentence_hash(second.replace(" ", "  "))})
    assert kept == [passage(first, ((0, 4, "Disease"),)), passage(third, ((0, 4, "Disease"),))]
    assert n_held_out == 1
    assert without_held_out(document, frozenset()) == ([document], 0)


def test_a_mention_holds_its_sentences_together(recipe: dict[str, ModuleType]) -> None:
    passage, without_held_out = recipe["corpora"].Passage, recipe["corpora"].without_held_out
    document = passage("It was caused by S. Aureus in all of them. That was all.", ((17, 26, "Species"),))
    (kept,), _ = without_held_out(document, frozenset())
    assert kept == document


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("lithium-induced", "lithium - induced"),
        ("(ZDV)-treated", "( ZDV ) - treated"),
        ("NF-kappaB/p65.", "NF - kappaB / p65 ."),
        ("Parkinson's 2.5 1,000 e.g.", "Parkinson 's 2.5 1,000 e.g."),
        ("cafe\u0301-au-lait", "cafe\u0301 - au - lait"),
    ],
)
def test_tokens_end_where_mentions_do(nlp: Language, text: str, tokens: str) -> None:
    assert [token.text for token in nlp(text)] == tokens.split()


def marked(nlp: Language, corpus: str, *spans: tuple[int, int, str]) -> Doc:
    doc = nlp.make_doc("breast cancer cells of mice lack human p53 protein")
    doc.ents = tuple(spacy.tokens.Span(doc, start, end, label=kind) for start, end, kind in spans)
    doc.user_data["corpus"] = corpus
    return doc


@pytest.mark.parametrize(
    ("corpus", "gold", "found", "expected"),
    [
        # found where the corpus marks nothing of the type
        ("BC2GM", [(6, 8, "Gene")], {"Species": [(4, 5)]}, [(4, 5, "Species"), (6, 8, "Gene")]),
        # what a corpus teaches stands, whatever is found
        ("BC2GM", [(6, 8, "Gene")], {"Gene": [(7, 9)], "Chemical": [(7, 8)]}, [(6, 8, "Gene")]),
        # where another corpus teaches the type, its boundaries hold, and what is marked besides stays
        ("JNLPBA", [(6, 8, "Gene"), (2, 3, "Anatomy")], {"Gene": [(7, 9)]}, [(2, 3, "Anatomy"), (7, 9, "Gene")]),
        # the longer one of two, and of two as long the disease
        ("BC2GM", [], {"Disease": [(0, 2)], "Anatomy": [(0, 3)]}, [(0, 3, "Anatomy")]),
        ("BC2GM", [], {"Disease": [(0, 2)], "Anatomy": [(0, 2)]}, [(0, 2, "Disease")]),
        ("AnatEM", [(0, 2, "Anatomy")], {"Disease": [(0, 2)]}, [(0, 2, "Disease")]),
    ],
)
def test_annotation_is_completed(
    recipe: dict[str, ModuleType],
    nlp: Language,
    corpus: str,
    gold: list[tuple[int, int, str]],
    found: dict[str, list[tuple[int, int]]],
    expected: list[tuple[int, int, str]],
) -> None:
    doc = marked(nlp, corpus, *gold)
    everything = {kind: found.get(kind, []) for kind in recipe["corpora"].TYPES}
    spans = recipe["prepare"].completed(doc, everything)
    assert sorted((span.start, span.end, span.label_) for span in spans) == expected


def test_favouring_recall_finds_more(recipe: dict[str, ModuleType]) -> None:
    from mslm_cli.terms.pipeline import DEFAULT, load_pipeline

    text = "Warfarin and lithium in mice: p53 in hepatocytes of a man with gout was not lost. " * 5
    n_before = len(load_pipeline(DEFAULT)(text).ents)
    leaning, shy = load_pipeline(DEFAULT), load_pipeline(DEFAULT)
    recipe["calibrate"].lean_to_recall(leaning, 30.0)
    recipe["calibrate"].lean_to_recall(shy, -60.0)
    assert len(leaning(text).ents) > n_before
    assert not shy(text).ents
