"""The manual has a page for every command, with every option, and none that does not exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from mslm_cli.artifacts import _MADE_BY
from mslm_cli.cli.app import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMANDS = getattr(get_command(app), "commands")  # noqa: B009 - typer hides the type that has it
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
BENCHMARK = re.compile(r"^ +python benchmarks/.*$", re.MULTILINE)  # they have options of their own
OTHERS = {"--constraint", "--nproc-per-node"}
"""Options of other programs that pages may name."""


def options(command: str) -> set[str]:
    """The long options of a command."""
    return {
        name
        for parameter in COMMANDS[command].params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_with_all_of_its_options(command: str) -> None:
    page = DOCS / f"{command}.md"
    assert page.is_file(), f"docs/{command}.md is missing: write it"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# mslm {command}\n")
    assert f"$ mslm {command}" in text, f"docs/{command}.md has no example"
    missing = options(command) - set(OPTION.findall(text))
    assert missing == set(), f"docs/{command}.md does not explain them"


def test_pages_name_no_option_that_does_not_exist() -> None:
    known = OTHERS | {"--help", "--version"} | {option for command in COMMANDS for option in options(command)}
    for page in DOCS.glob("*.md"):
        text = BENCHMARK.sub("", page.read_text(encoding="utf-8"))
        assert set(OPTION.findall(text)) <= known, page.name


def test_the_index_leads_to_every_page_and_no_link_is_dead() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= set(re.findall(r"\]\(([\w-]+\.md)", index))
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).exists(), f"{page.name} links to {target}"


def test_every_kind_of_artifact_is_described() -> None:
    text = (DOCS / "artifacts.md").read_text(encoding="utf-8")
    assert [kind for kind in _MADE_BY if f"## {kind}" not in text] == []
