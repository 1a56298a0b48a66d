"""spaCy and scispaCy pipelines: loading them, and the mentions and abbreviations they find.

The only module, besides ``sentences``, that imports spaCy; it does so when it is used.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mslm_cli.errors import UnavailableError

if TYPE_CHECKING:
    from spacy.language import Language

DEFAULT = "default"
_UNTYPED = {"", "ENTITY", "MENTION"}
_HINT = (
    "scispaCy's models come from its release page, spaCy's from `python -m spacy download`, your own by their path;"
    " `--pipeline default` needs none"
)


class Mention(NamedTuple):
    """A mention in running text: its words, and its type where the pipeline knows types."""

    text: str
    type: str | None


class Abbreviation(NamedTuple):
    """A short form and the long form it is defined by."""

    short: str
    long: str


def load_abbreviation_detector() -> "Language":
    """The default pipeline: English tokens by scispaCy's rules, and its AbbreviationDetector.

    Raises:
        UnavailableError: scispaCy cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import spacy
            from scispacy.abbreviation import AbbreviationDetector  # noqa: F401 - registers the component
            from scispacy.custom_tokenizer import combined_rule_tokenizer
        except ImportError as error:
            raise UnavailableError(
                f"extract-terms needs scispaCy, which cannot be imported: {error}",
                hint="pip install scispacy; it has no build for Linux on ARM, the other commands work without it",
            ) from error
        nlp = spacy.blank("en")
        nlp.tokenizer = combined_rule_tokenizer(nlp)
        nlp.add_pipe("abbreviation_detector")
        return nlp


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
            raise UnavailableError(f"pipeline {name!r} is not installed, and no folder", hint=_HINT) from error
        except (ImportError, AttributeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UnavailableError(f"pipeline {name!r} cannot be loaded: {reason}", hint=_HINT) from error


def source_name(name: str) -> str:
    """The name under which terms of a pipeline are listed: no path, only its last part."""
    return f"pipeline:{Path(name).name}"


def find_mentions(nlp: "Language", texts: Iterable[str]) -> Iterator[list[Mention]]:
    """The mentions (``doc.ents``) of each text; white space inside one becomes a single space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for doc in nlp.pipe(texts, batch_size=64):
            yield [
                Mention(" ".join(entity.text.split()), None if entity.label_ in _UNTYPED else entity.label_)
                for entity in doc.ents
            ]


def find_abbreviations(nlp: "Language", sentences: Iterable[str]) -> set[Abbreviation]:
    """The abbreviations that the sentences define, by scispaCy's AbbreviationDetector.

    Source: Schwartz and Hearst 2003, as scispaCy has it; each sentence stands for itself.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            Abbreviation(short.text, short._.long_form.text)
            for doc in nlp.pipe(text for text in sentences if "(" in text and ")" in text)
            for short in doc._.abbreviations
        }
