"""How a sentence that is too long for the encoder is cut into overlapping windows of whole words."""

from collections.abc import Sequence
from typing import NamedTuple


class WordWindow(NamedTuple):
    """Words [start, end) seen together, of which [own_start, own_end) are labelled in this window."""

    start: int
    end: int
    own_start: int
    own_end: int


def word_windows(n_pieces: Sequence[int], capacity: int, overlap: int) -> list[WordWindow]:
    """Windows over the words of one sentence; every word is owned by exactly one window.

    Neighbouring windows share up to ``overlap`` pieces, and the border of ownership runs
    through the middle of what they share, so that each word is labelled where it has context.

    Args:
        n_pieces: pieces of each word, at least 1; a word of more than ``capacity`` counts as ``capacity``.
        capacity: most pieces in a window, at least 1.
        overlap: pieces shared by neighbours; no more than half of ``capacity`` is used.
    """
    sizes = [min(n, capacity) for n in n_pieces]
    overlap = min(overlap, capacity // 2)
    windows: list[WordWindow] = []
    start = own_start = 0
    while start < len(sizes):
        end, filled = start, 0
        while end < len(sizes) and filled + sizes[end] <= capacity:
            filled += sizes[end]
            end += 1
        if end == len(sizes):
            windows.append(WordWindow(start, end, own_start, end))
            break
        following, shared = end, 0
        while following - 1 > start and shared + sizes[following - 1] <= min(overlap, capacity - sizes[end]):
            following -= 1
            shared += sizes[following]
        border = (following + end + 1) // 2
        windows.append(WordWindow(start, end, own_start, border))
        start, own_start = following, border
    return windows
