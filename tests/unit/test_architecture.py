"""The house keeps standing: imports point down, heavy libraries stay in their rooms, files stay small."""

import ast
import functools
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mslm_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    {"__main__"},
    {"cli"},
    {"studies"},
    {"stages"},
    {"tasks"},
    {"reporting"},
    {"training", "evaluation", "sequences"},
    {"config"},
    {"masking", "terms", "corpus"},
    {"text"},
    {"workspace"},
    {"artifacts"},
    {
        "allocator",
        "bert_tokenizer",
        "code_identity",
        "config",
        "console",
        "environment",
        "errors",
        "execution",
        "fsio",
        "models",
        "options",
        "plugins",
        "provenance",
        "signals",
    },
]
"""From the top; a module may import from its own room and from lower layers, not from a room beside it."""

ROOMS = {
    "torch": {"training", "stages"},
    "safetensors": {"training"},
    "transformers": {"training", "tasks", "stages", "models"},
    "tokenizers": {"sequences", "models", "bert_tokenizer"},
    "spacy": {"terms", "corpus", "text"},
    "scispacy": {"terms"},
    "thinc": {"terms"},
    "threadpoolctl": {"terms"},
    "nmslib": {"terms"},
    "sklearn": {"terms"},
    "wordfreq": {"terms"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting"},
    "ahocorasick_rs": {"terms", "corpus"},
    "rensa": {"corpus"},
    "pyarrow": {"masking", "corpus", "terms"},
    "huggingface_hub": {"models"},
    "optuna": {"studies"},
    "sqlalchemy": {"studies"},
    "pydantic": {"options", "artifacts", "corpus", "masking", "terms", "config", "cli", "studies"},
    "typer": {"cli"},
    "rich": {"console"},
}
LAZY = {
    *("matplotlib", "jinja2", "spacy", "scispacy", "thinc", "threadpoolctl", "nmslib", "sklearn", "wordfreq"),
    *("optuna", "sqlalchemy", "rensa"),
}
"""Imported inside functions only, so that who needs them not, has them not."""


installed = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="the package is not installed with all that it declares"
)


def room(module: str) -> str:
    """``mslm_cli.terms.matcher`` is in ``terms``, ``mslm_cli.fsio`` in ``fsio``, the package itself in no room."""
    return ".".join(module.split(".")[1:2])


def layer(module: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room(module) in rooms)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def imports(path: Path, *, at_import_only: bool = False) -> tuple[str, ...]:
    """Full names of what a file imports, those for type checkers alone left out."""
    return tuple(_imports(path, at_import_only=at_import_only))


def _imports(path: Path, *, at_import_only: bool) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if at_import_only and isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are written out"
            is_package = node.module == "mslm_cli" or (PACKAGE.parent / Path(*str(node.module).split("."))).is_dir()
            yield from (f"{node.module}.{a.name}" if is_package else str(node.module) for a in node.names)
        waiting += ast.iter_child_nodes(node)


def test_every_module_has_a_layer() -> None:
    assert [
        str(path) for path in FILES if room(module_name(path)) and not any(room(module_name(path)) in x for x in LAYERS)
    ] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = module_name(path)
    for imported in imports(path):
        if not imported.startswith("mslm_cli.") or not room(own):
            continue
        if room(imported) == room(own):
            assert room(own) != "stages", f"{own} imports {imported}: stages never import stages"
        elif layer(own) == len(LAYERS) - 1:
            assert layer(imported) == layer(own), f"{own} imports {imported}, which is above it"
        else:
            assert layer(imported) > layer(own), f"{own} imports {imported}, which is not below it"


def test_only_the_top_runs_stages_in_sequence() -> None:
    for path in FILES:
        used = {imported for imported in imports(path) if imported.startswith("mslm_cli.stages.")}
        if room(module_name(path)) != "studies":
            assert len(used) <= 1, f"{module_name(path)} imports several stages: {sorted(used)}"


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_is_imported_only_in_its_packages(library: str) -> None:
    found = {room(module_name(path)) for path in FILES if library in {name.split(".")[0] for name in imports(path)}}
    assert found <= ROOMS[library]
    assert found, f"{library} is imported nowhere"


@pytest.mark.parametrize("library", sorted(LAZY))
def test_heavy_and_optional_libraries_are_imported_late(library: str) -> None:
    for path in FILES:
        early = {name.split(".")[0] for name in imports(path, at_import_only=True)}
        assert library not in early, f"{module_name(path)} imports {library} when it is imported"


def test_no_file_grows_beyond_500_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500}
    assert long == {}


def test_there_is_no_junk_drawer() -> None:
    assert [path.name for path in FILES if path.stem in {"utils", "helpers", "misc", "common"}] == []


def declared() -> list[str]:
    """The distributions that pyproject.toml says the package needs here."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    needs = [Requirement(line) for line in lines]
    return list(dict.fromkeys(need.name for need in needs if need.marker is None or need.marker.evaluate()))


@installed
def test_every_declared_dependency_can_be_imported_in_one_process() -> None:
    providers = importlib.metadata.packages_distributions()
    modules = {
        name: sorted(
            module for module, names in providers.items() if name in {n.lower().replace("_", "-") for n in names}
        )
        for name in declared()
    }
    importable = {name: [m for m in found if re.fullmatch(r"[a-z]\w*", m)] for name, found in modules.items()}
    assert not [name for name, found in importable.items() if not found]
    names = [found[0] if name not in found else name for name, found in importable.items()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {', '.join(names)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@installed
def test_everything_imported_is_declared() -> None:
    used = {name.split(".")[0] for path in FILES for name in imports(path)} - sys.stdlib_module_names - {"mslm_cli"}
    providers = importlib.metadata.packages_distributions()
    dependencies = set(declared())
    for module in used - {"scispacy", "nmslib"}.difference(providers):
        names = {name.lower().replace("_", "-") for name in providers[module]}
        assert names & dependencies, f"{module} is imported and not declared"


@installed
def test_every_console_script_resolves() -> None:
    scripts = [s for s in importlib.metadata.entry_points(group="console_scripts") if s.value.startswith("mslm_cli")]
    assert [script.name for script in scripts] == ["mslm"]
    assert all(callable(script.load()) for script in scripts)
