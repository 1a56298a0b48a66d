"""What gold mentions by characters and predicted mentions of words are compared in: words, cut where gold cuts them.

A gold mention that begins or ends inside a word has boundaries that no prediction can have. So that it counts as one
mention and is found by none, its word is cut there, into units; predictions are of all units of their words.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from mslm_cli.corpus.documents import EMPTY_WORD, LabelledSentence
from mslm_cli.corpus.labels import tags_from_mentions

_FIRST = {"S": "B", "U": "B", "E": "I", "L": "I"}
_LAST = {"S": "E", "U": "L", "E": "E", "L": "L"}
"""What the tag of a word that is one unit becomes in the first and in the last of several."""


@dataclass(frozen=True, slots=True)
class ScoringUnits:
    """A sentence in units: its words, cut where a gold mention begins or ends inside one.

    sentence: the same with units for words and the gold mentions as they were annotated. word_of: the word of each
    unit, or None for a stretch between words in which a gold mention begins or ends. n_off_boundary: gold mentions
    that begin or end where no word does.
    """

    sentence: LabelledSentence
    word_of: tuple[int | None, ...]
    n_off_boundary: int

    def expanded(self, tags: Sequence[str]) -> Sequence[str]:
        """The tags of words as tags of units, which make the same mentions."""
        if len(self.word_of) == len(tags):
            return tags
        found: list[str] = []
        following = 0
        for word, units in groupby(self.word_of):
            n = len(list(units))
            if word is not None:
                prefix, rest = tags[word][0], tags[word][1:]
                inside = "O" if prefix == "O" else f"I{rest}"
                last = _LAST.get(prefix)
                first = tags[word] if n == 1 else f"{_FIRST.get(prefix, prefix)}{rest}"
                found += [first, *[inside] * (n - 2), *[inside if last is None else f"{last}{rest}"] * (n > 1)]
                following = word + 1
            else:
                goes_on = following < len(tags) and tags[following][0] in "IEL"
                found += [f"I{tags[following][1:]}" if goes_on else "O"] * n
        return found


def scoring_units(sentence: LabelledSentence) -> ScoringUnits:
    """The units of a sentence whose mentions were annotated by characters."""
    assert sentence.offsets is not None
    assert sentence.gold is not None
    words = sentence.offsets
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    off = [span for span in sentence.gold if span.start not in starts or span.end not in ends]
    if not off:
        at_start = {start: i for i, (start, _) in enumerate(words)}
        at_end = {end: i + 1 for i, (_, end) in enumerate(words)}
        mentions = tuple((at_start[s.start], at_end[s.end], s.type) for s in sentence.gold)
        return ScoringUnits(_with(sentence, sentence.words, mentions), tuple(range(len(words))), 0)
    cuts = sorted({at for span in sentence.gold for at in span[:2]} | starts | ends)
    units: list[tuple[int, int]] = []
    word_of: list[int | None] = []
    covered = [(span.start, span.end) for span in off]
    number = 0
    for start, end in pairwise(cuts):
        while number < len(words) and words[number][1] <= start:
            number += 1
        inside = number < len(words) and words[number][0] <= start
        # between words there is a unit only where a mention has one of its ends
        if inside or any(start == first or end == last for first, last in covered if first <= start and end <= last):
            units.append((start, end))
            word_of.append(number if inside else None)
    unit_starts = [start for start, _ in units]
    mentions = tuple(
        (bisect_left(unit_starts, span.start), bisect_left(unit_starts, span.end), span.type) for span in sentence.gold
    )
    texts = []
    for (start, end), word in zip(units, word_of, strict=True):
        first = 0 if word is None else words[word][0]
        texts.append(EMPTY_WORD if word is None else sentence.words[word][start - first : end - first])
    return ScoringUnits(_with(sentence, tuple(texts), mentions), tuple(word_of), len(off))


def _with(
    sentence: LabelledSentence, words: tuple[str, ...], mentions: tuple[tuple[int, int, str], ...]
) -> LabelledSentence:
    tags = tuple(tags_from_mentions(mentions, len(words)))
    return replace(sentence, words=words, mentions=mentions, tags=tags, offsets=None, gold=None)
