"""The lexicon: domain-specific terms and their files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mslm_cli.artifacts import Artifact, remaking
from mslm_cli.errors import ArtifactError, DataError
from mslm_cli.text.tokens import exact_key, folded_key

TERMS = "terms.jsonl"
"""The file with a lexicon's terms."""

USER = "user"
LABELS = "labels"
ABBREVIATION = "abbreviation"
TERMHOOD = "termhood"
GIVEN = frozenset({USER, LABELS})
"""Sources of terms chosen by a person: kept regardless of count and score."""


@dataclass(frozen=True, slots=True)
class Term:
    """A surface form with its sources, statistics and case rule.

    ``count``: occurrences in the text of the lexicon; ``doc_count``: documents with an occurrence; ``score``: termhood
    (see ``termhood.score``); ``sources``: sorted; ``case_sensitive``: None derives the case rule from the spelling (see
    ``matches_case``).
    """

    term: str
    sources: tuple[str, ...]
    type: str | None = None
    count: int = 0
    doc_count: int = 0
    score: float = 0.0
    case_sensitive: bool | None = None


def is_short_capitals(term: str) -> bool:
    """Whether ``term`` is an all-capital short form ("APC", "IL-2"): at most five letters, all upper case."""
    letters = [c for c in term if c.isalpha()]
    return 0 < len(letters) <= 5 and all(c.isupper() for c in letters)


def matches_case(term: Term) -> bool:
    """Whether ``term`` is case-sensitive: as set, else true for all-capital short forms."""
    return is_short_capitals(term.term) if term.case_sensitive is None else term.case_sensitive


def identity(term: str) -> str:
    """The key that merges spellings of a term: its tokens, case-folded unless it is an all-capital short form."""
    return exact_key(term) if is_short_capitals(term) else folded_key(term)


def type_names(terms: Iterable[Term]) -> list[str]:
    """The types of ``terms``, sorted; "" stands for terms without a type."""
    return sorted({term.type or "" for term in terms})


def is_too_short(term: str) -> bool:
    """Whether ``term`` has fewer than two letters or digits, which would match everywhere."""
    return sum(map(str.isalnum, term)) < 2


def write_terms(path: Path, terms: Iterable[Term]) -> None:
    """Write ``terms`` as JSON lines, best score first, then alphabetically."""
    ordered = sorted(terms, key=lambda t: (-t.score, t.term, t.sources))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for term in ordered:
            record = {name: getattr(term, name) for name in _FORMS} | {"case_sensitive": matches_case(term)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


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


def terms_of(lexicon: Artifact) -> list[Term]:
    """The terms of a lexicon artifact, in file order.

    Raises:
        ArtifactError: its file of terms is missing or invalid.
    """
    try:
        return read_terms(lexicon.file(TERMS))
    except DataError as error:
        raise ArtifactError(str(error), hint=remaking("lexicon")) from error


def read_terms(path: Path) -> list[Term]:
    """The terms in a lexicon's terms.jsonl, in file order.

    Raises:
        DataError: the file is unreadable, or a line is not a term (with file:line).
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
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON line: {error}", path=path, line=number) from error
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}", path=path, line=number)
    if not record.keys() >= _REQUIRED:
        raise DataError(f"no {', '.join(sorted(_REQUIRED - record.keys()))} in the term", path=path, line=number)
    if not record.keys() <= _FORMS.keys():
        unknown = ", ".join(sorted(record.keys() - _FORMS.keys()))
        raise DataError(f"unknown keys in the term: {unknown}", path=path, line=number)
    for key, value in record.items():
        if type(value) not in _FORMS[key]:
            raise DataError(f"{key} cannot be {value!r}", path=path, line=number)
    record["sources"] = tuple(record["sources"])
    if not set(map(type, record["sources"])) <= {str}:
        raise DataError(f"sources cannot be {list(record['sources'])!r}", path=path, line=number)
    if is_too_short(record["term"]):
        raise DataError(
            f"a term needs at least two letters or digits, found {record['term']!r}", path=path, line=number
        )
    return Term(**record)


def merge(terms: Iterable[Term]) -> list[Term]:
    """``terms`` with duplicates merged.

    A merged term has all sources, the maximum of counts and scores, the spelling of the first term, and the first type.
    A case-sensitive and a case-insensitive term with the same spelling become one case-insensitive term.
    """
    merged: dict[tuple[str, str], Term] = {}
    for term in sorted(terms, key=matches_case):
        folded, exact = folded_key(term.term), exact_key(term.term)
        any_case = merged.get((folded, ""))
        is_distinct = matches_case(term) and not (any_case and exact_key(any_case.term) == exact)
        key = (folded, exact if is_distinct else "")
        merged[key] = _joined(merged[key], term) if key in merged else term
    return list(merged.values())


def _joined(first: Term, second: Term) -> Term:
    return replace(
        first,
        sources=tuple(sorted({*first.sources, *second.sources})),
        type=first.type or second.type,
        count=max(first.count, second.count),
        doc_count=max(first.doc_count, second.doc_count),
        score=max(first.score, second.score),
    )
