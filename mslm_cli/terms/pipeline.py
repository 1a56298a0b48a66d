"""spaCy and scispaCy pipelines: loading them, and the mentions they find.

spaCy is imported when it is used.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mslm_cli.errors import UnavailableError

if TYPE_CHECKING:
    from spacy.language import Language

_Companion = TypeVar("_Companion")

DEFAULT = "default"
_UNTYPED = {"", "ENTITY", "MENTION"}
HINT = (
    "scispaCy's models come from its release page, spaCy's from `python -m spacy download`, your own by their path;"
    " `--pipeline default` needs none"
)


class Mention(NamedTuple):
    """A mention in running text: its words, and its type where the pipeline knows types."""

    text: str
    type: str | None


def load_pipeline(name: str) -> "Language":
    """The installed pipeline ``name``, or the one in the folder ``name``.

    Raises:
        UnavailableError: it is not there, needs a package that is not there, or is no pipeline.
    """
    import spacy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return spacy.load(name)
        except OSError as error:
            raise UnavailableError(f"pipeline {name!r} is not installed, and no folder", hint=HINT) from error
        except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UnavailableError(f"pipeline {name!r} cannot be loaded: {reason}", hint=HINT) from error


def source_name(name: str) -> str:
    """The name under which terms of a pipeline are listed: no path, only its last part."""
    return f"pipeline:{Path(name).name}"


def find_mentions(
    nlp: "Language", texts: Iterable[tuple[str, _Companion]]
) -> Iterator[tuple[list[Mention], _Companion]]:
    """The mentions (``doc.ents``) of each text, and what came with it; white space inside one is a single space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for doc, companion in nlp.pipe(texts, as_tuples=True, batch_size=64):
            mentions = [
                Mention(" ".join(entity.text.split()), None if entity.label_ in _UNTYPED else entity.label_)
                for entity in doc.ents
            ]
            yield mentions, companion
