"""The detector's tokenizer: scispaCy's rules, and a split at every hyphen, slash, bracket and other mark inside a word.

scispaCy's tokenizer alone keeps "lithium-induced" and "(ZDV)-treated" whole, so that 9 of 100 mentions of BC5CDR do not
begin or end with a token and cannot be found by any model; with these splits it is fewer than 1.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

import spacy
from scispacy.custom_tokenizer import combined_rule_tokenizer
from spacy.language import Language

_MARK = r"[^\w\s.,'\u0300-\u036f]"
# Decimals and thousands stay whole.
_INFIX = rf"{_MARK}|'(?![sS]\b)|(?<=\D)[.,](?=\w)|(?<=\w)[.,](?=\D)|(?<=[a-zA-Z])\+"

_SUFFIX = rf"{_MARK}$|'$|(?<=[a-z][A-Z])\.$"


@spacy.registry.callbacks("mslm_detector_tokenizer")
def make_tokenizer() -> Callable[[Language], None]:
    """What gives a pipeline its tokenizer before training; it is saved with the pipeline, as patterns."""
    return set_tokenizer


def set_tokenizer(nlp: Language) -> None:
    """Replace the tokenizer of ``nlp``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer: Any = combined_rule_tokenizer(nlp)
        tokenizer.infix_finditer = re.compile(f"{_pattern(tokenizer.infix_finditer)}|{_INFIX}").finditer
        tokenizer.prefix_search = re.compile(f"{_pattern(tokenizer.prefix_search)}|^{_MARK}|^'(?![sS]$)").search
        tokenizer.suffix_search = re.compile(f"{_pattern(tokenizer.suffix_search)}|{_SUFFIX}").search
    nlp.tokenizer = tokenizer


def _pattern(method: Any) -> str:
    pattern: str = method.__self__.pattern
    return pattern
