"""The table of tasks: those that ship, and those that installed packages add."""

from importlib import metadata

from mslm_cli.errors import UnavailableError, UsageError
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.task import METHODS, Task

GROUP = "mslm.tasks"
"""Entry points of this group name an object that is a ``Task``."""

_TASKS: dict[str, Task] = {NER.name: NER}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: there is none, or several packages add one.
        UnavailableError: the package that adds it is broken.
    """
    if name in _TASKS:
        return _TASKS[name]
    points = metadata.entry_points(group=GROUP)
    found = [point for point in points if point.name == name]
    if not found:
        known = ", ".join(sorted({*_TASKS, *points.names}))
        raise UsageError(f"--task {name}: there is no such task", hint=f"tasks: {known}")
    if len(found) > 1:
        raise UsageError(f"--task {name}: several packages add it: {', '.join(sorted(map(_origin, found)))}")
    return _load(found[0])


def _load(point: metadata.EntryPoint) -> Task:
    try:
        task: Task = point.load()
    except Exception as error:  # whatever a package does when it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnavailableError(f"task {point.name} of {_origin(point)} cannot be loaded: {reason}") from error
    if missing := [name for name in ("name", "metric", *METHODS) if not hasattr(task, name)]:
        raise UnavailableError(f"task {point.name} of {_origin(point)} is no task: it has no {', '.join(missing)}")
    if task.name != point.name:
        raise UnavailableError(f"task {point.name} of {_origin(point)} calls itself {task.name}")
    return task


def _origin(point: metadata.EntryPoint) -> str:
    """The package of an entry point, and what it names."""
    package = f"{point.dist.name} " if point.dist else ""
    return f"{package}({point.value})"
