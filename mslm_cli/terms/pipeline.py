"""spaCy and scispaCy pipelines: loading them, and the mentions they find.

spaCy is imported when it is used.
"""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mslm_cli import fsio
from mslm_cli.errors import UnavailableError

if TYPE_CHECKING:
    from spacy.language import Language

_Companion = TypeVar("_Companion")

DEFAULT = "biomedical"
"""The mention detector that ships with the package."""
NONE = "none"
"""No pipeline: terms by statistics and abbreviations alone."""
DETECTOR = "detector"
"""The folder of the packaged detector, below ``resources/``."""

# The time of spaCy's tokenizer grows with the square of such a run; no mention holds one.
_MARKS = re.compile(r"[^\w\s]{100,}")
_UNTYPED = {"", "ENTITY", "MENTION"}
HINT = (
    "scispaCy's models come from its release page, spaCy's from `python -m spacy download`, your own by their path;"
    " `--pipeline biomedical` ships with mslm, and `--pipeline none` needs none"
)
_REPAIR = "install mslm again with the versions it asks for; `--pipeline none` does without it"


class Mention(NamedTuple):
    """A mention in running text: its words, and its type where the pipeline knows types."""

    text: str
    type: str | None


def load_pipeline(name: str) -> "Language":
    """The packaged detector (``DEFAULT``), the installed pipeline ``name``, or the one in the folder ``name``.

    Raises:
        UnavailableError: it is not there, needs a package or a version that is not there, or is no pipeline.
    """
    if name == DEFAULT:
        return _load_detector(fsio.resource(DETECTOR))
    import spacy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return spacy.load(name)
        except OSError as error:
            raise UnavailableError(
                f"pipeline {name!r} is neither an installed pipeline nor a folder", hint=HINT
            ) from error
        except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise UnavailableError(f"pipeline {name!r} cannot be loaded: {_reason(error)}", hint=HINT) from error


def _load_detector(folder: Path) -> "Language":
    """The packaged detector, if this spaCy is one that it was made for: another may load it and find other mentions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import spacy

            made_for = json.loads((folder / "meta.json").read_bytes())["spacy_version"]
            if not spacy.util.is_compatible_version(version("spacy"), made_for):
                raise ValueError(f"it was made for spaCy {made_for}, found {version('spacy')}")
            return spacy.load(folder)
        except (ImportError, OSError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise UnavailableError(f"the packaged detector cannot be loaded: {_reason(error)}", hint=_REPAIR) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def source_name(name: str) -> str:
    """The name under which terms of a pipeline are listed: no path, only its last part."""
    return f"pipeline:{Path(name).name}"


def find_mentions(
    nlp: "Language", texts: Iterable[tuple[str, _Companion]]
) -> Iterator[tuple[list[Mention], _Companion]]:
    """The mentions (``doc.ents``) of each text, and what came with it; white space inside one is a single space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readable = ((_MARKS.sub(" ", text), companion) for text, companion in texts)
        for doc, companion in nlp.pipe(readable, as_tuples=True, batch_size=64):
            mentions = [
                Mention(" ".join(entity.text.split()), None if entity.label_ in _UNTYPED else entity.label_)
                for entity in doc.ents
            ]
            yield mentions, companion
