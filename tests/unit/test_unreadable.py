"""Input that cannot be read: one clear error for each form, with the place."""

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import documents, texts

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.errors import DataError, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(st.sampled_from("aB-O#\t \n\r\u00a0é"), max_size=60).map(str.encode),
        st.binary(max_size=40).map(lambda tail: gzip.compress(b"a\tO\n" * 9, mtime=0)[:20] + tail),
    )
)
def test_any_file_content_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        path.write_bytes(content)
        for read in (lambda: documents(path), lambda: documents(path, format="conll"), lambda: read_labelled(path)):
            try:
                assert read()
            except DataError as error:
                assert str(error).startswith(str(path))  # noqa: PT017  # reading may as well succeed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "input.txt: the file is empty"),
        (gzip.compress(b"", mtime=0), "input.txt: the file is empty"),
        (b"\xef\xbb\xbf", "input.txt: the file is empty"),
        (b"\n \n\t\r\n\n", "input.txt: the file holds no text, only blank lines"),
        (b"-DOCSTART- -X- O O\n\n", "input.txt: the file holds no text, only blank lines or document marks"),
        (b"a\tO\nb\tO\n\ncaf\xe9\tO\n", "input.txt:4: not valid UTF-8: byte 0xe9"),
        (b"a\tO\n\xe2\x82", "input.txt:2: not valid UTF-8: byte 0xe2 (unexpected end of data)"),
        (b"a\tO\nb\0\tO\n", "input.txt:2: a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "input.txt:1: a binary file"),
        (gzip.compress(b"PK\x03\x04\0\0", mtime=0), "input.txt:1: a binary file"),
        (gzip.compress(b"a\tO\n" * 100, mtime=0)[:-3], "truncated gzip"),
        (gzip.compress(b"a\tO\n", mtime=0)[:12], "input.txt:1: truncated gzip"),
        (b"\x1f\x8b", "input.txt:1: truncated gzip"),
        (b"\x1f\x8b" + b"nonsense" * 9, "input.txt:1: corrupt gzip"),
        (gzip.compress(b"a\tO\n" * 9, mtime=0)[:-8] + b"\1\2\3\4\5\6\7\x08", "corrupt gzip"),
        (gzip.compress(b"a\tO\n", mtime=0) + b"trailing", "corrupt gzip"),
    ],
)
def test_unreadable_files(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    for read in (lambda: documents(file), lambda: read_labelled(file), lambda: documents(file, one_per_line=True)):
        with pytest.raises(DataError) as caught:
            read()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\nb\n", "input.txt:2: expected 2 columns, as in the lines before, found 1 column"),
        ("a\tO\nb\t\n", "input.txt:2: expected 2 columns, as in the lines before, found 1 column"),
        ("a X O\n\nb O\n", "input.txt:3: expected 3 columns, as in the lines before, found 2 columns"),
        ("a X O\nb  O\n", "input.txt:2: expected 3 columns, as in the lines before, found 2 columns"),
        ("a O\nNew York B\n", "input.txt:2: expected 2 columns, as in the lines before, found 3 columns"),
        ("Prose\n", "input.txt:1: expected a word and a tag, found 1 column"),
        ("a\tO\nb\tQ-X\n", "input.txt:2: unknown tag 'Q-X'"),
        ("a\tO\nb\tB-\n", "input.txt:2: unknown tag 'B-'"),
        ("Some prose here.\n", "input.txt:1: unknown tag 'here.'"),
        ("a\tB-X\nb\tI\n", "input.txt:2: bare tag 'I' in a file with typed tags"),
        ("a\tB\nb\tO\nc\tB-X\n", "input.txt:3: typed tag 'B-X' in a file with bare tags"),
    ],
)
def test_faulty_labels(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(DataError) as caught:
        read_labelled(file)
    assert str(caught.value).startswith(str(file.parent))
    assert message in str(caught.value)


def test_invalid_utf8_far_into_a_large_file_has_its_line(file: Path) -> None:
    file.write_bytes(b"word\tO\n" * 200_000 + b"caf\xe9\tO\n" + b"word\tO\n" * 10)
    for read in (lambda: documents(file), lambda: read_labelled(file)):
        with pytest.raises(DataError, match=r"input\.txt:200001: .*--encoding.*--errors"):
            read()


def test_encoding_and_errors_help_with_invalid_utf8(file: Path) -> None:
    file.write_bytes(b"Caf\xe9 au lait\n")
    assert texts(file, encoding="latin-1") == ["Café au lait"]
    assert texts(file, errors="replace") == ["Caf\ufffd au lait"]
    assert texts(file, errors="ignore") == ["Caf au lait"]
    file.write_bytes(b"caf\xe9\tB\nau\tO\n")
    assert read_labelled(file, DataOptions(encoding="latin-1")).sentences[0].words == ("café", "au")
    assert read_labelled(file, DataOptions(errors="replace")).sentences[0].words == ("caf\ufffd", "au")


def test_utf16_can_be_named(file: Path) -> None:
    file.write_text("Größe\n\nZwei\n", encoding="utf-16")
    assert texts(file, encoding="utf-16") == ["Größe", "Zwei"]
    with pytest.raises(DataError):
        texts(file)


def test_an_unknown_encoding_is_a_usage_error(file: Path) -> None:
    file.write_text("Text.")
    for name in ("latin-17", "hex"):
        with pytest.raises(UsageError, match=f"--encoding: .*{name}"):
            texts(file, encoding=name)


def test_an_error_in_a_later_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Fine.")
    (tmp_path / "b.txt").write_bytes(b"")
    reader = read_documents([tmp_path / "a.txt", tmp_path / "b.txt"], DataOptions())
    assert next(reader).text == "Fine."
    with pytest.raises(DataError, match=r"b\.txt: the file is empty"):
        next(reader)
