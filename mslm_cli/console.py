"""Output for the user: results on stdout, everything else on stderr."""

import json
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from mslm_cli.errors import UnavailableError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # re-raises the current BrokenPipeError; rich would exit with code 1


def _console(*, stderr: bool = True) -> Console:
    # with NO_COLOR, rich still prints bold and dim, which are escape codes too
    is_plain = bool(os.environ.get("NO_COLOR"))
    return _Console(stderr=stderr, highlight=False, soft_wrap=True, color_system=None if is_plain else "auto")


_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\t\n"}
_MARKS = ("green", "cyan", "magenta", "yellow", "blue", "red")
_stderr = _console()
_state = {"quiet": False, "verbose": False, "silent": False, "warnings_only": False, "log_json": False}
_warned: set[str] = set()
_noted: set[str] = set()


def configure(*, quiet: bool = False, verbose: bool = False, silent: bool = False, log_json: bool = False) -> None:
    """Set the verbosity of this process; a silent process prints only errors, and no result.

    Args:
        log_json: print progress as lines of JSON.
    """
    global _stderr
    _noted.clear()
    _state.update(quiet=quiet or silent, verbose=verbose and not silent, silent=silent, log_json=log_json)
    _stderr = _console()


def settings() -> dict[str, bool]:
    """The arguments of ``configure``, for another process."""
    return {name: _state[name] for name in ("quiet", "verbose", "log_json")}


@contextmanager
def warnings_only() -> Iterator[None]:
    """Print only warnings and errors within the block, unless -v was given; no warning is repeated."""
    before = dict(_state)
    _state.update(quiet=before["quiet"] or not before["verbose"], warnings_only=True)
    try:
        yield
    finally:
        _state.update(before)


def visible(text: str) -> str:
    """``text`` with control characters and undecodable bytes spelled out (``\\x1b``); no terminal obeys it."""
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def made(path: Path) -> None:
    """Print the path of a finished output; later commands in a pipe read it."""
    if sys.stdout is not None:  # closed: the output is whole all the same
        result(os.fspath(path))


def result(text: str) -> None:
    """Print the command's result, the only output on stdout.

    Raises:
        UnavailableError: standard output is closed.
    """
    if not _state["silent"]:
        stream([text + "\n"])


def styled_result(parts: list[tuple[str, str]]) -> None:
    """Print a result of (text, style) parts, separated by spaces, in one line; styles apply only on a terminal."""
    line = Text(" ").join(Text(visible(text), style) for text, style in parts)
    if _open_stdout():
        _console(stderr=False).print(line)


def stream(parts: Iterable[str], *, is_safe: bool = False) -> None:
    """Print a result in parts; on a terminal with control characters spelled out, unless it ``is_safe``.

    Raises:
        UnavailableError: standard output is closed.
    """
    stdout = _open_stdout()
    is_raw = is_safe or not is_terminal()
    for part in parts:
        stdout.write(part if is_raw else visible(part))
    stdout.flush()


def is_terminal() -> bool:
    """Whether results are shown on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def _open_stdout() -> TextIO:
    if sys.stdout is None:
        raise UnavailableError("standard output is closed", hint="use -o, or redirect it to a file")
    return sys.stdout


def marked(text: str, marks: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with its marks ([start, end), label; sorted, disjoint) in brackets, and in colour on a terminal.

    A label always has the same colour; an empty label is not shown.
    """
    shown = Text()
    position = 0
    for start, end, label in marks:
        colour = _MARKS[zlib.crc32(label.encode()) % len(_MARKS)]
        shown.append(visible(text[position:start]))
        shown.append(visible(f"[{text[start:end]}"), f"bold {colour}")
        shown.append(visible(f"|{label}]") if label else "]", colour)
        position = end
    shown.append(visible(text[position:]))
    is_coloured = is_terminal() and not os.environ.get("NO_COLOR")
    target = Console(highlight=False, soft_wrap=True, color_system="standard" if is_coloured else None)
    with target.capture() as captured:
        target.print(shown, end="")
    return captured.get()


