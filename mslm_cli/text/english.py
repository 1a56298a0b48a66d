"""Where sentences of English text begin, by the rules of spaCy 3.8's tokenizer and sentencizer, without spaCy.

The patterns and exceptions are those of ``spacy_rules``. spaCy's tokenizer splits text at white space into chunks, and
each chunk at its affixes and infixes, unless it is an exception ("e.g."). Afterwards, adjacent tokens that spell an
exception become its tokens ("vitamin-a." ends in "a.").

Source: https://spacy.io/usage/linguistic-features#how-tokenizer-works, and the behaviour of spaCy itself, with which
tests/property/test_sentences_as_spacy.py compares.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from mslm_cli.text.spacy_rules import english_rules

# In addition to spaCy's own; they rarely end a sentence.
_ABBREVIATIONS = ("Fig.", "Figs.", "fig.", "figs.", "Eq.", "Eqs.", "Ref.", "Refs.", "al.", "cf.", "approx.", "spp.")
_CHUNK = re.compile(r"\S+")

_OTHER, _MARK, _END = range(3)
"""Classes of tokens: words and the like; punctuation; punctuation that ends a sentence."""


class _Rules(NamedTuple):
    """How to split a chunk.

    exceptions: the tokens of chunks that are not split by pattern. respelled: the tokens of exceptions by what the
    patterns alone would split them into. before: by token, those that can stand before it in a key of ``respelled``.
    ends: the tokens that end a sentence, of one character each.
    """

    prefix: re.Pattern[str]
    suffix: re.Pattern[str]
    infix: re.Pattern[str]
    url: re.Pattern[str]
    exceptions: Mapping[str, Sequence[str]]
    respelled: Mapping[tuple[str, ...], Sequence[str]]
    before: Mapping[str, frozenset[str]]
    ends: frozenset[str]


@cache
def _rules() -> _Rules:
    found = english_rules()
    prefix, suffix, infix, url = map(re.compile, (found.prefix, found.suffix, found.infix, found.url))
    exceptions = {tokens.replace(" ", ""): tokens.split() for tokens in found.exceptions}
    exceptions |= {abbreviation: [abbreviation] for abbreviation in _ABBREVIATIONS}
    bare = _Rules(prefix, suffix, infix, url, {}, {}, {}, frozenset(found.ends))
    respelled = {tuple(_split(chunk, bare)): tokens for chunk, tokens in exceptions.items()}
    respelled = {split: tokens for split, tokens in respelled.items() if len(split) > 1}
    before: dict[str, set[str]] = {}
    for split in respelled:
        for token, following in pairwise(split):
            before.setdefault(following, set()).add(token)
    return bare._replace(
        exceptions=exceptions,
        respelled=respelled,
        before={token: frozenset(tokens) for token, tokens in before.items()},
    )


def sentence_starts(text: str) -> list[int]:
    """Offsets in ``text`` at which a sentence begins, ascending; 0, even before white space, is the first.

    A sentence ends after a token such as "." with the punctuation behind it: at the next word, or at white space other
    than one space.
    """
    starts = [0]
    # a class of these alone is searched for 25 times as fast as one of all ends
    any_end = _any_of(_rules().ends.intersection(text))
    is_ended = False
    position = 0
    while True:
        # Most chunks cannot end a sentence, so only those with such a character, and what follows them, are split.
        if is_ended:
            chunk = _CHUNK.search(text, position)
        elif end := any_end.search(text, position):
            chunk = _CHUNK.match(text, _start_of_chunk(text, position, end.start()))
        else:
            chunk = None
        if chunk is None:
            return starts
        # spaCy makes a token of all other white space
        if is_ended and (chunk[0][0].isalnum() or text[position : chunk.start()] not in (" ", "")):
            starts.append(chunk.start())
            is_ended = False
            position = chunk.start()
            continue
        start, position = _run(text, position, *chunk.span())
        for offset, token_class in _classes(text[start:position]):
            if token_class == _END:
                is_ended = True
            elif is_ended and token_class == _OTHER:
                starts.append(start + offset)
                is_ended = False


@lru_cache(maxsize=256)
def _any_of(characters: frozenset[str]) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(''.join(characters))}]" if characters else "(?!)")


def _start_of_chunk(text: str, first: int, position: int) -> int:
    """The start of the chunk in which ``position`` is, or ``first`` if that is inside of it."""
    before = text[first:position]
    if not before or before[-1].isspace():
        return position
    return position - len(before.split()[-1])


def _run(text: str, first: int, start: int, end: int) -> tuple[int, int]:
    """[start, end) of the chunk [start, end) and of those around it, from ``first`` on, that it may be linked with.

    Chunks are linked if they are one space apart and the last token of one and the first of the next are adjacent in an
    exception, because exceptions are looked for across spaces too.
    """
    while text[start - 1 : start] == " " and start - 1 > first and not text[start - 2].isspace():
        before = _start_of_chunk(text, first, start - 1)
        if not _are_linked(text[before : start - 1], text[start:end].split(maxsplit=1)[0]):
            break
        start = before
    while text[end : end + 1] == " " and (following := _CHUNK.match(text, end + 1)):
        if not _are_linked(text[_start_of_chunk(text, start, end) : end], following[0]):
            break
        end = following.end()
    return start, end


def _are_linked(chunk: str, following: str) -> bool:
    before = _rules().before.get(_edges(following)[0])
    return before is not None and _edges(chunk)[1] in before


@lru_cache(maxsize=1 << 16)
def _edges(chunk: str) -> tuple[str, str]:
    """The first and the last token of a chunk."""
    tokens = _split(chunk, _rules())
    return tokens[0], tokens[-1]


@lru_cache(maxsize=1 << 16)
def _classes(run: str) -> Sequence[tuple[int, int]]:
    """The offset and the class of each token of one or more chunks."""
    rules = _rules()
    if run.isalnum():
        return [(0, _OTHER)]
    tokens: list[tuple[int, str]] = []
    for chunk in _CHUNK.finditer(run):
        tokens += _placed(_split(chunk[0], rules), chunk.start())
    return [(offset, _class_of(token, rules.ends)) for offset, token in _respelled(tokens, rules)]


def _placed(tokens: Sequence[str], offset: int) -> Iterator[tuple[int, str]]:
    """Adjacent tokens with their offsets; the first one's is ``offset``."""
    for token in tokens:
        yield offset, token
        offset += len(token)


