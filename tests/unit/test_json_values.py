"""JSON that is parsed value by value from blocks of text: the values of the whole text, and errors with their line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus import json_values
from mslm_cli.corpus.json_values import JsonStream
from mslm_cli.errors import DataError

texts = st.text(st.sampled_from('ab"\\\n\u2028é😀[]{},: 1'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def blocks(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def read(stream: JsonStream) -> Any:
    """The next value, read by stepping into every array and object."""
    if stream.peek() == "[":
        return [read(stream) for _ in stream.elements()]
    if stream.peek() == "{":
        return {key: read(stream) for key in stream.members()}
    return stream.value()


def read_array(stream: JsonStream) -> None:
    """Read an array to the end of the text."""
    for _ in stream.elements():
        stream.value()
    stream.end()


@given(values, st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_values_are_those_of_the_whole_text(value: object, size: int, indent: int | None, ascii: bool) -> None:
    text = f" {json.dumps(value, indent=indent, ensure_ascii=ascii)}\n"
    assert JsonStream(blocks(text, size), "a").value() == value
    stream = JsonStream(blocks(text, size), "a")
    assert read(stream) == value
    stream.end()


@given(st.lists(st.integers(0, 99), max_size=5), st.integers(1, 5))
def test_values_may_follow_one_another(numbers: list[int], size: int) -> None:
    stream = JsonStream(blocks("\n".join(map(str, numbers)), size), "a")
    found = []
    while stream.peek():
        found.append(stream.value())
    assert found == numbers


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_elements_have_their_lines(size: int) -> None:
    text = '[\n{"a":\n1},\n\n 2, "x"\n, [\n]]'
    stream = JsonStream(blocks(text, size), "a")
    assert [(line, stream.value()) for line in stream.elements()] == [(2, {"a": 1}), (5, 2), (5, "x"), (6, [])]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[1,\n{"a" 2}]', "a:2: not JSON: Expecting ':' delimiter"),
        ('[1,\n"cut', "a:2: not JSON: Unterminated string starting at"),
        ('[1,\n"two\nlines"]', "a:2: not JSON: Invalid control character at"),
        ("[1,\n2\n", "a:3: not JSON: expected , or ], found the end of the file"),
        ("[1,\n2\n3]", "a:3: not JSON: expected , or ], found '3"),
        ("[1\n]\n  x", "a:3: not JSON: expected the end of the file, found 'x'"),
        ("[1,\ntru]", "a:2: not JSON: Expecting value"),
        ("", "a:1: not JSON: expected [, found the end of the file"),
        ('[1,\n"\\ud83d"]', "a:2: \\ud83d is half of a surrogate pair, and no character"),
        ("[" * 100_000, "a:1: not JSON: maximum recursion depth exceeded"),
    ],
)
def test_errors_have_their_line(text: str, said: str, size: int) -> None:
    stream = JsonStream(blocks(text, size), "a")
    with pytest.raises(DataError) as caught:
        read_array(stream)
    assert str(caught.value).startswith(said)


def test_members_have_keys_in_quotes() -> None:
    stream = JsonStream(["{a: 1}"], "a")
    with pytest.raises(DataError, match=r"a:1: not JSON: expected a key in double quotes, found 'a: 1}'"):
        list(stream.members())


def test_only_what_is_asked_for_is_read() -> None:
    n_read = 0

    def given_blocks() -> Iterator[str]:
        nonlocal n_read
        yield "["
        for number in range(1000):
            n_read += 1
            yield f"{number}, "

    stream = JsonStream(given_blocks(), "a")
    elements = stream.elements()
    for _ in range(10):
        next(elements)
        stream.value()
    assert n_read < 15


def test_damage_is_told_before_the_rest_is_read() -> None:
    n_read = 0

    def given_blocks() -> Iterator[str]:
        nonlocal n_read
        yield '[{"a" "b"}, '
        for _ in range(1000):
            n_read += 1
            yield "1, " * 10

    stream = JsonStream(given_blocks(), "a")
    with pytest.raises(DataError, match="Expecting ':' delimiter"):
        read_array(stream)
    assert n_read < 5


def test_a_value_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "MAX_LINE_CHARS", 100)
    stream = JsonStream(iter(['[1,\n"', *["x" * 50] * 100]), "a")
    with pytest.raises(DataError, match=r"a:2: a JSON value of more than 100 characters"):
        read_array(stream)
