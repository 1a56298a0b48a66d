"""Counts that can be made part by part and added up."""

from collections import Counter, defaultdict
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass
class Tables:
    """Base class of integer counts, which can be added in any order.

    The fields of a subclass are integers, counters, ``defaultdict(Counter)``, or other ``Tables``.
    """

    def add(self, other: Self) -> None:
        """Add the counts of ``other`` to these."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, int):
                setattr(self, field.name, mine + theirs)
            elif isinstance(mine, Tables):
                mine.add(theirs)
            elif isinstance(mine, Counter):
                mine.update(theirs)
            else:
                for key, counts in theirs.items():
                    mine[key].update(counts)

    def to_json(self) -> dict[str, Any]:
        """These counts as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.to_json() if isinstance(value, Tables) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The counts that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: the values have a different structure.
        """
        counts = cls()
        for field in fields(cls):
            empty, value = getattr(counts, field.name), found[field.name]
            if isinstance(empty, Tables):
                value = empty.from_json(value)
            elif isinstance(empty, Counter):
                value = Counter(value)
            elif isinstance(empty, defaultdict):
                value = defaultdict(Counter, {key: Counter(inner) for key, inner in value.items()})
            setattr(counts, field.name, value)
        return counts
