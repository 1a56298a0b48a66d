"""The primary metric of a task."""

from typing import NamedTuple


class Metric(NamedTuple):
    """The score that selects the best epoch: its key in the dev scores, and its user-facing name."""

    key: str
    title: str
