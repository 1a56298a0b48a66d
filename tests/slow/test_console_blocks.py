"""Every console block of the README and the manual prints what it says.

The blocks are run in one folder, page after page, as a reader would; a command that pages share is run once. Where
training decides the numbers, and with them the processor, lines are compared with their numbers left out. A line
``...`` stands for any lines. ``UPDATE_GOLDEN=1`` writes the output anew, of blocks without ``...``.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRST = ("tour", "extract-terms", "match", "preprocess", "show-masks", "adapt", "finetune", "eval", "predict", "probe")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TRAINED = re.compile(r"mslm (adapt|finetune|eval ner|predict|probe|compare|demo|study|sweep)|mentions\.jsonl")
NUMBER = re.compile(r"[-+]?\d[\d,.]*(e-\d+)?")


def pages() -> list[Path]:
    docs = [ROOT / "docs" / f"{name}.md" for name in FIRST]
    elsewhere = ROOT / "docs" / "metrics.md"  # tests/cli/test_docs_metrics.py
    rest = [page for page in sorted((ROOT / "docs").glob("*.md")) if page not in (*docs, elsewhere)]
    return [ROOT / "README.md", *docs, *rest]


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a block (continuation lines joined) with the output under it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        lines = part.split("\n")
        n = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
        found.append(("\n".join(lines[:n]), "\n".join(lines[n:]).strip("\n")))
    return found


def run(command: str, folder: Path) -> str:
    """What a shell shows; standard output comes last, as the pages have it."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"COLUMNS": "80", "PATH": tools, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    shown = f"{done.stderr}{done.stdout}"
    return "\n".join(line.rstrip() for line in shown.splitlines())


def normalised(text: str, *, is_trained: bool) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    return [" ".join(NUMBER.sub("#", line).split()) for line in lines] if is_trained else lines


def matches(shown: list[str], expected: list[str]) -> bool:
    """Whether ``shown`` has the lines of ``expected``, ``...`` standing for any lines."""
    pattern = "".join(r"(.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in shown)) is not None


@pytest.mark.slow
def test_every_console_block_prints_what_it_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("reader")
    seen: dict[str, str] = {}
    (folder / "resources").symlink_to(ROOT / "resources")
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for name, content in re.findall(r"^```text (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        for block in BLOCK.findall(text):
            new = ""
            for command, expected in commands(block):
                if command not in seen:
                    for output in re.findall(r" -o (\S+)", command):  # of another page
                        shutil.rmtree(folder / output, ignore_errors=True)
                    seen[command] = run(command, folder)
                shown = seen[command]
                is_trained = TRAINED.search(command) is not None
                asked = normalised(expected, is_trained=is_trained)
                if "..." not in asked and os.environ.get("UPDATE_GOLDEN"):
                    expected = shown
                elif not matches(normalised(shown, is_trained=is_trained), asked):
                    stale.append(f"{page.name}: $ {command}\n{shown}")
                new += f"$ {command}\n{expected}\n" if expected else f"$ {command}\n"
            if os.environ.get("UPDATE_GOLDEN"):
                text = text.replace(block, new)
        if os.environ.get("UPDATE_GOLDEN"):
            page.write_text(text, encoding="utf-8")
    assert not stale, "UPDATE_GOLDEN=1 writes the blocks anew, after a look at:\n" + "\n\n".join(stale)
