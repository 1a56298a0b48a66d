"""A user's own terms, from plain lists, tables, ontologies and JSON lines.

| file name | format |
|---|---|
| .txt, any other | one term per line |
| .csv, .tsv | a table: term and type, or with a header of any of: term, type, synonyms, case |
| .obo | an ontology: name, EXACT and NARROW synonyms, namespace as type; without obsolete terms |
| .jsonl | one object per line: term, optionally type, synonyms, case_sensitive; for example a lexicon's terms.jsonl |

In a table, ``|`` separates synonyms.

All formats may be gzip-compressed (``.obo.gz``). The case rule is ``yes`` (case-sensitive), ``no``, or empty:
all-capital short forms ("APC") are case-sensitive, everything else is not.
"""

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from mslm_cli.errors import DataError
from mslm_cli.terms.lexicon import USER, Term, is_too_short, matches_case
from mslm_cli.text.tokens import exact_key, folded_key

MAX_TERM_CHARS = 500
"""Longer terms are skipped: no mention is that long, and each costs the matcher memory."""

MAX_LINE_CHARS = 100_000
"""Longer lines are skipped."""

_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}
_COLUMNS = {"term", "type", "synonyms", "case"}
_OBO_TAG = re.compile(r"([\w-]+):\s*(.*)")
_OBO_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(\w*)')
_OBO_ESCAPE = re.compile(r"\\(.)")
_OBO_NAMES = {"W": " ", "n": " ", "t": " "}
_OBO_COMMENT = re.compile(r"(?<!\\)\s+!.*$|\s+\{[^{}]*\}\s*$")


@dataclass(frozen=True, slots=True)
class TermList:
    """A user's term list: its distinct terms, and the numbers of entries that were merged, skipped or cleaned."""

    terms: tuple[Term, ...]
    n_duplicates: int = 0
    n_too_short: int = 0
    n_too_long: int = 0
    n_cleaned: int = 0


class Entry(NamedTuple):
    """An entry of a list: a term, its type, and whether it is case-sensitive (None: derived from its spelling)."""

    term: str
    type: str | None = None
    case_sensitive: bool | None = None


Lines = Iterable[tuple[int, str]]
Parser = Callable[[Lines, str], Iterator[Entry]]


def read_term_list(lines: Iterable[str], name: str) -> TermList:
    """The terms of a user's list; the suffix of ``name`` determines the format, and error messages use ``name``.

    Control characters and runs of spaces become one space (``n_cleaned`` counts terms with control characters). Terms
    with fewer than two letters or digits are skipped (``n_too_short``), as are terms longer than ``MAX_TERM_CHARS`` and
    lines longer than ``MAX_LINE_CHARS`` (``n_too_long``). Of several spellings of a term the first is kept, with the
    first type given (``n_duplicates``).

    Raises:
        DataError: a line is malformed (with file:line), or the list has no terms.
    """
    n_long_lines = 0

    def readable() -> Iterator[tuple[int, str]]:
        nonlocal n_long_lines
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_LINE_CHARS:
                n_long_lines += 1
            elif line and not line.isspace():
                yield number, line

    kept: dict[tuple[str, bool], Term] = {}
    n_duplicates = n_too_short = n_too_long = n_cleaned = 0
    for entry in _parser(name)(readable(), name):
        if len(entry.term) > MAX_TERM_CHARS:
            n_too_long += 1
            continue
        visible = "".join(" " if unicodedata.category(c) == "Cc" else c for c in entry.term)
        n_cleaned += visible != entry.term.replace("\t", " ")
        term = Term(" ".join(visible.split()), (USER,), entry.type, case_sensitive=entry.case_sensitive)
        if is_too_short(term.term):
            n_too_short += bool(term.term)
            continue
        key = _key(term)
        if key in kept:
            n_duplicates += 1
            term = Term(kept[key].term, (USER,), kept[key].type or term.type, case_sensitive=kept[key].case_sensitive)
        kept[key] = term
    n_too_long += n_long_lines
    if not kept:
        reason = f": {n_too_long:,} lines are too long" if n_too_long else ""
        hint = "expected one term per line, of at least two characters" if _parser(name) is _plain else None
        raise DataError(f"no terms in the list{reason}", path=name, hint=hint)
    return TermList(tuple(kept.values()), n_duplicates, n_too_short, n_too_long, n_cleaned)


def _key(term: Term) -> tuple[str, bool]:
    is_exact = matches_case(term)
    return (exact_key if is_exact else folded_key)(term.term), is_exact


