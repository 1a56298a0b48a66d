"""Standoff annotations: mentions by characters, and how they become mentions of whole words."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mslm_cli.corpus.documents import Change, CharSpan, LabelledCorpus, LabelledSentence
from mslm_cli.corpus.labels import Mention, tags_from_mentions
from mslm_cli.text.sentences import split_sentences
from mslm_cli.text.tokens import token_spans

SplitWords = Callable[[str], list[tuple[int, int]]]
OverlapRule = Literal["longest", "outermost", "innermost"]
FragmentRule = Literal["span", "first", "drop"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mention as annotated: one or more fragments [start, end) in characters, ascending.

    ``id``: what relations refer to, empty if the input has none. ``concepts``: what it is normalised to, as in the
    input (``D009369``, ``D003693|D015738``). ``score``: the probability of a predicted mention.
    """

    fragments: tuple[tuple[int, int], ...]
    type: str
    id: str = ""
    concepts: str = ""
    score: float | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """From its first character to its last: [start, end)."""
        return self.fragments[0][0], self.fragments[-1][1]


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation as annotated; ``arguments``: the role of each, and the id of a mention or concept.

    ``line``: where it is in its file, if the file has lines; for messages. ``score``: the probability of a predicted
    relation.
    """

    type: str
    arguments: tuple[tuple[str, str], ...]
    id: str = ""
    line: int | None = field(default=None, compare=False)
    score: float | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedDocument:
    """A document with its annotations.

    ``passages``: [start, end) and kind of its parts (title, abstract), if the input marks them.
    ``n_ignored``: annotations that are not read (events, attributes, notes), by kind.
    """

    id: str
    text: str
    annotations: tuple[Annotation, ...]
    has_id: bool = True
    relations: tuple[Relation, ...] = ()
    passages: tuple[tuple[int, int, str], ...] = ()
    n_ignored: tuple[tuple[str, int], ...] = ()


class AlignedSentence(NamedTuple):
    """One sentence of a text.

    words: [start, end) in characters of the text. mentions: words [start, end) and type, disjoint, widened to whole
    words. gold: the mentions that begin here, as they were annotated.
    """

    words: list[tuple[int, int]]
    mentions: list[Mention]
    gold: list[CharSpan]


def align(
    text: str, spans: Iterable[CharSpan], split_words: SplitWords = token_spans
) -> tuple[list[AlignedSentence], list[Change]]:
    """The sentences of ``text`` in words, with ``spans`` as mentions of whole words; and the mentions that changed.

    Text is split into sentences and words as in `mslm predict`, regardless of where mentions begin and end. A mention
    that begins or ends inside a word is widened to the whole word; one that crosses a sentence boundary keeps the part
    in the sentence with most of its words; one without a word is left out, and so is one in a word that already
    belongs to another mention.

    Args:
        spans: disjoint, in any order.
    """
    bounds = split_sentences(text)
    sentences = [
        AlignedSentence([(start + a, start + b) for a, b in split_words(text[start:end])], [], [])
        for start, end in bounds
    ]
    of_word = [i for i, sentence in enumerate(sentences) for _ in sentence.words]
    starts = [start for sentence in sentences for start, _ in sentence.words]
    ends = [end for sentence in sentences for _, end in sentence.words]
    changes: list[Change] = []
    for span in sorted(spans):
        before = text[span.start : span.end]
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first >= last:
            if sentences:
                sentences[max(0, bisect_right(bounds, (span.start, len(text))) - 1)].gold.append(span)
            changes.append(Change("without a word", span, before))
            continue
        inside = of_word[first:last]
        sentences[inside[0]].gold.append(span)
        number = max(dict.fromkeys(inside), key=inside.count)
        first, last = first + inside.index(number), last - inside[::-1].index(number)
        at = first - bisect_left(of_word, number)
        after = text[starts[first] : ends[last - 1]]
        mentions = sentences[number].mentions
        if mentions and mentions[-1][1] > at:
            changes.append(Change("in a word with another", span, before))
            continue
        mentions.append((at, at + last - first, span.type))
        if inside[0] != inside[-1]:
            changes.append(Change("cut at a sentence end", span, before, after))
        elif (starts[first], ends[last - 1]) != span[:2]:
            changes.append(Change("widened", span, before, after))
    return sentences, changes


def disjoint(spans: Sequence[CharSpan], rule: OverlapRule) -> tuple[list[CharSpan], list[CharSpan]]:
    """The spans that are kept so that none overlaps another, and those that are left out.

    longest: from the longest to the shortest, each span that overlaps none kept before. outermost: the same, but only
    among spans that no other contains; innermost: only among those that contain no other. Of spans of the same length
    the first in the text is kept, and of equal spans the first given.
    """
    bounds = sorted({span[:2] for span in spans}, key=lambda bound: (bound[0], -bound[1]))
    out: set[tuple[int, int]] = set()
    if rule == "outermost":
        furthest = -1
        for start, end in bounds:
            if end <= furthest:
                out.add((start, end))
            furthest = max(furthest, end)
    elif rule == "innermost":
        nearest: float = float("inf")
        for start, end in reversed(bounds):
            if end >= nearest:
                out.add((start, end))
            nearest = min(nearest, end)
    kept: dict[tuple[int, int], CharSpan] = {}
    taken: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.start)):
        bound = span[:2]
        at = bisect_left(taken, bound)
        if bound in out or (at and taken[at - 1][1] > span.start) or (at < len(taken) and taken[at][0] < span.end):
            continue
        taken.insert(at, bound)
        kept[bound] = span
    left = [span for span in spans if kept.get(span[:2]) is not span]
    return [kept[bound] for bound in taken], left


def spans_of(
    document: AnnotatedDocument, overlaps: OverlapRule, fragments: FragmentRule
) -> tuple[list[CharSpan], list[Change]]:
    """The mentions of a document as disjoint spans, each once, and the mentions that changed."""
    text = document.text
    spans: dict[CharSpan, None] = {}
    changes: list[Change] = []
    for annotation in document.annotations:
        parts = annotation.fragments
        whole = CharSpan(*annotation.bounds, annotation.type)
        if len(parts) > 1:
            before = " ... ".join(text[start:end] for start, end in parts)
            if fragments == "drop":
                changes.append(Change("discontinuous", whole, before))
                continue
            chosen = whole if fragments == "span" else CharSpan(*parts[0], annotation.type)
            changes.append(Change("discontinuous", chosen, before, text[chosen.start : chosen.end]))
            whole = chosen
        spans[whole] = None
    kept, left = disjoint(list(spans), overlaps)
    changes += (Change("overlapping", span, text[span.start : span.end]) for span in left)
    return kept, changes


def labelled_corpus(
    documents: Iterable[AnnotatedDocument],
    *,
    overlaps: OverlapRule = "longest",
    fragments: FragmentRule = "span",
    split_words: SplitWords = token_spans,
) -> LabelledCorpus:
    """The labelled sentences of annotated documents; see ``align``, ``disjoint`` and ``spans_of``."""
    sentences: list[LabelledSentence] = []
    changes: list[Change] = []
    n_ignored: Counter[str] = Counter()
    for document in documents:
        spans, of_spans = spans_of(document, overlaps, fragments)
        aligned, of_words = align(document.text, spans, split_words)
        changes += (change._replace(doc=document.id) for change in (*of_spans, *of_words))
        n_ignored.update(dict(document.n_ignored))
        for number, sentence in enumerate(aligned, 1):
            sentences.append(_labelled(document, number, sentence))
    types = sorted({span.type for sentence in sentences for span in sentence.gold or ()})
    return LabelledCorpus(
        tuple(sentences), tuple(types), "IOB2", 0, changes=tuple(changes), n_ignored=tuple(sorted(n_ignored.items()))
    )


def _labelled(document: AnnotatedDocument, number: int, sentence: AlignedSentence) -> LabelledSentence:
    return LabelledSentence(
        id=f"{document.id}:{number}",
        doc=document.id,
        words=tuple(document.text[start:end] for start, end in sentence.words),
        mentions=tuple(sentence.mentions),
        tags=tuple(tags_from_mentions(sentence.mentions, len(sentence.words))),
        offsets=tuple(sentence.words),
        gold=tuple(sentence.gold),
    )
