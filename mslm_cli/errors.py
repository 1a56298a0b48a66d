"""Errors for the user, each class with its exit code.

The message says what was expected, what was found and what to do; the command line prints it in one line and exits with
``exit_code``.
"""

from pathlib import Path


class MslmError(Exception):
    """An error with a message for the user; ``hint`` says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MslmError):
    """An invalid option or config file."""

    exit_code = 2


class DataError(MslmError):
    """Invalid input data; ``path`` and ``line`` (from 1) begin the message."""

    exit_code = 3

    def __init__(
        self, message: str, *, path: str | Path | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message, hint=hint)


class BadDocumentError(DataError):
    """A document on which the work fails; the work on others can go on without it."""


class ArtifactError(MslmError):
    """An artifact that is missing, damaged or of the wrong kind."""

    exit_code = 4


class UnavailableError(MslmError):
    """Something is unavailable: a model, a package, a device, disk space."""

    exit_code = 5


class DivergedError(MslmError):
    """Training diverged: losses or gradients were not finite, or exploded."""

    exit_code = 6