def _parser(name: str) -> Parser:
    path = PurePath(name.lower())
    suffix = PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return {".csv": _csv, ".tsv": _tsv, ".obo": _obo, ".jsonl": _jsonl}.get(suffix, _plain)


def _plain(lines: Lines, name: str) -> Iterator[Entry]:
    return (Entry(line) for _, line in lines)


def _csv(lines: Lines, name: str) -> Iterator[Entry]:
    return _table(lines, name, ",")


def _tsv(lines: Lines, name: str) -> Iterator[Entry]:
    return _table(lines, name, "\t")


def _table(lines: Lines, name: str, delimiter: str) -> Iterator[Entry]:
    line_number = 0

    def texts() -> Iterator[str]:
        nonlocal line_number
        for number, line in lines:
            line_number = number
            yield line + "\n"  # a quoted cell may continue on the next line

    columns = ["term", "type"]
    is_first = True
    try:
        for row in csv.reader(texts(), delimiter=delimiter, strict=True):
            cells = [cell.strip() for cell in row]
            if is_first and "term" in (header := [cell.lower() for cell in cells]):
                columns, is_first = header, False
                if unknown := sorted(set(columns) - _COLUMNS):
                    hint = f"the columns are {', '.join(sorted(_COLUMNS))}"
                    raise DataError(f"unknown column {unknown[0]!r}", path=name, line=line_number, hint=hint)
                continue
            is_first = False
            if len(cells) > len(columns):
                message = f"expected at most {len(columns)} columns ({', '.join(columns)}), found {len(cells)}"
                raise DataError(message, path=name, line=line_number, hint="quote cells that hold the delimiter")
            found = dict(zip(columns, cells, strict=False))
            case = found.get("case", "").lower()
            if case and case not in _YES | _NO:
                raise DataError(
                    f"case cannot be {case!r}", path=name, line=line_number, hint="use yes, no or an empty cell"
                )
            for term in [found.get("term", ""), *found.get("synonyms", "").split("|")]:
                yield Entry(term, found.get("type") or None, case in _YES if case else None)
    except csv.Error as error:
        raise DataError(f"not a {PurePath(name).suffix[1:]} table: {error}", path=name, line=line_number) from error


def _jsonl(lines: Lines, name: str) -> Iterator[Entry]:
    forms: dict[str, tuple[type, ...]] = {
        "term": (str,),
        "type": (str, type(None)),
        "synonyms": (list,),
        "case_sensitive": (bool, type(None)),
    }
    for number, line in lines:
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not a JSON line: {error}", path=name, line=number) from error
        if not isinstance(record, dict) or "term" not in record:
            raise DataError('expected a JSON object with a "term"', path=name, line=number)
        for key, allowed in forms.items():
            if key in record and not isinstance(record[key], allowed):
                raise DataError(f"{key} cannot be {record[key]!r}", path=name, line=number)
        for term in (record["term"], *record.get("synonyms", ())):
            if not isinstance(term, str):
                raise DataError(f"synonyms cannot hold {term!r}", path=name, line=number)
            yield Entry(term, record.get("type"), record.get("case_sensitive"))


def _obo(lines: Lines, name: str) -> Iterator[Entry]:
    default_namespace = None
    stanza = ""
    names: list[str] = []
    namespace: str | None = None
    is_obsolete = False

    def entries() -> Iterator[Entry]:
        if stanza == "[Term]" and not is_obsolete:
            yield from (Entry(term, namespace or default_namespace) for term in names)

    for number, raw in lines:
        line = raw.strip()
        if line.startswith("["):
            yield from entries()
            stanza, names, namespace, is_obsolete = line, [], None, False
            continue
        if line.startswith("!"):
            continue
        found = _OBO_TAG.fullmatch(line)
        if found is None:
            raise DataError("not an OBO line: expected `tag: value`", path=name, line=number)
        tag, value = found.groups()
        if tag == "synonym":
            quoted = _OBO_QUOTED.match(value)
            if quoted is None:
                raise DataError('expected a synonym in "quotes"', path=name, line=number)
            if quoted[2] in ("EXACT", "NARROW"):
                names.append(_unescaped(quoted[1]))
            continue
        value = _unescaped(_OBO_COMMENT.sub("", value))
        if tag == "name":
            names.insert(0, value)
        elif tag == "namespace":
            namespace = value
        elif tag == "default-namespace":
            default_namespace = value
        elif tag == "is_obsolete":
            is_obsolete = value == "true"
    yield from entries()


def _unescaped(value: str) -> str:
    return _OBO_ESCAPE.sub(lambda found: _OBO_NAMES.get(found[1], found[1]), value)
