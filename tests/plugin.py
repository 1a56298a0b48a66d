"""A package that is installed for one test: a module, and the metadata that announce its entry points."""

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

from mslm_cli import plugins


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, code: str) -> None:
    """Install a package ``mslm-toy`` whose module ``mslm_toy`` holds ``code`` and offers its ``ENTRY`` as ``name``."""
    metadata = folder / "mslm_toy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mslm-toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = mslm_toy:ENTRY\n")
    (folder / "mslm_toy.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "mslm_toy", raising=False)
    importlib.invalidate_caches()
    # what is installed is looked up once in a process
    monkeypatch.setattr(plugins, "installed", plugins.installed.__wrapped__)
