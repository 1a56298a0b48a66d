"""Readers: every form of input that is accepted."""

import gzip
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import documents, texts

from mslm_cli.corpus import documents as units
from mslm_cli.corpus import source
from mslm_cli.corpus.documents import EMPTY_WORD, Document
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.formats.conll import looks_like_conll
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.errors import DataError

BARE = "Aspirin\tB\ncauses\tO\nulcers\tB\n.\tO\n\nNo\tO\nulcers\tB\n\n"
TYPED = "Aspirin B-Chem\nacid I-Chem\nhelps O\n\nin O\nmice B-Species\n"
FOUR = "-DOCSTART- -X- O O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP I-MISC\n\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


def stdin_of(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return Path("-")


# Files and folders


def test_folders_are_searched_in_order_and_hidden_files_skipped(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/config", "sub/.x/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert source_files([tmp_path]) == [tmp_path / name for name in ("a.txt", "b.txt", "sub/c.txt")]


def test_named_files_keep_their_order_without_duplicates(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", ".named"):
        (tmp_path / name).touch()
    paths = [tmp_path / "b.txt", tmp_path / ".named", Path("-"), tmp_path, Path("-")]
    assert source_files(paths) == [tmp_path / "b.txt", tmp_path / ".named", Path("-"), tmp_path / "a.txt"]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file") as caught:
        source_files([tmp_path / "nowhere.txt"])
    assert caught.value.exit_code == 3


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(DataError, match="holds no files"):
        source_files([tmp_path])


def test_a_missing_labelled_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tsv: no such file"):
        read_labelled(tmp_path / "nowhere.tsv")


def test_an_empty_folder_as_labelled_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no files"):
        read_labelled(tmp_path)


# Plain text


def test_blank_lines_separate_documents(file: Path) -> None:
    file.write_text("\n\nA title.\nAnd text.\n \t\nSecond.\n\n\nThird.")
    assert documents(file) == [
        Document("input.txt:1", "A title.\nAnd text.", None, False),
        Document("input.txt:2", "Second.", None, False),
        Document("input.txt:3", "Third.", None, False),
    ]


def test_one_document_per_line(file: Path) -> None:
    file.write_text("First.\nSecond.\n\n  Third. \n")
    found = documents(file, one_per_line=True)
    assert [document.text for document in found] == ["First.", "Second.", "Third."]
    assert [document.id for document in found] == ["input.txt:1", "input.txt:2", "input.txt:3"]


def test_files_of_the_same_name_give_different_ids(tmp_path: Path) -> None:
    files = [tmp_path / "train" / "a.txt", tmp_path / "dev" / "a.txt"]
    for path in files:
        path.parent.mkdir()
        path.write_text("Text.")
    assert [document.id for document in documents(*files)] == ["train/a.txt:1", "dev/a.txt:1"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("compressed", [False, True])
def test_line_ends_byte_order_mark_and_gzip(file: Path, line_end: str, mark: bytes, compressed: bool) -> None:
    content = mark + line_end.join(["Café au lait.", "Une ligne.", "", "Deux."]).encode()
    file.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    assert texts(file) == ["Café au lait.\nUne ligne.", "Deux."]
    labelled = mark + TYPED.replace("\n", line_end).encode()
    file.write_bytes(gzip.compress(labelled, mtime=0) if compressed else labelled)
    assert [sentence.words for sentence in read_labelled(file).sentences] == [
        ("Aspirin", "acid", "helps"),
        ("in", "mice"),
    ]


def test_only_line_feeds_end_lines(file: Path) -> None:
    file.write_bytes("a\x0bb\x0cc\u2028d\x85e\rf\n\ng".encode())
    assert texts(file) == ["a\x0bb\x0cc\u2028d\x85e\rf", "g"]


@pytest.mark.parametrize("content", [b"One.\n\nTwo.", gzip.compress(b"One.\n\nTwo.", mtime=0)])
def test_standard_input(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = documents(stdin_of(content, monkeypatch))
    assert [(document.id, document.text) for document in found] == [("stdin:1", "One."), ("stdin:2", "Two.")]
    assert not sys.stdin.buffer.closed


def test_labelled_standard_input_and_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read_labelled(stdin_of(BARE.encode(), monkeypatch)).sentences) == 2
    with pytest.raises(DataError, match="<stdin>:2: unknown tag 'X'"):
        read_labelled(stdin_of(b"a\tO\nb\tX\n", monkeypatch))


def test_gzip_members_and_padding_are_one_stream(file: Path) -> None:
    file.write_bytes(
        gzip.compress(b"One", mtime=0) + b"\0" * 10 + gzip.compress(b" and two.\n\nThree.", mtime=0) + b"\0" * 512
    )
    assert texts(file) == ["One and two.", "Three."]


def test_reading_is_streamed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_pulled = 0

    def endless(*_: object) -> Iterator[bytes]:
        nonlocal n_pulled
        while True:
            n_pulled += 1
            yield b"A line of text.\n\n"

    monkeypatch.setattr(source, "read_blocks", endless)
    reader = read_documents([file], DataOptions())
    for _ in range(1000):
        next(reader)
    assert n_pulled <= 1001


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_the_size_of_the_blocks_read_does_not_matter(file: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mslm_cli.corpus.lines._BLOCK", block)
    content = "\ufeffCafé ✓ 𝛼.\r\nZwei.\r\n\r\nDrei.".encode()
    file.write_bytes(content)
    assert texts(file) == ["Café ✓ 𝛼.\nZwei.", "Drei."]
    file.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]) if block > 1 else content)
    assert texts(file) == ["Café ✓ 𝛼.\nZwei.", "Drei."]
    file.write_bytes("Café.\n\nZwei.\nDr".encode() + b"\xffei.")
    with pytest.raises(DataError, match=r"input\.txt:4: not valid UTF-8: byte 0xff"):
        texts(file)


def test_a_very_long_document_comes_in_parts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "MAX_DOCUMENT_CHARS", 21)
    file.write_text("Ten chars.\n" * 5)
    assert texts(file) == ["Ten chars.\nTen chars.", "Ten chars.\nTen chars.", "Ten chars."]
    file.write_text("# doc 7\n" + "Ten B\nchars O\n. O\n\n" * 4)
    found = documents(file)
    assert [document.text for document in found] == ["Ten chars .\nTen chars ."] * 2
    assert {(document.id, document.has_id) for document in found} == {("7", True)}
    file.write_text("Ten B\nchars O\n. O\n\n" * 4)
    assert [document.id for document in documents(file)] == ["input.txt:1", "input.txt:2"]


# CoNLL as text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (BARE, "Aspirin causes ulcers .\nNo ulcers"),
        (TYPED, "Aspirin acid helps\nin mice"),
        (FOUR, "EU rejects German"),
        ("Aspirin\tB-Chem\n", "Aspirin"),
        ("# O\n5 O\nmg B\n", "# 5 mg"),
        ("#\tO\n5\tO\n", "# 5"),
        ("a S-X\nb O\nc U-X\n", "a b c"),
    ],
)
def test_conll_is_recognised_and_its_tags_ignored(file: Path, content: str, expected: str) -> None:
    file.write_text(content)
    (document,) = documents(file)
    assert document.text == expected
    assert document.sentences is not None
    assert [document.text[start:end] for start, end in document.sentences] == expected.split("\n")
    assert (document.id, document.has_id) == ("input.txt:1", False)


