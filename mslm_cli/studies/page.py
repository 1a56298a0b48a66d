"""The page of a study."""

import html
from pathlib import Path
from typing import Any

from mslm_cli import fsio


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the page of a verdict to ``path``."""
    fsio.write_text(path, f"<!doctype html><meta charset=utf-8><p>{html.escape(found['sentence'])}</p>\n")
