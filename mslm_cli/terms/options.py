"""Options for the selection of a lexicon's terms."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mslm_cli.options import Config, Name, parse_list

Source = Literal["pipeline", "abbreviation", "termhood"]


class TermOptions(Config):
    """Options for the selection of terms."""

    pipeline: Name = Field(
        "biomedical",
        description="Mention detector: `biomedical` (packaged), a spaCy pipeline by name or path, or `none`.",
    )
    min_count: int = Field(
        2, ge=1, description="Minimum number of occurrences of a term (your own terms are always kept)."
    )
    min_score: float = Field(1.0, ge=0, description="Minimum score of n-grams and abbreviations.")
    types: Annotated[tuple[str, ...], BeforeValidator(parse_list)] = Field(
        (), description="Keep only terms of these types, separated by commas (and your own untyped terms)."
    )
    max_terms: int = Field(
        50_000, ge=1, description="Maximum number of terms, best first (your own terms are always kept)."
    )
    sources: Annotated[tuple[Source, ...], BeforeValidator(parse_list)] = Field(
        ("pipeline", "abbreviation", "termhood"), description="Sources of terms, in addition to your own lists."
    )
    max_words: int = Field(6, ge=1, le=12, description="Maximum length of n-gram candidates, in words.")
