"""docs/relations.md: its files are read, and its commands run in their order, on a small encoder."""

import re
from collections.abc import Callable
from pathlib import Path

import relation_data
from typer.testing import Result

PAGE = Path(__file__).parents[2] / "docs" / "relations.md"
SMALL = "--model encoder --epochs 1 --learning-rate 0.02 --tokens-per-step 128 --threads 1".split()  # noqa: SIM905


def test_the_commands_of_the_page_run_in_their_order(related_workplace: Path, mslm: Callable[..., Result]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"```text (\S+)\n(.*?)```", text, re.DOTALL)
    relation_data.write_brat(related_workplace)
    for name, content in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    Path("note.txt").write_text(dict(files)["train/1.txt"])
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) >= 10
    for command in [*commands, "eval relations --data pairs.jsonl"]:
        arguments = command.removeprefix("mslm ").split()
        done = mslm(*arguments, *(SMALL if arguments[0] == "finetune" else ()))
        assert done.exit_code == 0, f"{command}: {done.stderr}"
    assert Path("found/1.ann").is_file() or list(Path("found").glob("*.ann"))