def _class_of(token: str, ends: frozenset[str]) -> int:
    if token in ends:
        return _END
    return _MARK if all(unicodedata.category(character)[0] == "P" for character in token) else _OTHER


def _respelled(tokens: Sequence[tuple[int, str]], rules: _Rules) -> list[tuple[int, str]]:
    """The tokens, with those that spell an exception replaced by its tokens.

    Of overlapping exceptions the longest counts, on ties the leftmost; one with a space inside replaces nothing.
    """
    texts = tuple(text for _, text in tokens)
    found = [(first, last) for first in range(len(texts)) for last in _ends_of_exceptions(texts, first, rules)]
    taken: set[int] = set()
    replaced: dict[int, tuple[int, Sequence[str]]] = {}
    for first, last in sorted(found, key=lambda span: (span[0] - span[1], span[0])):
        split = texts[first:last]
        is_whole = tokens[last - 1][0] + len(split[-1]) - tokens[first][0] == sum(map(len, split))
        if is_whole and first not in taken and last - 1 not in taken:
            replaced[first] = last, rules.respelled[split]
        taken.update(range(first, last))  # as in spaCy, also if it was not replaced
    result: list[tuple[int, str]] = []
    at = 0
    while at < len(tokens):
        last, new = replaced.get(at, (at + 1, texts[at : at + 1]))
        result += _placed(new, tokens[at][0])
        at = last
    return result


def _ends_of_exceptions(texts: tuple[str, ...], first: int, rules: _Rules) -> Iterator[int]:
    """The ends of the exceptions that begin with token ``first``."""
    last = first + 1
    while last < len(texts) and texts[last - 1] in rules.before.get(texts[last], ()):
        last += 1
        if texts[first:last] in rules.respelled:
            yield last


def _split(chunk: str, rules: _Rules) -> list[str]:
    """The tokens of a chunk, before adjacent ones are respelled as exceptions."""
    before: list[str] = []
    after: list[str] = []
    rest, length = chunk, 0
    # letters alone have no affixes
    while len(rest) != length and rest not in rules.exceptions and not rest.isalpha():
        length = len(rest)
        prefix = rules.prefix.match(rest)
        n_before = prefix.end() if prefix else 0
        n_after = 0
        if not n_before or rest[n_before:] not in rules.exceptions:
            suffix = rules.suffix.search(rest[n_before:])
            n_after = len(suffix[0]) if suffix else 0
        if n_after and rest[:-n_after] in rules.exceptions:
            n_before = 0
        if n_before:
            before.append(rest[:n_before])
        if n_after:
            after.append(rest[-n_after:])
        rest = rest[n_before : length - n_after]
    return [*before, *_inner(rest, rules), *reversed(after)]


def _inner(text: str, rules: _Rules) -> Sequence[str]:
    """The tokens of a chunk without its affixes."""
    if text in rules.exceptions:
        return rules.exceptions[text]
    if not text or text.isalpha() or rules.url.match(text):
        return [text] if text else []
    tokens = []
    position = 0
    for infix in rules.infix.finditer(text):
        if infix.start() > 0:
            tokens += [text[position : infix.start()], infix[0]]
            position = infix.end()
    return [token for token in [*tokens, text[position:]] if token]
