"""The states of the disk that a command leaves when its process dies, or the power goes, at any moment.

A process that dies leaves what is on the disk at that moment, so the states are recorded while it runs: before every
call that changes the disk, and around every fsync. A power loss keeps what was synced. Of the two ways in which it may
keep the rest, both extremes are recorded: names that are all there with what was synced of the files behind them, and
a folder that has the names of its last fsync.
"""

import hashlib
import json
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Tree = dict[str, str | None]
"""The SHA-256 of each file by its path, and None for a folder."""

_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class State(NamedTuple):
    """A state and how it comes about: killed, torn (killed in the midst of a write), lost or half-lost (power)."""

    cause: str
    call: int
    tree: Tree


class Recorder:
    """Writes down the states that arise in this process, below the working folder, under names that start with NAME."""

    def __init__(self, store: Path, name: str, dies_at: int | None = None) -> None:
        self._store, self._prefixes, self._dies_at = store, (name, f".{name}"), dies_at

    def __call__(self) -> None:
        """Begin; the process dies at call ``dies_at``, where one was given."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._n_calls, self._is_busy = 0, False
        self._held: dict[int, int] = {}  # an open file keeps its inode number from being used again
        self._content: dict[int, str] = {}  # what was synced of a file
        self._names: dict[int, dict[str, int]] = {}  # what was synced of a folder
        self._kinds: dict[int, bool] = {}
        self._seen: set[str] = set()
        self._lost: Tree | None = None
        self._store.mkdir(exist_ok=True)
        self._sync_all(Path())
        self._before = {self._inode(Path(path)): sha for path, sha in self._live(Path())}
        self._fsync = os.fsync
        os.fsync = self._synced
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_busy:
            return
        if event == "open":
            _, mode, flags = arguments
            if not (set("wax+") & set(mode) if isinstance(mode, str) else flags & _WRITING):
                return
        elif event not in _CHANGES:
            return
        self._observe()

    def _synced(self, descriptor: int) -> None:
        self._observe()
        self._fsync(descriptor)
        self._is_busy = True
        self._note_sync(Path(f"/proc/self/fd/{descriptor}").readlink())
        self._is_busy = False
        self._observe()

    def _observe(self) -> None:
        self._is_busy = True
        self._n_calls += 1
        if self._n_calls == self._dies_at:
            os._exit(86)
        live = dict(self._live(Path()))
        inodes = {path: Path(path).stat().st_ino for path in live}
        torn = {p: self._torn(sha, self._before.get(inodes[p])) for p, sha in live.items() if sha}
        self._before = {inodes[path]: sha for path, sha in live.items()}
        lost = dict(self._durable("", self._inode(Path())))
        if lost != self._lost:
            self._lost = lost
            with (self._store / "lost.jsonl").open("a") as file:
                file.write(json.dumps(lost) + "\n")
        for cause, tree in (
            ("killed", live),
            ("torn", live | torn),
            ("half-lost", {p: sha and self._content.get(inodes[p], _EMPTY) for p, sha in live.items()}),
            ("lost", lost),
        ):
            line = json.dumps(State(cause, self._n_calls, tree))
            key = json.dumps(tree, sort_keys=True)
            if key not in self._seen:
                self._seen.add(key)
                with (self._store / "states.jsonl").open("a") as file:
                    file.write(line + "\n")
        self._is_busy = False

    def _children(self, folder: Path) -> list[Path]:
        found = sorted(folder.iterdir())
        return found if folder != Path() else [p for p in found if p.name.startswith(self._prefixes)]

    def _live(self, folder: Path) -> Iterator[tuple[str, str | None]]:
        for path in self._children(folder):
            self._inode(path)
            if path.is_dir():
                yield str(path), None
                yield from self._live(path)
            else:
                yield str(path), self._keep(path.read_bytes())

    def _durable(self, folder: str, inode: int) -> Iterator[tuple[str, str | None]]:
        for name, child in self._names.get(inode, {}).items():
            path = f"{folder}{name}"
            if self._kinds[child]:
                yield path, None
                yield from self._durable(f"{path}/", child)
            else:
                yield path, self._content.get(child, _EMPTY)

    def _sync_all(self, folder: Path) -> None:
        """What is there at the beginning is on the disk."""
        self._note_sync(folder.absolute())
        for path in self._children(folder):
            if path.is_dir():
                self._sync_all(path)
            else:
                self._note_sync(path.absolute())

    def _note_sync(self, path: Path) -> None:
        if not path.is_relative_to(Path.cwd()):
            return
        path = path.relative_to(Path.cwd())
        if path.is_dir():
            self._names[self._inode(path)] = {child.name: self._inode(child) for child in self._children(path)}
        else:
            self._content[self._inode(path)] = self._keep(path.read_bytes())

    def _inode(self, path: Path) -> int:
        descriptor = os.open(path, os.O_PATH)
        inode = os.fstat(descriptor).st_ino
        self._kinds[inode] = path.is_dir()
        if inode in self._held:
            os.close(descriptor)
        else:
            self._held[inode] = descriptor
        return inode

    def _keep(self, content: bytes) -> str:
        sha = hashlib.sha256(content).hexdigest()
        if not (self._store / sha).exists():
            (self._store / sha).write_bytes(content)
        return sha

    def _torn(self, sha: str, before: str | None) -> str:
        """Half of what was written since; what was appended to is not lost."""
        content = (self._store / sha).read_bytes()
        old = (self._store / before).read_bytes() if before else b""
        n_old = len(old) if content.startswith(old) else 0
        return self._keep(content[: (n_old + len(content)) // 2])


_EMPTY = hashlib.sha256(b"").hexdigest()


def recorded(store: Path) -> list[State]:
    """The states in ``store``, in their order, each tree once."""
    (store / _EMPTY).write_bytes(b"")
    return [State(*json.loads(line)) for line in (store / "states.jsonl").read_text().splitlines()]


def durable(store: Path) -> list[Tree]:
    """What a power loss would have left, over time; the last is right after the command."""
    return [json.loads(line) for line in (store / "lost.jsonl").read_text().splitlines()]


def restore(tree: Tree, store: Path) -> None:
    """Make ``tree`` in the working folder, from a store that has its files."""
    for name, sha in tree.items():
        if sha is None:
            Path(name).mkdir(mode=0o700)
        else:
            shutil.copyfile(store / sha, name)
