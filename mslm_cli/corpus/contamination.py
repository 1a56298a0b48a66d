"""Documents that hold sentences of a test set, which must not be learnt from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_labelled


@dataclass(frozen=True)
class TestSentences:
    """Sentences of test sets: their letters and digits, as words joined by spaces.

    Sentences of fewer than ``seen.MIN_WORDS`` words are too common to prove anything, and left out.
    """

    __test__ = False  # pytest takes the class for a test by its name

    sentences: tuple[str, ...]

    @classmethod
    def read(cls, files: Sequence[Path], options: DataOptions) -> Self:
        """The sentences of labelled files.

        Raises:
            DataError: a file cannot be read, or has no sentences.
        """
        from mslm_cli.corpus.seen import MIN_WORDS, words_of  # imports numpy

        found = (words_of(" ".join(s.words)) for file in files for s in read_labelled(file, options).sentences)
        return cls(tuple(sorted({" ".join(words) for words in found if len(words) >= MIN_WORDS})))

    def finder(self) -> Callable[[str], bool]:
        """The function that says whether a text holds one of them, whatever stands between its words."""
        if not self.sentences:
            return lambda text: False
        from ahocorasick_rs import AhoCorasick

        from mslm_cli.corpus.seen import words_of

        automaton = AhoCorasick([f" {sentence} " for sentence in self.sentences])
        return lambda text: bool(automaton.find_matches_as_indexes(f" {' '.join(words_of(text))} "))


NO_SENTENCES = TestSentences(())
