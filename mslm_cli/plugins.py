"""Tables of named objects, which installed packages extend through entry points.

A package adds an object by declaring an entry point with the object's name in its pyproject.toml::

    [project.entry-points."mslm.formats"]
    docx = "my_package.docx:FORMAT"

Names are known without importing anything; a plug-in is imported on first use.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, TypeVar

from mslm_cli.errors import UnavailableError

_T = TypeVar("_T")


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


class Table(Generic[_T]):
    """Objects of one type by name: ``built_in`` ones and those of plug-ins.

    Args:
        late: built-in ones that are imported when they are first asked for.
    """

    def __init__(
        self,
        group: str,
        item_type: type,
        built_in: Iterable[tuple[str, _T]],
        late: Mapping[str, Callable[[], _T]] = MappingProxyType({}),
    ) -> None:
        self.group = group
        self._item_type = item_type
        self._built_in: dict[str, Callable[[], _T]] = {name: partial(_given, item) for name, item in built_in} | dict(
            late
        )

    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first."""
        return (*self._built_in, *(name for name in installed(self.group) if name not in self._built_in))

    def built_in(self) -> tuple[_T, ...]:
        """The built-in objects; what can be asked while no plug-in is to be imported."""
        return tuple(get() for get in self._built_in.values())

    def __iter__(self) -> Iterator[_T]:
        """All objects, plug-ins first: whoever installs one wants it to be used.

        Raises:
            UnavailableError: a plug-in is broken, or has the name of a built-in entry.
        """
        yield from map(self._load, installed(self.group).values())
        yield from self.built_in()

    def __getitem__(self, name: str) -> _T:
        """The object called ``name``.

        Raises:
            KeyError: the name is unknown.
            UnavailableError: the plug-in is broken.
        """
        return self._built_in[name]() if name in self._built_in else self._load(installed(self.group)[name])

    def _load(self, point: EntryPoint) -> _T:
        package = point.dist.name if point.dist else point.value
        where = f"plug-in {point.name!r} of package {package} (entry point {point.value}, group {self.group})"
        hint = f"repair or uninstall {package}"
        if point.name in self._built_in:
            raise UnavailableError(f"{where}: {point.name!r} is built into mslm", hint=hint)
        try:
            found: _T = point.load()
        except Exception as error:  # a third-party module can raise anything on import
            raise UnavailableError(f"{where} cannot be loaded: {type(error).__name__}: {error}", hint=hint) from error
        if not isinstance(found, self._item_type):
            wanted, actual = f"{self._item_type.__module__}.{self._item_type.__name__}", type(found).__name__
            raise UnavailableError(f"{where}: expected a {wanted}, found {actual}", hint=hint)
        if (name := getattr(found, "name", None)) != point.name:
            raise UnavailableError(f"{where}: its name is {name!r}", hint=hint)
        return found


def _given(item: _T) -> _T:
    return item
