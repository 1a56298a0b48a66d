"""The units in which gold mentions by characters are compared to predictions: words, cut where mentions cut them.

A model that tags words cannot predict a gold mention that begins or ends inside a word. So that such a mention counts
and is missed, its word is cut there, into units; predictions of words cover all units of their words. Predictions by
characters cut words too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from mslm_cli.corpus.documents import EMPTY_WORD, CharSpan, LabelledSentence
from mslm_cli.corpus.labels import Mention, tags_from_mentions

_FIRST = {"S": "B", "U": "B", "E": "I", "L": "I"}
_LAST = {"S": "E", "U": "L", "E": "E", "L": "L"}
"""What the tag of a word that is one unit becomes in the first and in the last of several."""


@dataclass(frozen=True, slots=True)
class ScoringUnits:
    """A sentence in units: its words, cut where a mention begins or ends inside one.

    sentence: the same with units for words and the gold mentions as they were annotated. word_of: the word of each
    unit, or None for a stretch between words in which a mention begins or ends. n_off_boundary: gold mentions
    that begin or end where no word does. predicted: the mentions that were predicted by characters, in units.
    """

    sentence: LabelledSentence
    word_of: tuple[int | None, ...]
    n_off_boundary: int
    predicted: tuple[Mention, ...] = ()

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


def scoring_units(sentence: LabelledSentence, predicted: Sequence[CharSpan] = ()) -> ScoringUnits:
    """The units of a sentence whose mentions were annotated by characters, and of the ``predicted`` ones, if any."""
    assert sentence.offsets is not None
    assert sentence.gold is not None
    words = sentence.offsets
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    off = [s for s in (*sentence.gold, *predicted) if s.start not in starts or s.end not in ends]
    n_off = sum(s.start not in starts or s.end not in ends for s in sentence.gold)
    if not off:
        at_start = {start: i for i, (start, _) in enumerate(words)}
        at_end = {end: i + 1 for i, (_, end) in enumerate(words)}
        gold, found = (
            tuple((at_start[s.start], at_end[s.end], s.type) for s in spans) for spans in (sentence.gold, predicted)
        )
        return ScoringUnits(_with(sentence, sentence.words, gold), tuple(range(len(words))), 0, found)
    cuts = sorted({at for span in (*sentence.gold, *predicted) for at in span[:2]} | starts | ends)
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
    gold, found = (
        tuple((bisect_left(unit_starts, s.start), bisect_left(unit_starts, s.end), s.type) for s in spans)
        for spans in (sentence.gold, predicted)
    )
    texts = []
    for (start, end), word in zip(units, word_of, strict=True):
        first = 0 if word is None else words[word][0]
        texts.append(EMPTY_WORD if word is None else sentence.words[word][start - first : end - first])
    return ScoringUnits(_with(sentence, tuple(texts), gold), tuple(word_of), n_off, found)


def _with(sentence: LabelledSentence, words: tuple[str, ...], mentions: tuple[Mention, ...]) -> LabelledSentence:
    tags = tuple(tags_from_mentions(mentions, len(words)))
    return replace(sentence, words=words, mentions=mentions, tags=tags, offsets=None, gold=None)
