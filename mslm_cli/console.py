"""Output for the user: results on stdout, everything else on stderr."""

import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # re-raises the current BrokenPipeError; rich would exit with code 1


def _console(*, stderr: bool = True) -> Console:
    # with NO_COLOR, rich still prints bold and dim, which are escape codes too
    is_plain = bool(os.environ.get("NO_COLOR"))
    return _Console(stderr=stderr, highlight=False, soft_wrap=True, color_system=None if is_plain else "auto")


_MARKS = ("green", "cyan", "magenta", "yellow", "blue", "red")
_stderr = _console()
_state = {"quiet": False, "verbose": False, "silent": False, "warnings_only": False}
_warned: set[str] = set()


def configure(*, quiet: bool = False, verbose: bool = False, silent: bool = False) -> None:
    """Set the verbosity of this process; a silent process prints only errors, and no result."""
    global _stderr
    _state.update(quiet=quiet or silent, verbose=verbose and not silent, silent=silent)
    _stderr = _console()


def settings() -> dict[str, bool]:
    """The arguments of ``configure``, for another process."""
    return {name: _state[name] for name in ("quiet", "verbose")}


@contextmanager
def warnings_only() -> Iterator[None]:
    """Print only warnings and errors within the block, unless -v was given; no warning is repeated."""
    before = dict(_state)
    _state.update(quiet=before["quiet"] or not before["verbose"], warnings_only=True)
    try:
        yield
    finally:
        _state.update(before)


def result(text: str) -> None:
    """Print the command's result, the only output on stdout."""
    if _state["silent"]:
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def styled_result(parts: list[tuple[str, str]]) -> None:
    """Print a result of (text, style) parts, separated by spaces, in one line; styles apply only on a terminal."""
    line = Text(" ").join(Text(text, style) for text, style in parts)
    _Console(file=sys.stdout, highlight=False, soft_wrap=True).print(line)


def stream(parts: Iterable[str]) -> None:
    """Print a result in parts, unchanged."""
    for part in parts:
        sys.stdout.write(part)
    sys.stdout.flush()


def marked(text: str, marks: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with its marks ([start, end), label; sorted, disjoint) in brackets, and in colour on a terminal.

    A label always has the same colour; an empty label is not shown.
    """
    text = text.replace("\x1b", "\u241b")  # text must not control the terminal
    shown = Text()
    position = 0
    for start, end, label in marks:
        colour = _MARKS[zlib.crc32(label.encode()) % len(_MARKS)]
        shown.append(text[position:start])
        shown.append(f"[{text[start:end]}", f"bold {colour}")
        shown.append(f"|{label}]" if label else "]", colour)
        position = end
    shown.append(text[position:])
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
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
        _stderr.print(escape(message))


def detail(message: str) -> None:
    """Print a detail (only with -v)."""
    if _state["verbose"]:
        _stderr.print(escape(message), style="dim")


def warn(message: str) -> None:
    """Print a warning, even with -q."""
    if _state["silent"] or (_state["warnings_only"] and message in _warned):
        return
    _warned.add(message)
    _stderr.print(f"[yellow]warning:[/] {escape(message)}")


def error(message: str) -> None:
    """Print an error in one line."""
    _stderr.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}")


def table(title: str, columns: list[str], rows: list[list[str]], *, as_result: bool = False) -> None:
    """Print a table with text in the first column and numbers in the others (with -q only if it is the result)."""
    if _state["quiet"] and not as_result:
        return
    target = _console(stderr=False) if as_result else _stderr
    target.print(escape(title), style="bold")
    drawn = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        drawn.add_column(escape(column), justify="left" if i == 0 else "right", header_style="dim")
    for row in rows:
        drawn.add_row(*map(escape, row))
    target.print(drawn, soft_wrap=False)


@dataclass(frozen=True)
class ProgressLine:
    """A progress line: ``advance`` moves it, ``update`` sets its note."""

    bar: Progress
    task: TaskID

    def advance(self, n: float = 1) -> None:
        self.bar.advance(self.task, n)

    def update(self, text: str) -> None:
        self.bar.update(self.task, note=escape(text))


@contextmanager
def progress(description: str, total: float | None = None, *, shown: bool = True) -> Iterator[ProgressLine]:
    """Show a progress line while the block runs, if ``shown``; only on a terminal, and not with -q."""
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%" if total else "{task.completed:,.0f}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim"),
    ]
    is_seen = shown and _stderr.is_terminal and not _state["quiet"]
    with Progress(*columns, console=_stderr, transient=True, disable=not is_seen) as bar:
        yield ProgressLine(bar, bar.add_task(escape(description), total=total, note=""))
