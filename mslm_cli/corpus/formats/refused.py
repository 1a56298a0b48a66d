"""Annotated or marked-up formats that are not supported: they are recognised so that they are not read as text."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mslm_cli.corpus.formats.conll import looks_like_conll
from mslm_cli.corpus.formats.table import names_words_and_tags
from mslm_cli.corpus.source import Head
from mslm_cli.corpus.tagged import is_tag

_XML = re.compile(r"<\?xml|<!DOCTYPE|<html[\s>]", re.IGNORECASE)
_ROOT = re.compile(r"<([A-Za-z][\w:.-]*)(?:\s[^<>]*)?>")
_JSON = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*"|\[\s*\[\s*[\[{"]')
_JSON_ROW = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"\s*:|[]\[{}]+,?\s*$)')
_JSON_OBJECT = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:')
_PUBTATOR_ROW = re.compile(r"[^\t|]+\|[a-z]\||[^\t]+\t\d+\t\d+\t[^\t]+\t")
_BRAT_ROW = re.compile(r"T\d+\t\S+ \d+ \d+(?:;\d+ \d+)*\t|[REAMN#*]\d*\t\S+ ")
_MIN_ROWS = 3


class Refused(NamedTuple):
    """What a file looks like, what to do with it, and the line that shows it, if there is one."""

    what: str
    hint: str
    line: int | None = None


def refused_form(head: Head) -> Refused | None:
    """What a file that matches no format looks like, if it is not plain text."""
    start = head.text.lstrip()
    insist = "or insist with --format text"
    if start.startswith("{\\rtf"):
        return Refused("RTF", "save it as plain text")
    if start.startswith("#FORMAT=WebAnno"):
        return Refused("WebAnno TSV", f"export it as CoNLL 2002 instead, {insist}")
    if _XML.match(start) or _has_elements(start):
        return Refused("XML or HTML", f"of XML only BioC is read; take the text out of it, {insist}")
    if _JSON.match(start):
        return Refused("a JSON document", f"JSON lines or an array of records are read (--format jsonl), {insist}")
    filled = [line for line in head.lines if line.strip()]
    if _share(_JSON_ROW, filled) > 0.5 or 2 * _share(_JSON_OBJECT, filled, at_least=1) >= 1:
        return Refused("JSON with something else in it", f"is it damaged? mend it, {insist}")
    if _share(_PUBTATOR_ROW, filled) > 0.5:
        return Refused("PubTator that does not begin with a title (ID|t|text)", f"is it damaged? mend it, {insist}")
    if _share(_BRAT_ROW, filled, at_least=2) > 0.5:
        return Refused("annotations of BRAT", f"call the file NAME.ann and put its text beside it, {insist}")
    rows = [row for line in head.lines for row in line.split("\r") if row.strip()]
    with_return = next((number for number, line in enumerate(head.lines, 1) if "\r" in line), None)
    if with_return and looks_like_conll(rows):
        what = "columns of words and tags whose lines end in carriage returns"
        return Refused(what, "end them with line feeds", with_return)
    if _is_conll_u([row for row in rows if not row.startswith("#")]):
        return Refused("CoNLL-U", f"it has no entities; take its sentences from the `# text =` lines, {insist}")
    if _is_table_of_tags(rows) or (rows and names_words_and_tags(rows[0])):
        return Refused("a table of words and tags", f"name its columns: --format table --columns word=NAME, {insist}")
    return None


def _has_elements(text: str) -> bool:
    """Whether it begins with an XML element, possibly damaged, and contains more of them."""
    if text.startswith("<") and len(re.findall(r"</[A-Za-z][\w:.-]*\s*>", text)) > 2:
        return True
    root = _ROOT.match(text)
    closed = set(re.findall(r"</([A-Za-z][\w:.-]*)\s*>", text))
    return root is not None and (len(closed) >= 2 or (len(closed) == 1 and root[1] in closed and text.count("</") > 2))


def _share(pattern: re.Pattern[str], lines: Sequence[str], at_least: int = _MIN_ROWS) -> float:
    """The share of the lines that match, 0 if fewer than ``at_least`` do."""
    n_like = sum(pattern.match(line) is not None for line in lines)
    return n_like / len(lines) if n_like >= at_least else 0.0


def _is_conll_u(rows: Sequence[str]) -> bool:
    like = [row for row in rows if row.count("\t") == 9 and row[0].isdigit()]
    return len(like) >= _MIN_ROWS and len(like) == len(rows)


def _is_table_of_tags(rows: Sequence[str]) -> bool:
    """Whether most rows have as many cells between commas or semicolons, the last of them a tag.

    Three such rows, one with the tag O, are enough, and two where the tags have types.
    """
    for delimiter in ",;":
        cells = [row.split(delimiter) for row in rows]
        counts = Counter(len(row) for row in cells if len(row) > 1 and is_tag(row[-1].strip().strip('"')))
        tags = {row[-1].strip().strip('"') for row in cells if len(row) > 1}
        n_like = max(counts.values(), default=0)
        if 2 * n_like <= len(rows):
            continue
        if n_like >= _MIN_ROWS and "O" in tags:
            return True
        if n_like >= _MIN_ROWS - 1 and any(tag[1:2] == "-" and is_tag(tag) for tag in tags):
            return True
    return False
