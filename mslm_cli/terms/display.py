"""Matches as an HTML page, rendered by spaCy's displaCy."""

import html
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_COLOURS = ("#ffd6a5", "#caffbf", "#9bf6ff", "#bdb2ff", "#ffadad", "#fdffb6", "#a0c4ff", "#ffc6ff")
_START = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; max-width: 60em; margin: auto; padding: 2em">
"""
_END = "</body>\n</html>\n"


class Mark(NamedTuple):
    """A labelled span: [start, end) characters of a text."""

    start: int
    end: int
    label: str


def html_page(title: str, documents: Iterable[tuple[str, str, Sequence[Mark]]], labels: Sequence[str]) -> Iterator[str]:
    """The parts of an HTML page that shows the documents (id, text, sorted marks).

    ``labels`` get different colours, as far as there are enough.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spacy import displacy

    options = {"colors": dict(zip(map(html.escape, labels), _COLOURS, strict=False))}
    yield _START.format(title=html.escape(title))
    for doc, text, marks in documents:
        # displaCy escapes the text, but not labels and titles.
        entities = [{"start": start, "end": end, "label": html.escape(label)} for start, end, label in marks]
        document = {"text": text, "ents": entities, "title": html.escape(doc)}
        shown = displacy.render(document, style="ent", manual=True, options=options, jupyter=False)
        yield f"<article>{shown}</article>\n"
    yield _END
