from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.corpus.alignment import WordWindow, word_windows

SIZES = st.lists(st.integers(1, 12), max_size=60)


@given(SIZES, st.integers(1, 20), st.integers(0, 30))
def test_every_word_is_owned_once_and_every_window_fits(sizes: list[int], capacity: int, overlap: int) -> None:
    windows = word_windows(sizes, capacity, overlap)
    owned = [word for w in windows for word in range(w.own_start, w.own_end)]
    assert owned == list(range(len(sizes)))
    for w in windows:
        assert w.start <= w.own_start <= w.own_end <= w.end
        assert sum(min(n, capacity) for n in sizes[w.start : w.end]) <= capacity


@given(SIZES, st.integers(1, 20), st.integers(0, 30))
def test_windows_share_no_more_than_the_overlap(sizes: list[int], capacity: int, overlap: int) -> None:
    windows = word_windows(sizes, capacity, overlap)
    for left, right in pairwise(windows):
        assert left.end < right.end
        assert left.start < right.start
        assert sum(sizes[right.start : left.end]) <= overlap


def test_a_sentence_that_fits_is_one_window() -> None:
    assert word_windows([1, 2, 3], 6, 2) == [WordWindow(0, 3, 0, 3)]


def test_the_border_runs_through_the_middle_of_the_overlap() -> None:
    assert word_windows([1] * 12, 8, 4) == [WordWindow(0, 8, 0, 6), WordWindow(4, 12, 6, 12)]


def test_a_sentence_without_words_has_no_window() -> None:
    assert word_windows([], 8, 4) == []
