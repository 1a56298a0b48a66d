"""Documents that are left out: duplicates of earlier ones, and those with sentences of a test set."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli import console
from mslm_cli.corpus.blocks import Block, Work
from mslm_cli.corpus.contamination import TestSentences
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.duplicates import duplicates, signer
from mslm_cli.corpus.options import DataOptions, Way
from mslm_cli.corpus.over_blocks import OverBlocks
from mslm_cli.corpus.seen import words_of
from mslm_cli.execution.executor import executor

OPTIONS = DataOptions()


def left_out(texts: list[list[str]], way: Way) -> list[tuple[int, ...]]:
    sign = signer(way)
    documents = [[Document(f"{i}", text, None, False) for i, text in enumerate(block)] for block in texts]
    return duplicates(way, [sign(Block(0), block) for block in documents])


@given(st.lists(st.lists(st.sampled_from(["A b", "a  B.", "c", "c d", ""]), max_size=4), max_size=4))
def test_exact_duplicates_are_those_of_a_set(texts: list[list[str]]) -> None:
    seen: set[str] = set()
    expected = []
    for block in texts:
        positions = []
        for position, text in enumerate(block):
            key = " ".join(words_of(text))
            if key in seen:
                positions.append(position)
            seen.add(key)
        expected.append(tuple(positions))
    assert left_out(texts, "exact") == expected


def resemblance(one: str, other: str) -> float:
    """The definition: the Jaccard similarity of the sets of runs of five words."""
    runs = []
    for text in (one, other):
        words = words_of(text)
        runs.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_duplicates_resemble_an_earlier_document() -> None:
    base = [f"word{number}" for number in range(300)]
    texts = [" ".join(base)]
    for n_changed in (1, 2, 3, 6, 12, 25, 60):
        words = list(base)
        for k in range(n_changed):
            words[(300 // n_changed) * k] = f"other{n_changed}-{k}"
        texts.append(" ".join(words))
    texts.append("something else entirely, of a few words")
    similar = [resemblance(texts[0], text) for text in texts]
    assert similar[1] > 0.95
    assert similar[-2] < 0.3
    (found,) = left_out([texts], "near")
    clear = [i for i, s in enumerate(similar) if i and abs(s - 0.8) > 0.08]
    assert [i in found for i in clear] == [similar[i] > 0.8 for i in clear]
    assert 0 not in found, "the first stays"


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    rows = "The\tO\nIL\tB-G\n-\tI-G\n2\tI-G\ngene\tO\nis\tO\nhere\tO\n.\tO\n\nSee\tO\nTable\tO\n1\tO\n"
    (tmp_path / "test.tsv").write_text(rows)
    return tmp_path / "test.tsv"


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("We saw it. The IL-2 gene is here. Then more.", True),
        ("the il 2 GENE is here", True),
        ("The IL-2 gene is heretofore unknown.", False),
        ("The IL-2 gene was here.", False),
        ("See Table 1.", False),
    ],
)
def test_a_document_with_a_test_sentence_leaks(test_set: Path, text: str, leaks: bool) -> None:
    assert TestSentences.read([test_set], OPTIONS).finder()(text) == leaks


def test_what_is_left_out_is_counted(test_set: Path, tmp_path: Path) -> None:
    texts = ["first text", "The IL-2 gene is here.", "second", "First text!", "third", "second"]
    (tmp_path / "text.txt").write_text("".join(f"{text}\n\n" for text in texts))

    for n_chars in (1, 1000):
        with executor(1) as run, console.progress("test") as bar:
            over = OverBlocks(run, OPTIONS, without=TestSentences.read([test_set], OPTIONS), way="exact")
            every = over.blocks([tmp_path / "text.txt"], n_chars, bar)
            found = [text for part in over.map(texts_of, every, bar) for text in part]
        assert found == ["first text", "second", "third"]
        assert over.left_out == {"duplicates": 2, "with_test_sentences": 1}


def texts_of() -> Work[list[str]]:
    return lambda _, documents: [document.text for document in documents]
