"""The lexicon: domain-specific terms and the files that hold them."""

import gzip
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mslm_cli.errors import DataError
from mslm_cli.terms.tokens import exact_key, folded_key

USER = "user"
ABBREVIATION = "abbreviation"
TERMHOOD = "termhood"
PIPELINE = "pipeline:"


@dataclass(frozen=True, slots=True)
class Term:
    """A surface form, where it comes from and how it is matched.

    ``count`` and ``doc_count`` are occurrences in the text the lexicon was made from,
    and the documents that hold one; ``score`` is the termhood (see ``termhood.score``);
    ``sources`` are sorted.
    """

    term: str
    sources: tuple[str, ...]
    type: str | None = None
    count: int = 0
    doc_count: int = 0
    score: float = 0.0
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class TermList:
    """A user's term list: its terms, and how many lines gave none."""

    terms: tuple[Term, ...]
    n_duplicates: int
    n_too_short: int
    n_cleaned: int


def is_short_capitals(term: str) -> bool:
    """Whether ``term`` is a short form in capitals ("APC", "IL-2"): its letters are at most five, all upper case."""
    letters = [c for c in term if c.isalpha()]
    return 0 < len(letters) <= 5 and all(c.isupper() for c in letters)


def matches_case(term: Term) -> bool:
    """Whether ``term`` is found in its own case only."""
    return term.case_sensitive or is_short_capitals(term.term)


def identity(term: str, *, case_sensitive: bool) -> str:
    """The key under which spellings of one term are merged: its tokens, case folded unless case counts."""
    return exact_key(term) if case_sensitive or is_short_capitals(term) else folded_key(term)


def is_too_short(term: str) -> bool:
    """Whether ``term`` has fewer than two letters or digits: found everywhere, meaning nothing."""
    return sum(c.isalnum() for c in term) < 2


def write_terms(path: Path, terms: Iterable[Term]) -> None:
    """Write ``terms`` as JSON lines, best score first, then alphabetically."""
    ordered = sorted(terms, key=lambda t: (-t.score, t.term, t.sources))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for term in ordered:
            file.write(json.dumps(asdict(term), ensure_ascii=False) + "\n")


_FORMS: dict[str, tuple[type, ...]] = {
    "term": (str,),
    "sources": (list,),
    "type": (str, type(None)),
    "count": (int,),
    "doc_count": (int,),
    "score": (int, float),
    "case_sensitive": (bool,),
}
_REQUIRED = {"term", "sources"}


def read_terms(path: Path) -> list[Term]:
    """The terms of a lexicon's terms.jsonl, in the file's order.

    Raises:
        DataError: the file cannot be read, or a line is not a term (named by file:line).
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [_term(line, path, number) for number, line in enumerate(file, 1) if line.strip()]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason}", path=path) from error


def _term(line: str, path: Path, number: int) -> Term:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"not a JSON line: {error}", path=path, line=number) from error
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}", path=path, line=number)
    if missing := sorted(_REQUIRED - record.keys()):
        raise DataError(f"no {', '.join(missing)} in the term", path=path, line=number)
    if unknown := sorted(record.keys() - {f.name for f in fields(Term)}):
        raise DataError(f"unknown keys in the term: {', '.join(unknown)}", path=path, line=number)
    for key, value in record.items():
        if not isinstance(value, _FORMS[key]) or (isinstance(value, bool) and bool not in _FORMS[key]):
            raise DataError(f"{key} cannot be {value!r}", path=path, line=number)
    if not all(isinstance(source, str) for source in record["sources"]):
        raise DataError(f"sources cannot be {record['sources']!r}", path=path, line=number)
    if is_too_short(record["term"]):
        raise DataError(f"a term needs two letters or digits, found {record['term']!r}", path=path, line=number)
    return Term(**{**record, "sources": tuple(record["sources"])})


def read_user_terms(path: Path) -> TermList:
    """The terms of a text file (plain or gzip'd, UTF-8), one a line.

    Blank lines mean nothing. Control characters and runs of spaces become one space
    (``n_cleaned`` counts lines with control characters), terms with fewer than two letters
    or digits are left out (``n_too_short``), and of several spellings of one term the
    first is kept (``n_duplicates``).

    Raises:
        DataError: the file cannot be read, is binary, or holds no term.
    """
    kept: dict[str, Term] = {}
    n_duplicates = n_too_short = n_cleaned = 0
    for line in _lines(path):
        visible = "".join(" " if unicodedata.category(c) == "Cc" else c for c in line)
        n_cleaned += visible != line.replace("\t", " ")
        if not (term := " ".join(visible.split())):
            continue
        if is_too_short(term):
            n_too_short += 1
            continue
        key = identity(term, case_sensitive=False)
        n_duplicates += key in kept
        kept.setdefault(key, Term(term, (USER,)))
    if not kept:
        raise DataError("no terms in the list", path=path, hint="expected one term a line, of two characters or more")
    return TermList(tuple(kept.values()), n_duplicates, n_too_short, n_cleaned)


def _lines(path: Path) -> Iterator[str]:
    try:
        raw = path.read_bytes()
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from error
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if b"\0" in line:
            raise DataError("a binary file (NUL byte), expected one term a line", path=path, line=number)
        try:
            yield line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8: {error.reason}", path=path, line=number) from error