def count(n: int, noun: str) -> str:
    """``n`` of something: "1 mention", "2,000 mentions"."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def note(message: str) -> None:
    """Print a note (not with -q)."""
    if not _state["quiet"]:
        _print(escape(visible(message)))


def note_once(message: str) -> None:
    """Print a note, unless it has been printed since ``configure``."""
    if message not in _noted:
        _noted.add(message)
        note(message)


def detail(message: str) -> None:
    """Print a detail (only with -v)."""
    if _state["verbose"]:
        _print(escape(visible(message)), style="dim")


def warn(message: str) -> None:
    """Print a warning, even with -q."""
    if _state["silent"] or (_state["warnings_only"] and message in _warned):
        return
    _warned.add(message)
    _print(f"[yellow]warning:[/] {escape(visible(message))}")


def error(message: str) -> None:
    """Print an error in one line."""
    _print(f"[bold red]error:[/] {escape(visible(' '.join(message.split())))}")


def table(title: str, columns: list[str], rows: list[list[str]], *, as_result: bool = False) -> None:
    """Print a table with text in the first column and numbers in the others (with -q only if it is the result)."""
    if _state["quiet"] and not as_result:
        return
    drawn = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        drawn.add_column(escape(visible(column)), justify="left" if i == 0 else "right", header_style="dim")
    for row in rows:
        drawn.add_row(*(escape(visible(cell)) for cell in row))
    show = _console(stderr=False).print if as_result and _open_stdout() else _print
    show(escape(visible(title)), style="bold")
    show(drawn, soft_wrap=False)


def _print(content: RenderableType, **options: Any) -> None:
    """Print on stderr; where it cannot be written, such as on a full disk, the work goes on without messages."""
    try:
        _stderr.print(content, **options)
    except BrokenPipeError:
        raise
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # or the interpreter would fail again at exit


_LOG_SECONDS = 10.0


@dataclass
class ProgressLine:
    """A progress line: ``advance`` moves it, ``update`` sets its note; with --log-json also lines for a log."""

    bar: Progress
    task: TaskID
    stage: str
    unit: str = ""
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    logged: float = 0.0

    def advance(self, n: float = 1) -> None:
        self.bar.advance(self.task, n)
        if _state["log_json"] and time.monotonic() - self.logged >= _LOG_SECONDS:
            self.log()

    def update(self, text: str) -> None:
        self.note = text
        self.bar.update(self.task, note=escape(visible(text)))

    def log(self, *, is_end: bool = False) -> None:
        """Print what is done as a line of JSON, with the speed since the start."""
        self.logged = time.monotonic()
        task = next(task for task in self.bar.tasks if task.id == self.task)
        seconds = self.logged - self.started
        speed = task.completed / seconds if seconds else 0.0
        left = (task.total - task.completed) / speed if task.total and speed else None
        record = {
            "stage": self.stage,
            "done": round(task.completed),
            "total": None if task.total is None else round(task.total),
            "unit": self.unit or "items",
            "seconds": round(seconds, 3),
            "per_second": round(speed, 1),
            "seconds_left": None if left is None else round(left, 1),
            "note": self.note,
            "is_end": is_end,
        }
        _print(Text(json.dumps(record, ensure_ascii=False)))


@contextmanager
def progress(
    description: str, total: float | None = None, *, shown: bool = True, unit: str = ""
) -> Iterator[ProgressLine]:
    """Show a progress line while the block runs, if ``shown``; only on a terminal, and not with -q.

    Args:
        unit: what is counted; the speed is shown for ``bytes``.
    """
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%" if total else "{task.completed:,.0f}"),
        *([TransferSpeedColumn()] if unit == "bytes" else []),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    ]
    is_seen = shown and _stderr.is_terminal and not _state["quiet"] and not _state["log_json"]
    with Progress(*columns, console=_stderr, transient=True, disable=not is_seen, expand=True) as bar:
        line = ProgressLine(bar, bar.add_task(escape(visible(description)), total=total, note=""), description, unit)
        yield line
        if _state["log_json"]:
            line.log(is_end=True)
