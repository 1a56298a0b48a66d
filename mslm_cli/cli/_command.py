"""The program, and turning functions into its subcommands: options from a config model, errors to exit codes."""

import functools
import inspect
import os
import re
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

import mslm_cli
from mslm_cli import console, environment, signals
from mslm_cli.config import ModelOptions, StudyOptions, TrainingOptions, read_config_file
from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import ArtifactError, MslmError, UsageError
from mslm_cli.options import Config, OneOf

Texts = Annotated[list[Path], typer.Argument(help="Text or annotated files, folders, or - for stdin.", metavar="TEXT")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)]
Resume = Annotated[
    str,
    typer.Option(help="Resume from OUTPUT.work: auto, never, or the path of a checkpoint.", metavar="auto|never|PATH"),
]
ResumeBlocks = Annotated[
    Literal["auto", "never"],
    typer.Option(help="Resume from OUTPUT.work: auto, or never to start over.", metavar="auto|never"),
]
ResumeAnyway = Annotated[
    bool,
    typer.Option(
        "--resume-anyway", help="Resume even if code, versions, threads or device changed: results may differ."
    ),
]
Without = Annotated[
    list[Path] | None,
    typer.Option(help="Labelled test data: documents with one of its sentences are left out. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as a JSON document.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]


_ELSEWHERE = {
    "lr": "--learning-rate",
    "batch-size": "--tokens-per-step",
    "per-device-train-batch-size": "--tokens-per-step",
    "gradient-accumulation-steps": "--batch-tokens",
    "num-epochs": "--epochs",
    "num-train-epochs": "--epochs",
    "max-steps": "--steps",
    "layerwise-lr-decay": "--layer-decay",
    "warmup-ratio": "--warmup-share",
    "max-seq-length": "--max-length",
    "model-name-or-path": "--model",
    "mlm-probability": "--rate",
    "output-dir": "--output",
    "train-file": "--train",
    "validation-file": "--dev",
    "fp16": "--precision",
    "bf16": "--precision",
}
"""What other tools call our options."""


COMMANDS = {
    "extract-terms": "extract_terms",
    "match": "match",
    "preprocess": "preprocess",
    "adapt": "adapt",
    "finetune": "finetune",
    "predict": "predict",
    "label": "label",
    "eval": "evaluate",
    "compare": "compare",
    "inspect": "inspect_data",
    "convert": "convert",
    "show-masks": "show_masks",
    "probe": "probe",
    "study": "study",
    "sweep": "sweep",
    "demo": "demo",
    "models": "models",
}
"""The subcommands in workflow order, each with its module of ``cli``, which registers it when it is imported."""


_NOT_A_NUMBER = re.compile(r"Input should be a valid (integer|number), unable to parse string as an? \w+")
_NUMBERS = {"integer": "whole number", "number": "number"}


class _OneLineErrors(TyperGroup):
    """The program; prints errors in its options in one line on stderr, like all other errors."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            exit_code = super().main(*args, **options | {"standalone_mode": False})
        except typer.TyperException as error:
            command = getattr(getattr(error, "ctx", None), "command_path", "mslm")
            message = error.format_message().replace("Value error, ", "").rstrip(".")
            message = _NOT_A_NUMBER.sub(lambda found: f"expected a {_NUMBERS[found[1]]}", message)
            known = _ELSEWHERE.get(getattr(error, "option_name", "").strip("-").replace("_", "-"))
            hint = f"did you mean {known}? see `{command} --help`" if known else f"see `{command} --help`"
            console.error(str(UsageError(message, hint=hint)))
            exit_code = UsageError.exit_code
        except typer.Abort:  # Ctrl-C while options are read
            console.error("interrupted")
            exit_code = 130
        sys.exit(exit_code)


app = typer.Typer(
    name="mslm",
    cls=_OneLineErrors,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables truncate long option names at 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.result(f"mslm {mslm_cli.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Make pre-trained language models sensitive to the terms of a domain.

    Each command writes one folder and prints its path; the next command reads it.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


_PANEL = "General options"
_SHARED = (DataOptions, ModelOptions, TrainingOptions, StudyOptions)
_Parameter = inspect.Parameter


def artifact_path(path: Path) -> Path:
    """``path``, or for ``-`` the path printed by the previous command in a pipe.

    Raises:
        ArtifactError: the pipe is empty.
    """
    if str(path) != "-":
        return path
    line = sys.stdin.readline().strip()
    if not line:
        raise ArtifactError(
            "-: expected the path of an artifact on standard input, found nothing",
            hint="the previous command in the pipe failed or printed no path",
        )
    return Path(line)


def refuse_shared_stdin(readers: Mapping[str, object]) -> None:
    """Check that at most one of ``readers`` (by option) is ``-``.

    Raises:
        UsageError: more than one is to be read from standard input.
    """
    wanting = [option for option, path in readers.items() if str(path) == "-"]
    if len(wanting) > 1:
        raise UsageError(f"{' and '.join(wanting)} cannot both be read from standard input")


def subcommand(
    name: str, config: type[Config] | None = None, *, examples: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that registers a function as subcommand ``name``.

    Every field of ``config`` becomes an option with the field's default and description; the function gets the
    validated model as its argument ``config``. Options on the command line take precedence over those of ``--config
    FILE``, which take precedence over defaults. ``examples`` ends the help text.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "config"]
        for parameter in own:
            _leave_reading_to_readers(parameter.annotation)
        fields = {} if config is None else _own_first(config)

        @functools.wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            environment.set_defaults()
            is_silent = not environment.is_first_process()
            settings = {name: given.pop(name) for name in ("quiet", "verbose", "log_json")}
            console.configure(**settings, silent=is_silent)
            with_debug = given.pop("debug")
            with _exit_codes(debug=with_debug), signals.raising():
                if config is not None:
                    given["config"] = _resolve(ctx, name, config, given)
                function(**{name: _expanded(value) for name, value in given.items()})

        context = _Parameter("ctx", _Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *own, *(_option(n, f) for n, f in fields.items()), *_common(config is not None)]
        signature = inspect.Signature([p.replace(kind=_Parameter.KEYWORD_ONLY) for p in parameters])
        run.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name, help=_help(function, examples))(run)
        return run

    return register


def _leave_reading_to_readers(annotation: Any) -> None:
    """Have no path checked while options are read, so that its error is the same named or found in a folder."""
    for told in typing.get_args(annotation):
        if hasattr(told, "readable"):
            told.readable = False


def _expanded(value: Any) -> Any:
    """``value`` with ~ expanded in paths, which a shell leaves alone inside quotes.

    Raises:
        UsageError: there is no such user.
    """
    if isinstance(value, list):
        return [_expanded(one) for one in value]
    if not isinstance(value, Path):
        return value
    try:
        return value.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{value}: no such user", hint=f"write ./{value} for a file of that name") from error


def _help(function: Callable[..., None], examples: str) -> str:
    # \b keeps the line breaks of the next paragraph
    return f"{inspect.getdoc(function)}\n\nExamples:\n\n\b\n{textwrap.indent(examples, '  ')}"


def _own_first(config: type[Config]) -> dict[str, FieldInfo]:
    """The fields of ``config``: the command's own fields first, then shared ones."""
    fields = {name: field for name, field in config.model_fields.items() if name not in config.not_on_command_line}
    shared = {name for base in _SHARED for name in base.model_fields} - config.__annotations__.keys()
    own = [name for name in fields if name not in shared]
    return {name: fields[name] for name in [*own, *(n for n in fields if n not in own)]}


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    annotation: Any = field.annotation
    arguments = typing.get_args(annotation)
    default = field.default
    if typing.get_origin(annotation) is tuple:
        annotation, default = str, ",".join(x if isinstance(x, str) else f"{x:g}" for x in default)
    flag = "--" + name.replace("_", "-")
    words = [word for a in arguments if typing.get_origin(a) is typing.Literal for word in typing.get_args(a)]
    if words:  # words or a number
        annotation, default, words = str, str(default), [*words, "NUMBER"]
    if any(typing.get_origin(a) is Annotated for a in arguments):  # what the configuration parses itself
        annotation = str | None
    if annotation is bool:
        declarations = [flag]
    elif bool in arguments:
        declarations = [f"{flag}/--no-{flag[2:]}"]
    else:
        declarations = [flag]
    names = next((m.func.names() for m in field.metadata if isinstance(getattr(m, "func", None), OneOf)), words)
    option = typer.Option(
        *declarations,
        help=field.description,
        show_default=default not in (None, ""),
        metavar=f"<{'|'.join(names)}>" if names else None,
    )
    return _Parameter(name, _Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option])


def _common(has_config: bool) -> list[inspect.Parameter]:
    def flag(name: str, *declarations: str, help: str) -> inspect.Parameter:
        option = typer.Option(*declarations, help=help, rich_help_panel=_PANEL)
        return _Parameter(name, _Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])

    common = [
        flag("quiet", "--quiet", "-q", help="Print only warnings and errors."),
        flag("verbose", "--verbose", "-v", help="Print more detail."),
        flag("log_json", "--log-json", help="Print progress as JSON lines on stderr, for logs."),
        flag("debug", "--debug", help="Show the traceback of an error."),
    ]
    if has_config:
        option = typer.Option(
            "--config", help="TOML file or manifest.json to read options from.", rich_help_panel=_PANEL
        )
        common.insert(
            0,
            _Parameter("config_file", _Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]),
        )
    return common