@pytest.mark.parametrize(
    "content",
    [
        "Aspirin causes ulcers.\nIt is known as vitamin O\n",
        "aspirin\nibuprofen\nparacetamol\n",
        "O\nB\nI\n",
        "vitamin B\nhepatitis B\nhepatitis E\n",
        "naive B-cell\nmemory B-cell\nwhite S-cell\n",
        "blood type O\n",
        "Patients\twere given 5 mg\tof aspirin.\nThe\trest\tplacebo.\n",
        "Gene therapy works in mice\tB\nIt does not work in men\tO\n",
        "term\tcount\naspirin\t5\nulcer\t3\n",
        "A table with a vitamin B\nin it , and\ntwo words O\nof this many other lines\nthat are prose O\n",
        "# Heading\n\nSome prose under it.\n",
        "x -DOCSTART- O\nprose\n",
    ],
)
def test_prose_is_not_mistaken_for_conll(file: Path, content: str) -> None:
    file.write_text(content)
    assert all(document.sentences is None for document in documents(file))
    assert "\n\n".join(texts(file)) == content.strip()


def test_a_faulty_line_does_not_turn_conll_into_prose(file: Path) -> None:
    file.write_text(BARE + "broken\n" + BARE)
    with pytest.raises(DataError, match=r"input\.txt:9: expected 2 columns, as in the lines before, found 1 column"):
        documents(file)


