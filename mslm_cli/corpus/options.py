"""How data are read: the options of every command that reads text or labelled sentences."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from mslm_cli.corpus.standoff import FragmentRule, OverlapRule
from mslm_cli.options import Config, OneOf, parse_list

AUTO = "auto"

Way = Literal["off", "exact", "near"]
"""Which documents are duplicates of earlier ones."""

GROUP = "mslm.formats"

TEXT_ONLY = frozenset({"one_per_line"})
"""Options that only affect plain text, which commands that need labels do not read."""

COLUMNS = ("word", "tag", "sentence", "doc")
"""What a column of a table can contain."""


def parse_label_names(value: object) -> object:
    """Names of tags by number: given as they are, separated by commas, or in a file.

    A file is JSON: a list of names; ``id2label`` or ``label2id`` as in config.json; or the ``features`` of a data set.
    """
    if not isinstance(value, str) or not (Path(value).is_file() or value.endswith(".json")):
        return parse_list(value)
    try:
        found = names_in(json.loads(Path(value).read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if not found:
        raise ValueError("expected a JSON file with a list of names, id2label or features")
    return found


def _checked_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    for column in columns:
        what, _, name = column.partition("=")
        if what not in COLUMNS or not name:
            raise ValueError(f"expected {', '.join(f'{each}=NAME' for each in COLUMNS)}, not {column!r}")
    return columns


def names_in(value: object) -> list[str]:
    """The first list of names by number in a JSON value."""
    if isinstance(value, list):
        is_names = bool(value) and all(isinstance(name, str) for name in value)
        return value if is_names else next(filter(None, map(names_in, value)), [])
    if not isinstance(value, dict):
        return []
    if isinstance(names := value.get("id2label"), dict):
        return [str(names[key]) for key in sorted(names, key=int)]
    if isinstance(numbers := value.get("label2id"), dict):
        return sorted(numbers, key=numbers.__getitem__)
    if isinstance(names := value.get("names"), list):
        return names_in(names)
    chosen = [value["features"]] if "features" in value else list(value.values())
    return next(filter(None, (names_in(inner) for inner in chosen if isinstance(inner, dict | list))), [])


def format_names() -> tuple[str, ...]:
    """The values of ``--format``."""
    from mslm_cli.corpus.formats import FORMATS  # the formats take these options

    return (AUTO, *FORMATS.names())


class DataOptions(Config):
    """How data are read."""

    format: Annotated[str, AfterValidator(OneOf(format_names))] = Field(
        AUTO, description="Input format; auto detects it for each file."
    )
    one_per_line: bool = Field(
        False, description="Plain text: one document per line (default: documents are separated by blank lines)."
    )
    encoding: str = Field("utf-8", description="Character encoding of the input.")
    errors: Literal["strict", "replace", "ignore"] = Field(
        "strict", description="How to handle bytes that cannot be decoded."
    )
    label_names: Annotated[tuple[str, ...], BeforeValidator(parse_label_names)] = Field(
        (), description="Names of numeric tags, from 0 on, separated by commas, or a JSON file of them."
    )
    columns: Annotated[tuple[str, ...], BeforeValidator(parse_list), AfterValidator(_checked_columns)] = Field(
        (), description="Tables: names of the columns, as word=NAME,tag=NAME,sentence=NAME,doc=NAME."
    )
    overlaps: OverlapRule = Field("longest", description="Which of several overlapping mentions to read.")
    fragments: FragmentRule = Field(
        "span", description="How to read a discontinuous mention: as one span, its first part, or not at all."
    )

    @property
    def column_names(self) -> dict[str, str]:
        """The names of a table's columns by what they hold (``COLUMNS``)."""
        return dict(column.split("=", 1) for column in self.columns)

    @classmethod
    def of(cls, config: Config) -> Self:
        """The options in ``config`` that this model has too."""
        return cls(**{name: value for name, value in config if name in cls.model_fields})
