"""Sentences as CoNLL columns, and names for files."""

import re
from collections.abc import Iterable
from pathlib import Path

from mslm_cli.corpus.documents import EMPTY_WORD, OWN_HEADER, LabelledSentence
from mslm_cli.corpus.labels import tags_from_mentions

_NO_NAME = re.compile(r"[^\w-]+")


def conll_block(words: Iterable[str], tags: Iterable[str]) -> str:
    """A sentence as lines of word, tab, tag, and a blank line; an empty word is U+FFFD."""
    return "".join(f"{word or EMPTY_WORD}\t{tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n"


def write_conll(path: Path, sentences: Iterable[LabelledSentence]) -> None:
    """Write sentences as IOB2 columns in UTF-8, with document ids; they are read as such regardless of options."""
    doc = None
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(OWN_HEADER)
        for sentence in sentences:
            if sentence.doc is not None and sentence.doc != doc:
                file.write(document_mark(sentence.doc))
            doc = sentence.doc
            file.write(conll_block(sentence.words, tags_from_mentions(sentence.mentions, len(sentence.words))))


def document_mark(doc: str) -> str:
    """The line that starts a document in CoNLL columns."""
    return f"# doc_id = {' '.join(doc.split())}\n"


def file_stem(doc: str, taken: set[str]) -> str:
    """A file name for document ``doc`` that is not in ``taken``, case ignored; it is added to ``taken``."""
    plain = _NO_NAME.sub("_", doc)[:100].strip("_-") or "document"
    name, number = plain, 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.casefold())
    return name
