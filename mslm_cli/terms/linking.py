"""Typing terms by a knowledge base that the user has, through scispaCy's candidate generator."""

import json
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mslm_cli.errors import DataError, UnavailableError

if TYPE_CHECKING:
    from scispacy.candidate_generation import CandidateGenerator
    from scispacy.linking_utils import Entity

_N_CANDIDATES = 10
# scispaCy's own values (100, 2000) take 17 times as long to build, and find the same names.
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
    """Finds the concept whose name is most similar to a term, and gives the concept's first type.

    Similarity is the cosine of the character trigrams, weighted by tf-idf; of equally similar concepts the one
    with the smallest id is taken.
    """

    def __init__(self, lines: Iterable[str], name: str, *, min_similarity: float) -> None:
        """Read a knowledge base in scispaCy's form and index its names.

        A line is an object with ``concept_id``, ``canonical_name``, ``types`` and, if wanted, ``aliases`` and
        ``definition``; errors call the file ``name``.

        Raises:
            DataError: a line is none (named by file:line), or there is no concept with a type.
            UnavailableError: scispaCy cannot be imported.
        """
        entities = [found for number, line in enumerate(lines, 1) if (found := _concept(line, name, number))]
        if not any(concept["types"] for concept in entities):
            raise DataError("no concept with a type in the knowledge base", path=name)
        self._min_similarity = min_similarity
        self._generator = _generator(entities, name)

    def types(self, terms: Sequence[str]) -> list[str | None]:
        """The type of each of ``terms``, or None where no name is similar enough, or its concept has no type."""
        if not terms:
            return []
        concepts: dict[str, Entity] = self._generator.kb.cui_to_entity
        found: list[str | None] = []
        for candidates in self._generator(list(terms), _N_CANDIDATES):
            ranked = sorted((-round(max(c.similarities), 6), c.concept_id) for c in candidates)
            similar = [concept for similarity, concept in ranked if -similarity >= self._min_similarity]
            types = concepts[similar[0]].types if similar else []
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
        hint = "expected concept_id, canonical_name, types, and if wanted aliases and definition"
        raise DataError(f"no {', '.join(missing)} in the concept", path=name, line=number, hint=hint)
    concept = {"aliases": [], "definition": None} | {key: record[key] for key in _FORMS if key in record}
    for key, value in concept.items():
        if not isinstance(value, _FORMS[key]) or (
            isinstance(value, list) and not all(isinstance(v, str) for v in value)
        ):
            raise DataError(f"{key} cannot be {value!r}", path=name, line=number)
    return concept


def _generator(concepts: Sequence[dict[str, Any]], name: str) -> "CandidateGenerator":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import nmslib
            import numpy as np
            from scispacy.candidate_generation import CandidateGenerator
            from scispacy.linking_utils import Entity, KnowledgeBase
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as error:
            raise UnavailableError(
                f"--link needs scispaCy, which cannot be imported: {error}",
                hint="pip install scispacy; it has no build for Linux on ARM, all else works without it",
            ) from error
        base = KnowledgeBase([Entity(**concept) for concept in concepts])
        # scispaCy's own index drops trigrams of fewer than ten names, and with them every small knowledge base.
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), dtype=np.float32)
        aliases = sorted(alias for alias in base.alias_to_cuis if alias.strip())
        if not aliases:
            raise DataError("no concept has a name", path=name)
        vectors = vectorizer.fit_transform(aliases)
        index = nmslib.init(method="hnsw", space="cosinesimil_sparse", data_type=nmslib.DataType.SPARSE_VECTOR)
        index.addDataPointBatch(vectors)
        index.createIndex(_INDEX, print_progress=False)
        index.setQueryTimeParams(_SEARCH)
        return CandidateGenerator(index, vectorizer, aliases, base)
