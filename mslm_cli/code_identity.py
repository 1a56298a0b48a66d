"""The identity of the code that makes an artifact: hashes of modules and resources that determine its content.

Modules are hashed by syntax tree, so comments, docstrings and formatting do not count. Neither does reporting: error
messages, calls of ``console``, functions named ``report...`` or ``_report...``, and the modules in ``_REPORTING``. The
modules of a stage are found through their imports, so a new module counts as soon as it is imported. Options enter an
artifact's fingerprint by their values and do not count here.

What is found in a source file is kept in the user's cache, by the hash of its bytes: parsing all modules of a stage
takes longer than starting it.
"""

import ast
import hashlib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mslm_cli import fsio, plugins
from mslm_cli.errors import UnavailableError

_PACKAGE = "mslm_cli"
_ENTRY = {
    "lexicon": "mslm_cli.stages.extract_terms",
    "shards": "mslm_cli.stages.preprocess",
    "encoder": "mslm_cli.stages.adapt",
    "ner": "mslm_cli.stages.finetune",
    "eval": "mslm_cli.stages.evaluate",
    "silver": "mslm_cli.stages.label",
    "probe": "mslm_cli.stages.probe",
    "split": "mslm_cli.studies.resampled_data",
    "sample": "mslm_cli.studies.resampled_data",
    "augment": "mslm_cli.studies.resampled_data",
}
"""The entry module of each kind of artifact and each stage of a study."""

STAGES = tuple(_ENTRY)

_FILES = {"matches": "mslm_cli.stages.match", "mentions": "mslm_cli.stages.predict"}
"""The entry module of each kind of output file that an unfinished run can be resumed for."""

_CONTENT_PACKAGES = frozenset(
    (
        "stages",
        "tasks",
        "masking",
        "terms",
        "text",
        "corpus",
        "evaluation",
        "training",
        "sequences",
        "models",
        "bert_tokenizer",
    )
)
"""Packages that determine content; of ``studies``, only the entry modules do."""

_REPORTING = {
    "mslm_cli.evaluation.tables",
    "mslm_cli.terms.display",
    "mslm_cli.training.checkpoint",
    "mslm_cli.training.flops",
    "mslm_cli.training.model_card",
    "mslm_cli.training.tensorboard",
}
"""Modules in these packages that only observe or resume a run and do not affect its result."""

_PLUGINS = {"strategy": "mslm.strategies", "format": "mslm.formats", "task": "mslm.tasks"}
"""Options that name a plug-in, and their groups of entry points."""

_CACHE, _MAX_KEPT = "code.json", 2000

Sources = Mapping[str, str]
"""The first 16 hexadecimal digits of a SHA-256, by module or resource."""


