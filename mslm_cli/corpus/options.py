"""How data are read: the options of every command that reads text or labelled sentences."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from mslm_cli import plugins
from mslm_cli.options import Config, OneOf

AUTO = "auto"
GROUP = "mslm.formats"


def format_names() -> tuple[str, ...]:
    """What ``--format`` can be."""
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

    def identity(self) -> dict[str, Any]:
        """Also the packages that may have told or read the format."""
        found = plugins.versions(GROUP)
        of_format = found if self.format == AUTO else {name: v for name, v in found.items() if name == self.format}
        return super().identity() | ({"format_plugins": of_format} if of_format else {})

    @classmethod
    def of(cls, config: Config) -> Self:
        """The options of this model that ``config`` has too."""
        return cls(**{name: value for name, value in config if name in cls.model_fields})
