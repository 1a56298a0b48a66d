"""The log of a training, for comparisons of one with another."""

import json
from pathlib import Path
from typing import Any

CLOCK = ("tokens_per_s", "mfu", "seconds")


def logged(output: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, all of them strict JSON, without what depends on the clock."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = (output / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in records]
