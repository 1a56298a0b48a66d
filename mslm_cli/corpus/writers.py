"""Documents with mentions in the forms that other tools read: CoNLL columns and BRAT standoff."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mslm_cli.corpus.documents import EMPTY_WORD, LabelledSentence
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.corpus.readers import OWN_HEADER

_NO_NAME = re.compile(r"[^\w-]+")


def conll_block(words: Iterable[str], tags: Iterable[str]) -> str:
    """A sentence as lines of word, tab, tag, and a blank line; an empty word is U+FFFD."""
    return "".join(f"{word or EMPTY_WORD}\t{tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n"


def write_conll(path: Path, sentences: Iterable[LabelledSentence]) -> None:
    """Write sentences as IOB2 columns in UTF-8, with their documents' ids; read as such whatever the options say."""
    doc = None
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(OWN_HEADER)
        for sentence in sentences:
            if sentence.doc is not None and sentence.doc != doc:
                file.write(document_mark(sentence.doc))
            doc = sentence.doc
            file.write(conll_block(sentence.words, tags_from_mentions(sentence.mentions, len(sentence.words))))


def document_mark(doc: str) -> str:
    """The line that begins a document in CoNLL columns."""
    return f"# doc_id = {' '.join(doc.split())}\n"


def brat_annotations(text: str, mentions: Sequence[tuple[int, int, str]]) -> str:
    """The lines of the .ann file that goes with ``text``: one a mention (characters [start, end), type), from T1 on.

    A mention that goes over a line end has a fragment for each line, as BRAT wants it; what is no letter, digit,
    hyphen or underscore in a type becomes an underscore. An empty mention is left out.

    Source: BRAT standoff format, https://brat.nlplab.org/standoff.html
    """
    lines: list[str] = []
    for start, end, kind in mentions:
        if fragments := list(_fragments(text, start, end)):
            place = ";".join(f"{first} {last}" for first, last in fragments)
            shown = " ".join(text[first:last] for first, last in fragments)
            lines.append(f"T{len(lines) + 1}\t{brat_type(kind)} {place}\t{shown}\n")
    return "".join(lines)


def brat_configuration(types: Iterable[str]) -> str:
    """An annotation.conf with ``types``, which BRAT wants beside the documents."""
    entities = "".join(f"{brat_type(kind)}\n" for kind in types)
    return f"[entities]\n{entities}\n[relations]\n\n[events]\n\n[attributes]\n"


def brat_type(kind: str) -> str:
    """A type as BRAT can write it."""
    return _NO_NAME.sub("_", kind)


def file_stem(doc: str, taken: set[str]) -> str:
    """A name for the files of document ``doc``, none of those in ``taken`` whatever their case; it is added to them."""
    plain = _NO_NAME.sub("_", doc)[:100].strip("_-") or "document"
    name, number = plain, 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.casefold())
    return name


def _fragments(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) that stand on one line, without the white space around them."""
    for line in re.finditer(r"[^\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", text[start:end]):
        part = line[0].strip()
        if part:
            first = start + line.start() + line[0].index(part)
            yield first, first + len(part)
