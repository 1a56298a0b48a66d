"""Tables of named objects that installed packages can add to, through the entry points of a group.

A package adds to a table by declaring, in its pyproject.toml, an entry point whose name is the entry's name::

    [project.entry-points."mslm.formats"]
    docx = "my_package.docx:FORMAT"

Names are known without importing anything; a plug-in is imported when it is first used.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from mslm_cli.errors import UnavailableError

_T = TypeVar("_T")


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, in the order of their names."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def versions(group: str) -> dict[str, str]:
    """By name, the package and version of each entry point of a group; part of the fingerprint of what they made."""
    return {
        name: f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        for name, point in installed(group).items()
    }


class Table(Generic[_T]):
    """Objects of one type by name: those of plug-ins first, then ``built_in`` in their own order."""

    def __init__(self, group: str, kind: type, built_in: Iterable[tuple[str, _T]]) -> None:
        self.group = group
        self._kind = kind
        self._built_in = dict(built_in)

    def names(self) -> tuple[str, ...]:
        """All names: the built-in ones first, in their order."""
        return (*self._built_in, *(name for name in installed(self.group) if name not in self._built_in))

    def built_in(self) -> tuple[_T, ...]:
        """The built-in objects; what can be asked while no plug-in is to be imported."""
        return tuple(self._built_in.values())

    def __iter__(self) -> Iterator[_T]:
        """All objects, those of plug-ins first: who installs one wants it to be used.

        Raises:
            UnavailableError: a plug-in is broken, or has the name of a built-in entry.
        """
        yield from map(self._load, installed(self.group).values())
        yield from self._built_in.values()

    def __getitem__(self, name: str) -> _T:
        """The object of this name.

        Raises:
            KeyError: there is none.
            UnavailableError: the plug-in is broken.
        """
        return self._built_in[name] if name in self._built_in else self._load(installed(self.group)[name])

    def _load(self, point: EntryPoint) -> _T:
        package = point.dist.name if point.dist else point.value
        where = f"plug-in {point.name!r} of package {package} (entry point {point.value}, group {self.group})"
        hint = f"repair or uninstall {package}"
        if point.name in self._built_in:
            raise UnavailableError(f"{where}: mslm itself has {point.name!r}", hint=hint)
        try:
            found: _T = point.load()
        except Exception as error:  # whatever a stranger's module does when it is imported
            raise UnavailableError(f"{where} cannot be loaded: {type(error).__name__}: {error}", hint=hint) from error
        if not isinstance(found, self._kind):
            wanted, is_now = f"{self._kind.__module__}.{self._kind.__name__}", type(found).__name__
            raise UnavailableError(f"{where}: expected a {wanted}, found {is_now}", hint=hint)
        if (name := getattr(found, "name", None)) != point.name:
            raise UnavailableError(f"{where}: it calls itself {name!r}", hint=hint)
        return found
