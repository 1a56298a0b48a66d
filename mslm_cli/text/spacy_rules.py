"""The rules of spaCy's English tokenizer and sentencizer, as spaCy has them.

To import spaCy takes longer than to split a text, so its rules are read from the user's cache, where they are kept for
each version of it.
"""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from mslm_cli import fsio
from mslm_cli.errors import UnavailableError

_NAME = "english-rules-{}.json"


class EnglishRules(NamedTuple):
    """Patterns for affixes, infixes and addresses, the characters that end a sentence, and tokens that are exceptions.

    exceptions: the tokens of each, separated by spaces.
    """

    prefix: str
    suffix: str
    infix: str
    url: str
    ends: list[str]
    exceptions: list[str]


def english_rules() -> EnglishRules:
    """The rules of the installed spaCy, or without one those that were kept last.

    Raises:
        UnavailableError: spaCy cannot be imported, and none were kept.
    """
    folder = fsio.cache_folder()
    try:
        kept = folder / _NAME.format(version("spacy"))
    except PackageNotFoundError:
        kept = max(folder.glob(_NAME.format("*")), default=folder / _NAME.format("none"))
    return _read(kept) or _from_spacy(kept)


def _read(kept: Path) -> EnglishRules | None:
    """The kept rules; None if there are none, or they are damaged."""
    try:
        found = json.loads(kept.read_bytes())
        return EnglishRules(**found)
    except (OSError, ValueError, TypeError):
        return None


def _from_spacy(kept: Path) -> EnglishRules:
    """The rules of spaCy, which are kept if the cache is writable."""
    try:
        import spacy
    except ImportError as error:
        hint = f"pip install spacy, or copy {kept.parent.name}/{_NAME.format('*')} from the cache of another machine"
        raise UnavailableError(
            f"cannot read the rules of spaCy, by which text is split into sentences: {error}", hint=hint
        ) from error
    nlp = spacy.blank("en")
    tokenizer: Any = nlp.tokenizer
    sentencizer: Any = nlp.add_pipe("sentencizer")
    orth = spacy.symbols.ORTH
    exceptions = {" ".join(t.get(orth, t.get("ORTH")) for t in tokens) for tokens in tokenizer.rules.values()}
    rules = EnglishRules(
        tokenizer.prefix_search.__self__.pattern,
        tokenizer.suffix_search.__self__.pattern,
        tokenizer.infix_finditer.__self__.pattern,
        tokenizer.url_match.__self__.pattern,
        sorted(sentencizer.punct_chars),
        sorted(tokens for tokens in exceptions if tokens.strip()),
    )
    with suppress(OSError):
        fsio.make_folder(kept.parent)
        fsio.write_text(kept, json.dumps(rules._asdict(), ensure_ascii=False) + "\n")
    return rules
