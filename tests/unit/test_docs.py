"""The manual has a page for every command; its tables of options and of commands are made from the program.

``UPDATE_GOLDEN=1`` writes the tables anew.
"""

import os
import re
from pathlib import Path

import pytest
from typer.main import get_command

from mslm_cli.artifacts import MADE_BY
from mslm_cli.cli.app import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMANDS = getattr(get_command(app), "commands")  # noqa: B009 - typer hides the type that has it
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
BENCHMARK = re.compile(r"^ +python benchmarks/.*$", re.MULTILINE)  # they have options of their own
EVERYWHERE = {"--config", "--quiet", "--verbose", "--log-json", "--debug", "--help"}
OTHERS = {
    *("--address", "--num-cpus", "--port", "--head", "--nnodes", "--rdzv-backend", "--rdzv-endpoint"),
    "--constraint",
    "--no-deps",
    "--nproc-per-node",
}
"""Options of other programs that pages may name."""


def options(command: str) -> set[str]:
    """The long options of a command."""
    return {
        name
        for parameter in COMMANDS[command].params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }


def option_table(command: str) -> str:
    """The table of a command's options, those that every command has left out."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for parameter in COMMANDS[command].params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if not set(names) & EVERYWHERE and names[0].startswith("-"):
            default = "needed" if parameter.required else shown(parameter.default)
            meaning = (parameter.help or "").replace("|", "\\|")
            rows.append(
                f"| {', '.join(f'`{name}`' for name in sorted(names, key=len, reverse=True))} | {default} | {meaning} |"
            )
    return "\n".join(rows) + "\n"


def shown(default: object) -> str:
    if default is None or default is False or default == "":
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def command_table() -> str:
    """The table of all commands, with the first line of what each says of itself."""
    rows = [f"| [{name}]({name}.md) | {(command.help or '').splitlines()[0]} |" for name, command in COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows]) + "\n"


def assert_has_table(page: Path, table: str) -> None:
    """``page`` holds ``table``, which begins with its own first line, and no other table that begins so."""
    text = page.read_text(encoding="utf-8")
    head = table.splitlines()[0]
    assert text.count(f"{head}\n") == 1, f"{page.name} needs one table that begins with {head}"
    found = text[text.index(head) :].partition("\n\n")[0].rstrip("\n") + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(text.replace(found, table), encoding="utf-8")
        found = table
    assert found == table, f"{page.name} is stale: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_with_all_of_its_options(command: str) -> None:
    page = DOCS / f"{command}.md"
    assert page.is_file(), f"docs/{command}.md is missing: write it"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# mslm {command}\n")
    assert f"mslm {command}" in text, f"docs/{command}.md has no example"
    if len(option_table(command).splitlines()) > 2:
        assert_has_table(page, option_table(command))


def test_the_index_lists_all_commands() -> None:
    assert_has_table(DOCS / "index.md", command_table())


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
    assert [kind for kind in MADE_BY if f"## {kind}" not in text] == []