def _resolve(ctx: typer.Context, command: str, config: type[Config], given: dict[str, Any]) -> Config:
    """The validated configuration; removes its options from ``given``."""
    config_file: Path | None = given.pop("config_file")
    options = {name: given.pop(name) for name in _own_first(config)}
    explicit = {n: v for n, v in options.items() if getattr(ctx.get_parameter_source(n), "name", "") == "COMMANDLINE"}
    if config_file is None:
        return config.build(**explicit)
    from_file = read_config_file(config_file, command, list(COMMANDS))
    config.build(config_file, **from_file)
    return config.build(**from_file | explicit)


@contextmanager
def _exit_codes(*, debug: bool) -> Iterator[None]:
    """Turn an error within the block into one line on stderr and an exit code."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        if debug and not isinstance(error, KeyboardInterrupt | signals.Terminated | BrokenPipeError):
            traceback.print_exception(error)
        raise typer.Exit(_exit_code(error)) from error


def _exit_code(error: BaseException) -> int:
    if isinstance(error, MslmError):
        console.error(str(error))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        console.error("interrupted")
        return 130
    if isinstance(error, signals.Terminated):
        console.error("terminated")
        return 143
    if isinstance(error, BrokenPipeError):
        # the interpreter flushes stdout at exit and would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, OSError) and error.filename is not None and error.errno is not None:
        console.error(f"{error.filename}: {error.strerror}")
        return 5
    if isinstance(error, OSError) and error.errno is not None:
        console.error(f"{error.strerror}")
        return 5
    console.error(f"internal error: {type(error).__name__}: {error} (run again with --debug and report the traceback)")
    return 1