def test_format_overrides_recognition(file: Path) -> None:
    file.write_text(BARE)
    assert documents(file, format="text")[0].text.startswith("Aspirin\tB\ncauses")
    file.write_text("Aspirin NN\ncauses VBZ\n")
    assert texts(file) == ["Aspirin NN\ncauses VBZ"]
    assert texts(file, format="conll") == ["Aspirin causes"]


def test_each_file_is_recognised_for_itself(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(BARE)
    (tmp_path / "b.txt").write_text("Some prose.")
    assert texts(tmp_path / "a.tsv", tmp_path / "b.txt") == ["Aspirin causes ulcers .\nNo ulcers", "Some prose."]


@pytest.mark.parametrize(
    ("mark", "doc_id"),
    [
        ("-DOCSTART- (10051005)", "10051005"),
        ("-DOCSTART-\t10051005\tO", "10051005"),
        ("-DOCSTART- id=PMC7 O O", "PMC7"),
        ("-DOCSTART- trial", "trial"),
        ("# doc 10051005", "10051005"),
        ("# doc_id = 10051005", "10051005"),
        ("# newdoc id = a b", "a b"),
        ("###MEDLINE:10051005", "10051005"),
        ("-DOCSTART- -X- O O", None),
        ("-DOCSTART- NN O O", None),
        ("-DOCSTART-\tO", None),
        ("-DOCSTART-", None),
        ("# newdoc", None),
    ],
)
def test_document_marks(file: Path, mark: str, doc_id: str | None) -> None:
    file.write_text(f"{mark}\n\na O\nb B\n\nc O\n\n{mark.replace('1005', '2005')}\nd O\n")
    found = documents(file)
    labelled = [(sentence.doc, sentence.id) for sentence in read_labelled(file).sentences]
    if doc_id is None:
        assert [(d.id, d.has_id) for d in found] == [("input.txt:1", False), ("input.txt:2", False)]
        assert labelled == [("doc1", "doc1:1"), ("doc1", "doc1:2"), ("doc2", "doc2:1")]
    else:
        second = doc_id.replace("1005", "2005")
        assert {(d.id, d.has_id) for d in found} == {(doc_id, True), (second, True)}
        assert [doc for doc, _ in labelled] == [doc_id, doc_id, second]
        assert len({sentence_id for _, sentence_id in labelled}) == 3


@pytest.mark.parametrize("row", ["# O", "#doc O", "#1 O", "# B", "#document B"])
def test_hash_signs_with_a_tag_are_words(file: Path, row: str) -> None:
    file.write_text(f"a O\n{row}\nb B\n")
    (sentence,) = read_labelled(file).sentences
    assert sentence.words == ("a", row.split()[0], "b")


def test_comments_are_skipped(file: Path) -> None:
    file.write_text("# sent_id = 3\n# text = a b\na _ O\nb _ B\n")
    assert [sentence.words for sentence in read_labelled(file).sentences] == [("a", "b")]


# Labelled


def test_bare_tags(file: Path) -> None:
    file.write_text(BARE)
    corpus = read_labelled(file)
    assert [(sentence.id, sentence.doc, sentence.words) for sentence in corpus.sentences] == [
        ("1", None, ("Aspirin", "causes", "ulcers", ".")),
        ("2", None, ("No", "ulcers")),
    ]
    assert corpus.sentences[0].mentions == ((0, 1, "MENTION"), (2, 3, "MENTION"))
    assert (corpus.types, corpus.scheme, corpus.n_orphans, corpus.n_empty_words) == (("MENTION",), "IOB2", 0, 0)


def test_typed_tags_between_any_spaces(file: Path) -> None:
    file.write_text(TYPED.replace(" ", "   "))
    corpus = read_labelled(file)
    assert [sentence.mentions for sentence in corpus.sentences] == [((0, 2, "Chem"),), ((1, 2, "Species"),)]
    assert corpus.types == ("Chem", "Species")


def test_words_of_tabbed_files_may_hold_spaces(file: Path) -> None:
    file.write_text("New York\tB-LOC\nis\tO\n\u00a0x\u00a0y\tO\n")
    assert read_labelled(file).sentences[0].words == ("New York", "is", "x\u00a0y")


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB1", "O I-X I-X B-X I-X I-Y O"),
        ("IO", "O I-X I-X I-Y I-Y I-X O"),
        ("IOBES", "S-X O B-X I-X E-X S-Y O"),
        ("BILOU", "U-X O B-X I-X L-X U-Y O"),
    ],
)
def test_other_schemes(file: Path, scheme: str, tags: str) -> None:
    expected = {
        "IOB1": ((1, 3, "X"), (3, 5, "X"), (5, 6, "Y")),
        "IO": ((1, 3, "X"), (3, 5, "Y"), (5, 6, "X")),
        "IOBES": ((0, 1, "X"), (2, 5, "X"), (5, 6, "Y")),
        "BILOU": ((0, 1, "X"), (2, 5, "X"), (5, 6, "Y")),
    }
    file.write_text("".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split())))
    corpus = read_labelled(file)
    assert (corpus.scheme, corpus.n_orphans) == (scheme, 0)
    assert corpus.sentences[0].mentions == expected[scheme]


