"""The packaged mention detector: small, safe, described, and at ease with text of any kind."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import get_current_ops
from threadpoolctl import threadpool_info, threadpool_limits

from mslm_cli import fsio
from mslm_cli.errors import UnavailableError
from mslm_cli.terms import pipeline
from mslm_cli.terms.pipeline import DetectedMention, find_mentions, load_pipeline

if TYPE_CHECKING:
    from spacy.language import Language

FOLDER = fsio.resource(pipeline.DETECTOR)
TYPES = {"Anatomy", "Chemical", "Disease", "Gene", "Species"}
MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def detector() -> "Language":
    return load_pipeline(pipeline.DEFAULT)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the detector that is loaded instead of the packaged one."""
    folder = tmp_path / "detector"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(fsio, "resource", lambda name: tmp_path / name)
    return folder


def mentions(nlp: "Language", text: str) -> list[DetectedMention]:
    ((found, _),) = find_mentions(nlp, [(text, None)])
    return found


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "Two women who took warfarin for atrial fibrillation had a stroke.",
            {("warfarin", "Chemical"), ("atrial fibrillation", "Disease"), ("stroke", "Disease")},
        ),
        ("Cisplatin-induced nephrotoxicity was mild.", {("Cisplatin", "Chemical"), ("nephrotoxicity", "Disease")}),
        ("The insulin receptor gene was deleted in mice.", {("mice", "Species")}),
        ("Expression of interleukin-6 rose threefold.", {("interleukin-6", "Gene")}),
        ("We cultured hepatocytes from the liver of rats.", {("hepatocytes", "Anatomy"), ("rats", "Species")}),
    ],
)
def test_typed_mentions_are_found(detector: "Language", sentence: str, expected: set[tuple[str, str]]) -> None:
    assert expected <= {tuple(mention) for mention in mentions(detector, sentence)}


def test_plain_english_has_no_mentions(detector: "Language") -> None:
    assert mentions(detector, "They moved the meeting because the room was too small for so many guests.") == []


def test_tokenised_text_gives_the_same_mentions(detector: "Language") -> None:
    raw = mentions(detector, "Patients with Parkinson disease (PD) were given levodopa/carbidopa.")
    spaced = mentions(detector, "Patients with Parkinson disease ( PD ) were given levodopa / carbidopa .")
    assert raw == spaced
    assert len(raw) >= 3


def test_it_knows_five_types(detector: "Language") -> None:
    assert set(detector.get_pipe("ner").labels) == TYPES  # type: ignore[attr-defined]  # get_pipe returns any component


def test_it_is_small_and_holds_no_code() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
    # JSON, MessagePack and plain arrays, no pickle
    assert {file.name for file in files} == {
        *("README.md", "config.cfg", "meta.json", "tokenizer", "model", "cfg", "moves"),
        *("strings.json", "vectors", "vectors.cfg", "key2row", "lookups.bin"),
    }


def test_its_card_names_the_data_and_nothing_names_a_machine() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("BC5CDR", "NCBI", "BC2GM", "JNLPBA", "GENIA", "CRAFT", "LINNAEUS", "AnatEM", "CC BY", "Limits"):
        assert word in card
    for name in ("config.cfg", "meta.json"):
        assert "/" not in (FOLDER / name).read_text(encoding="utf-8")
    assert json.loads((FOLDER / "meta.json").read_text())["performance"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n\u2028\u00a0",
        "\x00\x07\x7f\ufeff\u200b\u00ad",
        "İİİ ß ﬁ ǆ ᾳ ℌ Å Å",
        "β‐catenin and TNF‑α in K⁺/Na⁺‑ATPase – 5′‑UTR",
        "糖尿病 сахарный диабет داء السكري 👩🏽‍⚕️🧬",
        "a\u0301" * 5_000,
        "((((((((((" * 500 + "))))))))))" * 500,
        "-/-/-/" * 3_000,
        "x" * 90_000,
    ],
)
def test_odd_text_is_read(detector: "Language", text: str) -> None:
    for mention in mentions(detector, text):
        assert mention.text in " ".join(text.split())


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_mentions_are_pieces_of_any_text(detector: "Language", text: str) -> None:
    spaced = " ".join(text.split())
    for mention in mentions(detector, f"{text} diabetes mellitus"):
        assert mention.text in f"{spaced} diabetes mellitus"
        assert mention.type in TYPES


def test_another_spacy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "version", lambda name: "4.1.0")
    with pytest.raises(UnavailableError, match=r"made for spaCy >=3\.8.*found 4\.1\.0.*--pipeline none") as error:
        load_pipeline(pipeline.DEFAULT)
    assert error.value.exit_code == 5


def test_the_mentions_are_those_of_spacys_own_products() -> None:
    paragraphs = fsio.resource("sample").joinpath("unlabelled.txt").read_text(encoding="utf-8").split("\n\n")
    plain = [
        [DetectedMention(entity.text, entity.label_) for entity in doc.ents]
        for doc in spacy.load(FOLDER).pipe([" ".join(text.split()) for text in paragraphs])
    ]
    texts = [(" ".join(text.split()), None) for text in paragraphs]
    assert [found for found, _ in find_mentions(load_pipeline(pipeline.DEFAULT), texts)] == plain
    assert sum(map(len, plain)) > 300


def test_only_loaded_pipelines_multiply_with_numpy(detector: "Language") -> None:
    encoder = detector.get_pipe("tok2vec").model  # type: ignore[attr-defined]  # get_pipe returns any component
    assert {layer.ops.use_blis for layer in encoder.walk()} == {False}
    assert get_current_ops().use_blis


def test_it_forgets_the_words_it_has_met(detector: "Language") -> None:
    def n_known() -> tuple[int, int]:
        return sum(1 for _ in detector.vocab), len(detector.vocab.strings)

    before = n_known()
    for batch in range(3):
        text = " ".join(f"{batch}coxib{number}ase" for number in range(300))
        for _ in find_mentions(detector, [(text, None)] * 20):
            assert n_known()[1] >= before[1]
    assert n_known() == before


def test_blas_has_one_thread_while_mentions_are_detected(detector: "Language") -> None:
    def n_threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        assert n_threads() == {2}
        for _ in find_mentions(detector, [("A stroke.", None)]):
            assert n_threads() == {1}
        assert n_threads() == {2}


@pytest.mark.parametrize("damaged", ["meta.json", "config.cfg", "tokenizer", "ner/model", "tok2vec/model", "ner/moves"])
@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_damaged_detector_is_said_to_be_so(copy: Path, damaged: str, damage: str) -> None:
    file = copy / damaged
    content = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnavailableError, match=r"the packaged detector cannot be loaded: .*reinstall mslm"):
        load_pipeline(pipeline.DEFAULT)
