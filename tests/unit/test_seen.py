"""The sketch of seen sentences: raw and tokenised text agree, short ones are passed over, the file is checked."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.seen import Sketch, sentence_hash
from mslm_cli.errors import ArtifactError

SENTENCE = "IL-2 gene expression requires NF-kappa B."


def sketch_of(*sentences: str) -> Sketch:
    sketch = Sketch()
    for sentence in sentences:
        sketch.add(sentence)
    return sketch


@pytest.mark.parametrize(
    "other",
    ["IL - 2 gene expression requires NF - kappa B .", "il-2 GENE expression\trequires nf-kappa b", f' "{SENTENCE}" '],
)
def test_raw_and_tokenised_text_agree(other: str) -> None:
    assert sentence_hash(other) == sentence_hash(SENTENCE)
    assert sketch_of(SENTENCE).count([other]) == 1


def test_compatibility_forms_and_case_agree() -> None:
    assert sentence_hash("eﬃcacy of Ｔ cells, Straße, ²") == sentence_hash("EFFICACY OF T CELLS, STRASSE, 2")


@pytest.mark.parametrize("other", ["IL-3 gene expression requires NF-kappa B.", "gene expression requires NF-kappa B."])
def test_other_sentences_differ(other: str) -> None:
    assert sentence_hash(other) != sentence_hash(SENTENCE)
    assert sketch_of(SENTENCE).count([other]) == 0


def test_hash_is_the_same_in_every_process() -> None:
    assert sentence_hash("Aspirin") == 0xCBF8FBBAE42699B9
    assert sentence_hash(SENTENCE) < 2**64


def test_short_sentences_are_passed_over() -> None:
    four = "See Table 1 below ."
    assert len(sketch_of(four).hashes()) == 0
    five = sketch_of("See Table 1 below now .")
    assert len(five.hashes()) == 1
    assert five.count([four, "See Table 1 below now", ""]) == 1


def test_count_counts_a_repeated_sentence_each_time() -> None:
    assert sketch_of(SENTENCE).count([SENTENCE, SENTENCE]) == 2
    assert Sketch().count([SENTENCE]) == 0
    assert sketch_of(SENTENCE).count([]) == 0


@given(st.lists(st.integers(0, 50), max_size=60))
def test_hashes_are_sorted_unique_and_independent_of_order(numbers: list[int]) -> None:
    sentences = [f"the trial enrolled patient number {number}" for number in numbers]
    sketch = Sketch()
    for i, sentence in enumerate(sentences):
        sketch.add(sentence)
        if i % 7 == 0:
            sketch.hashes()
    hashes = sketch.hashes()
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == sorted({sentence_hash(sentence) for sentence in sentences})
    assert np.array_equal(sketch_of(*reversed(sentences)).hashes(), hashes)


def test_save_and_load(tmp_path: Path) -> None:
    sketch = sketch_of(SENTENCE, "Aspirin does not cause ulcers in mice")
    sketch.save(tmp_path / "seen.u64")
    assert (tmp_path / "seen.u64").read_bytes() == b"".join(h.to_bytes(8, "little") for h in sketch.hashes().tolist())
    loaded = Sketch.load(tmp_path / "seen.u64")
    assert np.array_equal(loaded.hashes(), sketch.hashes())
    loaded.add("One more sentence to be seen")
    assert len(loaded.hashes()) == 3


def test_an_empty_sketch_saves_and_loads(tmp_path: Path) -> None:
    Sketch().save(tmp_path / "seen.u64")
    assert Sketch.load(tmp_path / "seen.u64").count([SENTENCE]) == 0


@pytest.mark.parametrize("raw", [b"123", (2).to_bytes(8, "little") + (1).to_bytes(8, "little"), b"\x01" * 16])
def test_a_damaged_sketch_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "seen.u64").write_bytes(raw)
    with pytest.raises(ArtifactError, match=r"seen\.u64: not a sketch"):
        Sketch.load(tmp_path / "seen.u64")


def test_a_missing_sketch_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"seen\.u64"):
        Sketch.load(tmp_path / "seen.u64")
