"""Tags to mentions and back, in every scheme."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.labels import (
    Mention,
    count_orphans,
    detect_scheme,
    mentions_from_tags,
    split_tag,
    strict_mentions,
    tags_from_mentions,
)


def encode(mentions: Sequence[Mention], n_words: int, prefixes: Callable[[int], str]) -> list[str]:
    """Tags whose prefixes for a mention of n words are the characters of ``prefixes(n)``."""
    tags = ["O"] * n_words
    for start, end, kind in mentions:
        tags[start:end] = [f"{prefix}-{kind}" for prefix in prefixes(end - start)]
    return tags


SCHEMES: dict[str, Callable[[int], str]] = {
    "IOB2": lambda n: "B" + "I" * (n - 1),
    "IOBES": lambda n: "S" if n == 1 else "B" + "I" * (n - 2) + "E",
    "BILOU": lambda n: "U" if n == 1 else "B" + "I" * (n - 2) + "L",
}


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Mention], int]:
    """Non-overlapping mentions of a sentence, in order, and its number of words."""
    mentions: list[Mention] = []
    end = 0
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from(["A", "cell-type", "β"])), max_size=6)
    ):
        mentions.append((end + gap, end + gap + length, kind))
        end = mentions[-1][1]
    return mentions, end + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentences())
def test_every_scheme_with_starts_reads_back(scheme: str, sentence: tuple[list[Mention], int]) -> None:
    mentions, n_words = sentence
    assert mentions_from_tags(encode(mentions, n_words, SCHEMES[scheme])) == mentions


@given(sentences())
def test_iob1_reads_back(sentence: tuple[list[Mention], int]) -> None:
    mentions, n_words = sentence
    tags = encode(mentions, n_words, lambda n: "I" * n)
    for before, after in pairwise(mentions):
        if before[1] == after[0] and before[2] == after[2]:
            tags[after[0]] = f"B-{after[2]}"
    assert mentions_from_tags(tags) == mentions
    assert detect_scheme([tags]) in ("IOB1", "IO" if mentions else "IOB2")


@given(sentences())
def test_iob2_tags_read_back_strictly_and_without_orphans(sentence: tuple[list[Mention], int]) -> None:
    mentions, n_words = sentence
    tags = tags_from_mentions(mentions, n_words)
    assert len(tags) == n_words
    assert strict_mentions(tags) == mentions_from_tags(tags) == mentions
    assert count_orphans(tags) == 0
    assert detect_scheme([tags]) == "IOB2"


def test_bare_tags_have_the_type_mention() -> None:
    assert mentions_from_tags(["B", "I", "O", "B", "B"]) == [(0, 2, "MENTION"), (3, 4, "MENTION"), (4, 5, "MENTION")]
    assert strict_mentions(["B", "I", "O"]) == [(0, 2, "MENTION")]


@pytest.mark.parametrize(
    ("tags", "lenient", "strict", "n_orphans"),
    [
        ("O I-X I-X", [(1, 3, "X")], [], 1),
        ("B-X I-Y I-Y", [(0, 1, "X"), (1, 3, "Y")], [(0, 1, "X")], 1),
        ("B-X I-Y I-X", [(0, 1, "X"), (1, 2, "Y"), (2, 3, "X")], [(0, 1, "X")], 2),
        ("I-X B-X I-X", [(0, 1, "X"), (1, 3, "X")], [(1, 3, "X")], 1),
        ("I-X O I-X", [(0, 1, "X"), (2, 3, "X")], [], 2),
        ("", [], [], 0),
    ],
)
def test_orphans_start_a_mention_leniently_and_none_strictly(
    tags: str, lenient: list[Mention], strict: list[Mention], n_orphans: int
) -> None:
    assert mentions_from_tags(tags.split()) == lenient
    assert strict_mentions(tags.split()) == strict
    assert count_orphans(tags.split()) == n_orphans


@pytest.mark.parametrize("cell", ["B-D|B-E", "B-D|O", "I-D,B-E", "B-D;I-D", "S-D+S-E", "B-D&B-E"])
def test_several_tags_in_one_cell_are_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="several tags"):
        split_tag(cell)


@pytest.mark.parametrize("kind", ["D|E", "B-I", "cell-type", "A,B", "R&D", "a/B-c", "OO", "O"])
def test_a_type_may_have_any_other_characters(kind: str) -> None:
    assert split_tag(f"B-{kind}") == ("B", kind)


def test_a_mention_ends_at_its_end_tag() -> None:
    assert mentions_from_tags(["B-X", "E-X", "I-X", "S-X", "S-X"]) == [
        (0, 2, "X"),
        (2, 3, "X"),
        (3, 4, "X"),
        (4, 5, "X"),
    ]
    assert count_orphans(["B-X", "E-X", "I-X", "S-X", "E-X"]) == 2


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", ["B-X I-X O", "O B-X"]),
        ("IOB2", ["O O"]),
        ("IOB2", ["B-X O B-X", "O I-X"]),
        ("IOB1", ["I-X I-X B-X O", "I-Y"]),
        ("IO", ["I-X O I-X I-Y"]),
        ("IO", ["I O I I"]),
        ("IOBES", ["S-X O B-X E-X"]),
        ("BILOU", ["U-X O B-X I-X L-X"]),
    ],
)
def test_scheme_is_detected(scheme: str, tags: list[str]) -> None:
    assert detect_scheme(sentence.split() for sentence in tags) == scheme


@pytest.mark.parametrize("tag", ["", "X", "B-", "-X", "b-X", "O-X", "BX", "o", "B_X", "PER"])
def test_unknown_tags_are_refused(tag: str) -> None:
    for read in (split_tag, lambda tag: mentions_from_tags([tag]), lambda tag: strict_mentions([tag])):
        with pytest.raises(ValueError, match="unknown tag"):
            read(tag)


def test_strict_reading_refuses_other_schemes() -> None:
    with pytest.raises(ValueError, match="'S-X' is not IOB2"):
        strict_mentions(["S-X"])


@pytest.mark.parametrize(
    ("mentions", "message"),
    [
        ([(0, 3, "X")], "does not fit"),
        ([(1, 1, "X")], "does not fit"),
        ([(-1, 1, "X")], "does not fit"),
        ([(0, 2, "X"), (1, 2, "Y")], "overlaps"),
    ],
)
def test_mentions_that_tags_cannot_represent_are_refused(mentions: list[Mention], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tags_from_mentions(mentions, 2)
