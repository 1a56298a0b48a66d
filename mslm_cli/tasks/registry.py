"""The table of tasks: those that ship, and those that installed packages add."""

from mslm_cli.errors import UsageError
from mslm_cli.plugins import Table
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.task import Task

TASKS: Table[Task] = Table("mslm.tasks", Task, [(NER.name, NER)])


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: there is none.
        UnavailableError: the package that adds it is broken.
    """
    if name not in TASKS.names():
        raise UsageError(f"--task {name}: there is no such task", hint=f"tasks: {', '.join(sorted(TASKS.names()))}")
    return TASKS[name]
