"""Result lines of benchmarks that go cell by cell: a line of JSON for each, and none is made twice."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of ``file``; none if it does not exist."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def measure_missing(cells: Sequence[str], file: Path, measure: Callable[[str], dict[str, Any]]) -> None:
    """Append the line of each cell that ``file`` does not have."""
    known = {line["cell"] for line in read(file)}
    for cell in dict.fromkeys(cells):
        if cell not in known:
            line = json.dumps({"cell": cell, **measure(cell)})
            with file.open("a", encoding="utf-8") as out:
                out.write(line + "\n")
