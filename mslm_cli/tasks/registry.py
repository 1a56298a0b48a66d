"""The table of tasks: built-in tasks and those of installed packages."""

from mslm_cli.errors import UsageError
from mslm_cli.plugins import Table
from mslm_cli.tasks.ner import NER
from mslm_cli.tasks.task import Task


def _relations() -> Task:
    from mslm_cli.tasks.relations import RELATIONS

    return RELATIONS


def _documents() -> Task:
    from mslm_cli.tasks.documents import DOCUMENTS

    return DOCUMENTS


# the others import transformers, which a model for entities can do without
TASKS: Table[Task] = Table("mslm.tasks", Task, [(NER.name, NER)], {"relations": _relations, "documents": _documents})


def find_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: the task is unknown.
        UnavailableError: the package of the task is broken.
    """
    if name not in TASKS.names():
        raise UsageError(f"--task {name}: unknown task", hint=f"tasks: {', '.join(sorted(TASKS.names()))}")
    return TASKS[name]
