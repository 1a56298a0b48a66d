"""A package that is installed for one test: a module, and the metadata that announce its entry points."""

import importlib
import inspect
import sys
import textwrap
from pathlib import Path

import pytest

from mslm_cli import plugins


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, code: str, *, module: str = "mslm_toy"
) -> None:
    """Install a package (``mslm-toy``) whose ``module`` holds ``code`` and offers its ``ENTRY`` as ``name``."""
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    package = module.replace("_", "-")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:ENTRY\n")
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    importlib.invalidate_caches()
    # what is installed is looked up once in a process
    monkeypatch.setattr(plugins, "installed", inspect.unwrap(plugins.installed))
