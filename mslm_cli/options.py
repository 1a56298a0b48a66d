"""The base of option models: immutable, no unknown options, errors that name the option."""

import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from mslm_cli.errors import UsageError
from mslm_cli.provenance import portable_path


class OneOf:
    """A validator for names that are looked up late, such as those of plug-ins."""

    def __init__(self, names: Callable[[], Collection[str]]) -> None:
        self.names = names

    def __call__(self, value: str) -> str:
        *others, last = self.names()
        if value not in (*others, last):
            raise ValueError(f"expected {', '.join(others)} or {last}")
        return value


def _portable(value: str) -> str:
    return portable_path(Path(value)) if Path(value).is_absolute() else value


def parse_list(value: object) -> object:
    """Split a string at commas; other values are returned unchanged."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(os.path.expanduser), PlainSerializer(_portable)]
"""A folder or a known name; ~ is expanded, and an absolute path is stored as its last part."""

MAX_OPTIONS_BYTES = 1 << 22

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


_EXPECTED = {
    "int": "expected a whole number",
    "float": "expected a number",
    "finite_number": "expected a finite number",
    "bool": "expected true or false",
    "string_type": "expected text",
}
"""What was expected, by the beginning of the type of a validation error."""


def expectation(error: Mapping[str, Any]) -> str:
    """What was expected, from one of the errors of a ``ValidationError``."""
    for beginning, expected in _EXPECTED.items():
        if error["type"].startswith(beginning):
            return expected
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        UsageError: it cannot be read, is not TOML, or is larger than any file of options.
    """
    place, reason = None, ""
    try:
        return tomllib.loads(read_bounded(path).decode("utf-8"))
    except ValueError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        reason = str(error)[: place.start()] if place else str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    raise UsageError(f"{path}{f':{place[1]}' if place else ''}: not TOML: {reason}")


def read_bounded(path: Path) -> bytes:
    """The content of a file of options.

    Raises:
        UsageError: it cannot be read, or has more than ``MAX_OPTIONS_BYTES``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_OPTIONS_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_OPTIONS_BYTES:
        raise UsageError(f"{path}: has more than {MAX_OPTIONS_BYTES:,} bytes, so it is not a file of options")
    return content


class Config(BaseModel):
    """Base of all command configurations: immutable, no unknown keys."""

    # only the configuration of the command that runs is ever built
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_as_number(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("expected no truth value")
        return value

    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {
            "batch_tokens",
            "checkpoint_every",
            "compile",
            "device",
            "keep_checkpoints",
            "max_memory",
            "model",
            "offline",
            "pipeline",
            "ray",
            "skip_bad",
            "tensorboard",
            "threads",
            "workers",
        }
    )
    """Options that affect at most the last bits of the result, or that name an input (identified by its content)."""

    not_on_command_line: ClassVar[frozenset[str]] = frozenset()
    """Fields of a base that have no effect on the command, so that it has no option for them."""

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values, for the fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.outside_identity))

    @classmethod
    def build(cls, file: Path | None = None, /, **options: object) -> Self:
        """The validated configuration.

        Args:
            file: the source of the options, if not the command line.

        Raises:
            UsageError: an option is unknown or invalid; the message names it.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            option = f"--{name.replace('_', '-')}" if file is None else f"{file}: {name}"
            if first["type"] == "extra_forbidden":
                raise UsageError(f"{option}: unknown option") from error
            if first["type"] == "string_pattern_mismatch":
                hint = cls.model_fields[name].description
                raise UsageError(f"{option}: cannot be {options[name]!r}", hint=hint) from error
            wrong = [e for e in error.errors() if e["loc"][:1] == first["loc"][:1]]  # several for a union
            expected = " or ".join(dict.fromkeys(map(expectation, wrong))).replace(" or expected ", " or ")
            raise UsageError(f"{option}: {expected}, found {options[name]!r:.80}") from error