def test_orphans_are_accepted_and_counted(file: Path) -> None:
    file.write_text("a O\nb I-X\nc I-X\nd O\n\ne B-X\nf I-Y\n")
    corpus = read_labelled(file)
    assert [sentence.mentions for sentence in corpus.sentences] == [((1, 3, "X"),), ((0, 1, "X"), (1, 2, "Y"))]
    assert (corpus.scheme, corpus.n_orphans) == ("IOB2", 2)


@pytest.mark.parametrize("content", ["a\tB-X\n\tI-X\nb\tO\n", "a B-X\n I-X\nb O\n"])
def test_empty_words_are_replaced_and_counted(file: Path, content: str) -> None:
    file.write_text(content)
    corpus = read_labelled(file)
    assert corpus.sentences[0].words == ("a", EMPTY_WORD, "b")
    assert corpus.sentences[0].mentions == ((0, 2, "X"),)
    assert corpus.n_empty_words == 1
    assert texts(file) == ["a b"]


def test_a_sentence_of_empty_words_is_no_text(file: Path) -> None:
    file.write_text("a\tO\nb\tO\n\n\tO\n\nc\tO\n")
    (document,) = documents(file)
    assert (document.text, document.sentences) == ("a b\nc", ((0, 3), (4, 5)))
    assert [len(sentence.words) for sentence in read_labelled(file).sentences] == [2, 1, 1]


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(
            st.tuples(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5), st.booleans()),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["\t", " ", " x ", "\tx\ty\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_any_corpus_reads_back(
    sentences: list[list[tuple[str, bool]]], between: str, line_end: str, compressed: bool
) -> None:
    expected = [
        (
            tuple(f"w{word}" for word, _ in sentence),
            tuple((i, i + 1, "X") for i, (_, is_x) in enumerate(sentence) if is_x),
        )
        for sentence in sentences
    ]
    rows = []
    for words, mentions in expected:
        rows += [f"{w}{between}{tag}" for w, tag in zip(words, tags_from_mentions(mentions, len(words)), strict=True)]
        rows.append("")
    content = line_end.join(rows).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus")
        path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
        corpus = read_labelled(path)
        joined = "\n".join(text for text in texts(path, format="conll"))
    assert [(sentence.words, sentence.mentions) for sentence in corpus.sentences] == expected
    assert joined == "\n".join(" ".join(words) for words, _ in expected)


def test_recognition_needs_a_majority_of_rows() -> None:
    assert looks_like_conll(["a O", "b O", "c"])
    assert not looks_like_conll(["a O", "b O", "c", "d"])
    assert not looks_like_conll([])
    assert not looks_like_conll(["", " "])