def sources_of(kind: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the code that makes an artifact of this kind with these options.

    The modules of a plug-in count if an option names it or is ``auto``.

    Args:
        kind: an artifact kind, a stage of a study, or a kind of output file.

    Raises:
        UnavailableError: the source of a plug-in is missing.
    """
    sources = dict(_closure((_ENTRY | _FILES)[kind]))
    for option, group in _PLUGINS.items():
        if option in options:
            for entry in plugins.installed(group).values():
                if options[option] in (entry.name, "auto"):
                    sources |= _closure(entry.module)
    return sources


def difference(before: Sources, after: Sources) -> list[str]:
    """Short names of modules and resources that differ or are in only one; plug-ins keep their full names."""
    return _short(name for name in {*before, *after} if before.get(name) != after.get(name))


def changed(before: Sources, after: Sources) -> list[str]:
    """As ``difference``, but only for names in both."""
    return _short(name for name in before.keys() & after.keys() if before[name] != after[name])


def shortlist(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:4]) + ", ..." * (len(names) > 4)


def _short(names: Iterable[str]) -> list[str]:
    return [name.removeprefix(f"{_PACKAGE}.") for name in sorted(names)]


@lru_cache(maxsize=32)
def _closure(entry: str) -> dict[str, str]:
    """The hashes of ``entry``, of everything it imports from its own package, and of the resources they read."""
    top = entry.partition(".")[0]
    kept = _kept()
    n_kept = len(kept)
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        path = _path_of(module)
        if path is None:
            if module == entry:
                raise UnavailableError(f"the source code of {module} cannot be found")
            continue
        source = path.read_bytes()
        key = hashlib.sha256(source).hexdigest()
        if key not in kept:
            kept[key] = _parsed(source)
        found[module] = kept[key].hash
        for name in kept[key].texts:
            if fsio.resource(name).exists():
                found[f"resource {name}"] = _resource_hash(name)
        waiting += [name for name in kept[key].imported if name.partition(".")[0] == top and _decides_content(name)]
    if len(kept) > n_kept:
        _keep(kept)
    return found


def _decides_content(module: str) -> bool:
    parts = module.split(".")
    return parts[0] != _PACKAGE or (len(parts) > 1 and parts[1] in _CONTENT_PACKAGES and module not in _REPORTING)


def _path_of(module: str) -> Path | None:
    """The source file of a module; None if there is none, as for a class imported from a module."""
    if module.partition(".")[0] == _PACKAGE:  # found without importing its packages
        path = Path(__file__).parent.joinpath(*module.split(".")[1:])
        candidates = [path.with_suffix(".py"), path / "__init__.py"]
        return next((c for c in candidates if c.is_file()), None)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


class _Module(NamedTuple):
    """What is found in a source file.

    hash: of its syntax tree. imported: modules, or names in them. texts: what can be the names of resources it reads.
    """

    hash: str
    imported: Sequence[str]
    texts: Sequence[str]


@cache
def _kept() -> dict[str, _Module]:
    """The modules in the user's cache, by the hash of their source; none if another version of this module wrote it."""
    try:
        found = json.loads((fsio.cache_folder() / _CACHE).read_bytes())
        modules = {key: _Module(*module) for key, module in found["modules"].items()}
        return modules if found["by"] == _own_hash() else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(modules: Mapping[str, _Module]) -> None:
    """Write the last of the modules to the user's cache, if it is writable."""
    newest = dict(list(modules.items())[-_MAX_KEPT:])
    with suppress(OSError):
        fsio.make_folder(fsio.cache_folder())
        fsio.write_text(fsio.cache_folder() / _CACHE, json.dumps({"by": _own_hash(), "modules": newest}) + "\n")


def _own_hash() -> str:
    return fsio.sha256_of(Path(__file__))


def _parsed(source: bytes) -> _Module:
    tree = ast.parse(source)
    imported: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    texts: set[str] = set()
    if b"fsio.resource" in source and any(map(_reads_resource, ast.walk(tree))):
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    canonical: list[str] = []
    _canonical(tree, canonical)
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    return _Module(digest[:16], imported, sorted(filter(_can_be_resource, texts)))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements of a module breadth first: as ``ast.walk``, without the expressions in them."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for name in ("cases", "body", "handlers", "orelse", "finalbody"):
            waiting.extend(getattr(node, name, ()))


def _reads_resource(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "fsio.resource"


def _canonical(value: object, parts: list[str]) -> None:
    """Append a syntax tree, without reporting, to ``parts``: as text that is the same in every version of Python."""
    if isinstance(value, list):
        for item in value:
            _canonical(item, parts)
    elif isinstance(value, ast.Raise):
        parts.append("raise")
    elif isinstance(value, ast.AST):
        if isinstance(value, ast.Expr | ast.FunctionDef) and _only_reports(value):
            return
        parts.append(type(value).__name__)
        for name in value._fields:
            child = getattr(value, name, None)
            if child is not None and child != []:
                parts.append(name)
                _canonical(child, parts)
        parts.append("end")
    else:
        parts.append(repr(value))


def _only_reports(node: ast.Expr | ast.FunctionDef) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name.lstrip("_").startswith("report")
    call = node.value
    is_text = isinstance(call, ast.Constant) and isinstance(call.value, str)
    return is_text or (isinstance(call, ast.Call) and ast.unparse(call.func).startswith("console."))


def _can_be_resource(text: str) -> bool:
    """Whether ``text`` can be the name of a file or folder in ``resources/``."""
    return re.fullmatch(r"[\w-]+(\.\w+)?", text) is not None


@lru_cache(maxsize=64)
def _resource_hash(name: str) -> str:
    path = fsio.resource(name)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    listing = [(file.relative_to(path).as_posix(), fsio.sha256_of(file)) for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
