"""The table of tasks: built-in tasks and those of installed packages."""

from mslm_cli.errors import UsageError
from mslm_cli.plugins import Table
from mslm_cli.tasks.documents import DOCUMENTS
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.relations import RELATIONS
from mslm_cli.tasks.task import Task

TASKS: Table[Task] = Table("mslm.tasks", Task, [(task.name, task) for task in (NER, RELATIONS, DOCUMENTS)])


def find_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: the task is unknown.
        UnavailableError: the package of the task is broken.
    """
    if name not in TASKS.names():
        raise UsageError(f"--task {name}: unknown task", hint=f"tasks: {', '.join(sorted(TASKS.names()))}")
    return TASKS[name]
