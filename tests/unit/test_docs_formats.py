"""The examples of docs/formats.md: each file is read, and each command prints what the page says."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from mslm_cli.corpus.formats import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the page."""
    made = tmp_path_factory.mktemp("formats")
    here = Path.cwd()
    os.chdir(made)
    try:
        for language, name, content in BLOCKS:
            if name:
                Path(name).parent.mkdir(exist_ok=True)
                Path(name).write_text(content, encoding="utf-8")
            elif language == "python":
                exec(content, {})
    finally:
        os.chdir(here)
    return made


@pytest.mark.parametrize("content", [c for _, name, c in BLOCKS if c.startswith("$ ") and not name])
def test_an_example(folder: Path, monkeypatch: pytest.MonkeyPatch, mslm: Callable[..., Result], content: str) -> None:
    monkeypatch.chdir(folder)
    first, _, expected = content.partition("\n")
    program, *arguments = shlex.split(first.removeprefix("$ "))
    assert program == "mslm"
    shown = mslm(*arguments)
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.strip() == expected.strip()


def test_every_format_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([a-z][\w-]*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(each.name for each in FORMATS.built_in())
