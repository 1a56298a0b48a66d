"""The base of option models: immutable, no unknown options, errors that name the option."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

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


Name = Annotated[str, PlainSerializer(_portable)]
"""A folder or a known name; an absolute path is stored as its last part."""

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all command configurations: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {"checkpoint_every", "tensorboard", "keep_checkpoints", "model", "offline", "pipeline", "threads", "workers"}
    )
    """Options that do not affect the result, or that name an input (identified by its content)."""

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
            message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
            raise UsageError(f"{option}: {message}, found {options[name]!r}") from error
