"""Which terms a lexicon holds: the options that decide what is chosen from the evidence of a text."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mslm_cli.options import Config, Name, parse_list

Source = Literal["pipeline", "abbreviation", "termhood"]


class TermOptions(Config):
    """What decides which terms are chosen."""

    pipeline: Name = Field(
        "biomedical",
        description="Mention detector: `biomedical` (packaged), a spaCy pipeline by name or path, or `none`.",
    )
    min_count: int = Field(2, ge=1, description="Fewest occurrences of a term (your own are always kept).")
    min_score: float = Field(1.0, ge=0, description="Lowest score of n-grams and abbreviations.")
    types: Annotated[tuple[str, ...], BeforeValidator(parse_list)] = Field(
        (), description="Keep only terms of these types, separated by commas (and your own without one)."
    )
    max_terms: int = Field(50_000, ge=1, description="Keep at most so many terms, the best (your own are always kept).")
    sources: Annotated[tuple[Source, ...], BeforeValidator(parse_list)] = Field(
        ("pipeline", "abbreviation", "termhood"), description="Where terms may come from, besides your own lists."
    )
    max_words: int = Field(6, ge=1, le=12, description="Longest n-gram candidate, in words.")
