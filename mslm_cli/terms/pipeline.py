"""Loading spaCy and scispaCy pipelines and detecting mentions with them; spaCy is imported on use."""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
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
"""No pipeline: terms from statistics and abbreviations only."""
DETECTOR = "detector"
"""The folder of the packaged detector, below ``resources/``."""

# Larger batches need more memory and are no faster.
_TEXTS_PER_BATCH = 16
# spaCy's tokenizer takes quadratic time on such a run, and no mention contains one.
_MARKS = re.compile(r"[^\w\s]{100,}")
_UNTYPED = {"", "ENTITY", "MENTION"}
HINT = (
    "get scispaCy's models from its release page, spaCy's with `python -m spacy download`, or give a path to your own;"
    " `--pipeline biomedical` ships with mslm, and `--pipeline none` needs none"
)
_REPAIR = "reinstall mslm with the required versions of its dependencies, or use `--pipeline none`"


class DetectedMention(NamedTuple):
    """A mention detected in running text, with its type if the pipeline assigns types."""

    text: str
    type: str | None


def load_pipeline(name: str) -> "Language":
    """The packaged detector (``DEFAULT``), the installed pipeline ``name``, or the one in the folder ``name``.

    Raises:
        UnavailableError: it is missing, is not a pipeline, or needs a missing package or version.
    """
    if name == DEFAULT:
        return _load_detector(fsio.resource(DETECTOR))
    import spacy

    with warnings.catch_warnings(), _multiplying_with_numpy():
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
    """The packaged detector, if spaCy's version is compatible: others may load it but find different mentions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import spacy

            made_for = json.loads((folder / "meta.json").read_bytes())["spacy_version"]
            if not spacy.util.is_compatible_version(version("spacy"), made_for):
                raise ValueError(f"it was made for spaCy {made_for}, found {version('spacy')}")
            with _multiplying_with_numpy():
                return spacy.load(folder)
        except (ImportError, OSError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise UnavailableError(f"the packaged detector cannot be loaded: {_reason(error)}", hint=_REPAIR) from error


def _multiplying_with_numpy() -> AbstractContextManager[None]:
    """Make pipelines loaded in this context multiply matrices with numpy's BLAS, which is faster than spaCy's blis."""
    from thinc.api import use_ops

    found: AbstractContextManager[None] = use_ops("numpy", use_blis=False)
    return found


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def source_name(name: str) -> str:
    """The source name of a pipeline's terms: only the last part of its path."""
    return f"pipeline:{Path(name).name}"


def find_mentions(
    nlp: "Language", texts: Iterable[tuple[str, _Companion]]
) -> Iterator[tuple[list[DetectedMention], _Companion]]:
    """The mentions (``doc.ents``) of each text, with its companion; white space in a mention becomes one space.

    When the last text is done, ``nlp`` forgets the words it has met, so its memory does not grow with the text.
    """
    from threadpoolctl import threadpool_limits

    # One thread, as with blis: there is one worker per core, and the products are too small to be divided.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"), nlp.memory_zone():
        warnings.simplefilter("ignore")
        readable = ((_MARKS.sub(" ", text), companion) for text, companion in texts)
        for doc, companion in nlp.pipe(readable, as_tuples=True, batch_size=_TEXTS_PER_BATCH):
            mentions = [
                DetectedMention(" ".join(entity.text.split()), None if entity.label_ in _UNTYPED else entity.label_)
                for entity in doc.ents
            ]
            yield mentions, companion
