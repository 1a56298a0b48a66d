"""Mentions from tags and tags from mentions."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Mention = tuple[int, int, str]
"""A mention of one sentence: words [start, end) and its type."""

TagScheme = Literal["IOB2", "IOBES"]
"""The schemes that tags are written in."""


class ScoredMention(NamedTuple):
    """A predicted mention: words [start, end), its type, and its probability, None if it has none."""

    start: int
    end: int
    type: str
    score: float | None = None

    @property
    def mention(self) -> Mention:
        """The mention without its probability."""
        return self.start, self.end, self.type


BARE_TYPE = "MENTION"
"""The type given to mentions whose tags carry none (``B``, ``I``)."""

_SEVERAL = re.compile(r"[|;,+&](?:O$|[BIESLU]-)")
_STARTS = frozenset("BSU")
_ENDS = frozenset("ESLU")
_PREFIXES = frozenset("BIESLU")
STRICT = {"IOB2": ("OBI", "B", "", ""), "IOBES": ("OBIES", "B", "S", "E"), "BILOU": ("OBILU", "B", "U", "L")}
"""Of each scheme: its prefixes, and those that begin a mention, are a whole one, and end one."""


@lru_cache(maxsize=4096)
def split_tag(tag: str) -> tuple[str, str]:
    """The prefix (one of ``OBIESLU``) and the type of a tag; the type of ``O`` is empty.

    Raises:
        ValueError: the tag is none of IOB, IO, IOBES and BILOU, or there are several ("B-Drug|B-Disease").
    """
    if tag == "O":
        return "O", ""
    if has_several_tags(tag):
        raise ValueError(f"several tags in {tag!r}")
    prefix, dash, kind = tag.partition("-")
    if prefix not in _PREFIXES or (dash and not kind):
        raise ValueError(f"unknown tag {tag!r}")
    return prefix, kind or BARE_TYPE


def has_several_tags(cell: str) -> bool:
    """Whether ``cell`` holds tags of several layers: "B-Drug|B-Disease", "I-Drug,O"."""
    return _SEVERAL.search(cell) is not None


def mentions_from_tags(tags: Sequence[str]) -> list[Mention]:
    """Mentions of one sentence in order, from IOB2, IOB1, IO, IOBES or BILOU tags alike.

    Lenient: a tag that continues nothing (an I- after O, or after another type) starts a mention,
    and a mention goes on until its end tag, another start, another type or O.

    Raises:
        ValueError: a tag is of none of these schemes.
    """
    mentions: list[Mention] = []
    start, open_type = 0, ""
    for i, tag in enumerate(tags):
        if tag == "O" and not open_type:
            continue
        prefix, kind = split_tag(tag)
        begins = prefix in _STARTS or kind != open_type
        if begins and open_type:
            mentions.append((start, i, open_type))
        if begins:
            start, open_type = i, kind
        if prefix in _ENDS:
            mentions.append((start, i + 1, open_type))
            open_type = ""
    if open_type:
        mentions.append((start, len(tags), open_type))
    return mentions


def strict_mentions(tags: Sequence[str], scheme: str = "IOB2") -> list[Mention]:
    """Mentions of one sentence in order, by a scheme taken at its word.

    IOB2: a B- and the I- of its type right after it; an I- that continues no B- belongs to no mention, nor do the I-
    that follow it. IOBES and BILOU: a start, what continues it, and its end; a mention that comes to no end is none.
    In IO and IOB1 every tag is in its place, as ``mentions_from_tags`` reads it.

    Raises:
        ValueError: a tag is not of the scheme.

    Source: seqeval 1.2.2, ``mode="strict"`` with its IOB2, IOBES and BILOU.
    """
    if scheme in ("IO", "IOB1"):
        return mentions_from_tags(tags)
    allowed, begins, singles, ends = STRICT[scheme]
    mentions: list[Mention] = []
    start, open_type = 0, ""
    for i, tag in enumerate(tags):
        if tag == "O" and not open_type:
            continue
        prefix, kind = split_tag(tag)
        if prefix not in allowed:
            raise ValueError(f"tag {tag!r} is not {scheme}")
        goes_on = bool(open_type) and kind == open_type
        if goes_on and prefix == "I":
            continue
        if goes_on and prefix in ends:
            mentions.append((start, i + 1, kind))
        elif open_type and not ends:
            mentions.append((start, i, open_type))
        if prefix in singles:
            mentions.append((i, i + 1, kind))
        start, open_type = i, kind if prefix in begins else ""
    if open_type and not ends:
        mentions.append((start, len(tags), open_type))
    return mentions


def iob2_tags(types: Iterable[str]) -> list[str]:
    """All IOB2 tags of ``types``: O, then B- and I- of each."""
    return ["O", *(f"{prefix}-{entity_type}" for entity_type in types for prefix in "BI")]


def tags_from_mentions(mentions: Iterable[Mention], n_words: int, scheme: TagScheme = "IOB2") -> list[str]:
    """IOB2 or IOBES tags of one sentence, ``n_words`` of them.

    Raises:
        ValueError: a mention is empty, lies outside the sentence or overlaps another one.
    """
    tags = ["O"] * n_words
    for start, end, kind in mentions:
        if not 0 <= start < end <= n_words:
            raise ValueError(f"mention [{start}, {end}) does not fit a sentence of {n_words} words")
        if tags[start:end].count("O") < end - start:
            raise ValueError(f"mention [{start}, {end}) overlaps another one")
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        if scheme == "IOBES":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{kind}"
    return tags


def count_outside(tags: Sequence[str], mentions: Iterable[Mention]) -> int:
    """How many tags of one sentence, other than O, belong to none of its ``mentions``."""
    return len(tags) - tags.count("O") - sum(end - start for start, end, _ in mentions)


def count_orphans(tags: Sequence[str]) -> int:
    """How many tags of one sentence continue a mention (I-, E-, L-) where none of their type is open."""
    n_orphans = 0
    open_type = ""
    for tag in tags:
        if tag == "O":
            open_type = ""
            continue
        prefix, kind = split_tag(tag)
        n_orphans += prefix in "IEL" and kind != open_type
        open_type = "" if prefix in _ENDS else kind
    return n_orphans


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The tagging scheme of a file: ``IOB2``, ``IOB1``, ``IO``, ``IOBES`` or ``BILOU``.

    IO: I- and no B-. IOB1: I- start mentions, and every B- separates a mention from one of the same type
    right before it. A file without mentions is IOB2.
    """
    prefixes: set[str] = set()
    n_orphans = 0
    separators_only = True
    for tags in sentences:
        previous = ""
        for tag in tags:
            if tag == "O":
                previous = ""
                continue
            prefix, kind = split_tag(tag)
            prefixes.add(prefix)
            n_orphans += prefix == "I" and kind != previous
            separators_only &= prefix != "B" or kind == previous
            previous = kind
    if prefixes & {"E", "S"}:
        return "IOBES"
    if prefixes & {"L", "U"}:
        return "BILOU"
    if "I" in prefixes and "B" not in prefixes:
        return "IO"
    return "IOB1" if n_orphans and separators_only else "IOB2"
