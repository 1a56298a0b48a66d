"""Types of terms from the user's knowledge base, with scispaCy's candidates or, without scispaCy, an exact search."""

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mslm_cli.errors import DataError, UnavailableError

_N_CANDIDATES = 10
_TERMS_AT_ONCE = 256
# scispaCy's defaults (100, 2000) take 17 times as long to build and find the same names.
_INDEX = {"M": 30, "efConstruction": 200, "post": 0, "indexThreadQty": 1}
_SEARCH = {"efSearch": 200}
_FORMS: dict[str, tuple[type, ...]] = {
    "concept_id": (str,),
    "canonical_name": (str,),
    "aliases": (list,),
    "types": (list,),
    "definition": (str, type(None)),
}
_REQUIRED = ("concept_id", "canonical_name", "types")


class Linker:
    """Gives a term the first type of the concept with the most similar name.

    Similarity is the cosine of tf-idf-weighted character trigrams; ties go to the concept with the smallest id.
    """

    def __init__(self, lines: Iterable[str], name: str, *, min_similarity: float) -> None:
        """Read a knowledge base in scispaCy's format and index its names.

        A line is an object with ``concept_id``, ``canonical_name``, ``types`` and optionally ``aliases`` and
        ``definition``; error messages call the file ``name``.

        Raises:
            DataError: a line is not such an object (with file:line), or no concept has a type.
            UnavailableError: scikit-learn cannot be imported.
        """
        entities = [found for number, line in enumerate(lines, 1) if (found := _concept(line, name, number))]
        if not any(concept["types"] for concept in entities):
            raise DataError("no concept with a type in the knowledge base", path=name)
        self._min_similarity = min_similarity
        self._types = {concept["concept_id"]: concept["types"] for concept in entities}
        self._search = _search(entities, name)

    def types(self, terms: Sequence[str]) -> list[str | None]:
        """The type of each of ``terms``; None if no name is similar enough, or its concept has no type."""
        if not terms:
            return []
        found: list[str | None] = []
        for candidates in self._search(terms):
            ranked = sorted((-round(similarity, 6), concept) for similarity, concept in candidates)
            similar = [concept for similarity, concept in ranked if -similarity >= self._min_similarity]
            types = self._types[similar[0]] if similar else []
            found.append(types[0] if types else None)
        return found


def _concept(line: str, name: str, number: int) -> dict[str, Any] | None:
    if not line or line.isspace():
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON line: {error}", path=name, line=number) from error
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}", path=name, line=number)
    if missing := [key for key in _REQUIRED if key not in record]:
        hint = "expected concept_id, canonical_name, types, and optionally aliases and definition"
        raise DataError(f"no {', '.join(missing)} in the concept", path=name, line=number, hint=hint)
    concept = {"aliases": [], "definition": None} | {key: record[key] for key in _FORMS if key in record}
    for key, value in concept.items():
        if not isinstance(value, _FORMS[key]) or (
            isinstance(value, list) and not all(isinstance(v, str) for v in value)
        ):
            raise DataError(f"{key} cannot be {value!r}", path=name, line=number)
    return concept


Search = Callable[[Sequence[str]], list[list[tuple[float, str]]]]
"""For each term, (similarity, concept id) of the nearest names; a concept may occur more than once."""


def _search(concepts: Sequence[dict[str, Any]], name: str) -> Search:
    """Index the names of ``concepts``: with scispaCy if it can be imported, else with scikit-learn alone.

    Raises:
        DataError: no concept has a name.
        UnavailableError: scikit-learn cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return scispacy_search(concepts, name)
        except ImportError:  # not installable on Python 3.13 and on Linux on ARM
            return exact_search(concepts, name)


def exact_search(concepts: Sequence[dict[str, Any]], name: str) -> Search:
    """Exact search: the same candidates as scispaCy's, without its approximations."""
    ids_of: dict[str, set[str]] = {}
    for concept in concepts:
        for alias in (concept["canonical_name"], *concept["aliases"]):
            ids_of.setdefault(alias, set()).add(concept["concept_id"])
    names, vectorizer, vectors = _index(ids_of, name)

    def search(terms: Sequence[str]) -> list[list[tuple[float, str]]]:
        found: list[list[tuple[float, str]]] = []
        for first in range(0, len(terms), _TERMS_AT_ONCE):
            similarities = vectorizer.transform(terms[first : first + _TERMS_AT_ONCE]) @ vectors.T
            for row in similarities:
                nearest = sorted(zip(-row.data, row.indices, strict=True))[:_N_CANDIDATES]
                found.append([(float(-s), concept) for s, i in nearest for concept in sorted(ids_of[names[i]])])
        return found

    return search


def scispacy_search(concepts: Sequence[dict[str, Any]], name: str) -> Search:
    """scispaCy's candidate generator over an approximate index.

    Raises:
        ImportError: scispaCy or nmslib is missing.
    """
    import nmslib
    from scispacy.candidate_generation import CandidateGenerator
    from scispacy.linking_utils import Entity, KnowledgeBase

    base = KnowledgeBase([Entity(**concept) for concept in concepts])
    names, vectorizer, vectors = _index(base.alias_to_cuis, name)
    index = nmslib.init(method="hnsw", space="cosinesimil_sparse", data_type=nmslib.DataType.SPARSE_VECTOR)
    index.addDataPointBatch(vectors)
    index.createIndex(_INDEX, print_progress=False)
    index.setQueryTimeParams(_SEARCH)
    generator = CandidateGenerator(index, vectorizer, names, base)

    def search(terms: Sequence[str]) -> list[list[tuple[float, str]]]:
        return [
            [(similarity, c.concept_id) for c in candidates for similarity in c.similarities]
            for candidates in generator(list(terms), _N_CANDIDATES)
        ]

    return search


def _index(aliases: Iterable[str], name: str) -> tuple[list[str], Any, Any]:
    """The sorted names, the vectorizer, and the vectors of the names: sparse float32 [n_names, n_trigrams]."""
    try:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        hint = "pip install scikit-learn"
        raise UnavailableError(f"--link needs scikit-learn, which cannot be imported: {error}", hint=hint) from error
    # scispaCy's own vectorizer drops trigrams in fewer than ten names, which leaves nothing of a small knowledge base.
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), dtype=np.float32)
    names = sorted(alias for alias in aliases if alias.strip())
    if not names:
        raise DataError("no concept has a name", path=name)
    return names, vectorizer, vectorizer.fit_transform(names)
