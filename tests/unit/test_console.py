"""What is said while stages run inside a study."""

import pytest

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
