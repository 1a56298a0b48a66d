"""What is said while stages run inside a study."""

import io
import json
import re

import pytest
from rich.console import Console

from mslm_cli import console


def test_warnings_only_prints_each_warning_once(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure()
    for _ in range(2):
        with console.warnings_only():
            console.note("a note")
            console.warn("a warning that is said once")
    console.note("said again")
    assert capsys.readouterr().err == "warning: a warning that is said once\nsaid again\n"


def test_warnings_only_prints_everything_with_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(verbose=True)
    with console.warnings_only():
        console.note("a note")
    console.configure()
    assert capsys.readouterr().err == "a note\n"


@pytest.mark.parametrize("width", [80, 60])
def test_a_progress_line_keeps_its_remaining_time(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(console, "_stderr", Console(file=io.StringIO(), width=width, force_terminal=True))
    with console.progress("adapt: encoder", 1000) as line:
        line.advance(1)
        line.update("loss generic words 4.55, DS-terms 4.02  2,345 tokens/s  12 % of peak, and more than fits")
        shown = Console(file=io.StringIO(), width=width)
        shown.print(line.bar.make_tasks_table(line.bar.tasks))
    text = shown.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert text.count("\n") == 1
    assert re.search(r" 0% +(--:--|\d+:\d\d) loss ", text), text


def test_progress_as_lines_for_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(log_json=True)
    try:
        with console.progress("reading", 10, unit="bytes") as bar:
            bar.advance(4)
            bar.update("a [note]")
            bar.advance(6)
    finally:
        console.configure()
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [record["is_end"] for record in records] == [False, True], "the first, and the end; others every 10 seconds"
    last = records[-1]
    assert (last["stage"], last["done"], last["total"], last["unit"]) == ("reading", 10, 10, "bytes")
    assert (last["note"], last["seconds_left"]) == ("a [note]", 0.0)
    assert last["per_second"] > 0


def test_a_note_for_once_is_printed_once_in_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        console.configure()
        console.note_once("a: read as BRAT")
        console.note_once("a: read as BRAT")
        console.note_once("b: read as BRAT")
        assert capsys.readouterr().err.splitlines() == ["a: read as BRAT", "b: read as BRAT"]
