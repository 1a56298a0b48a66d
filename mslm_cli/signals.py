"""Handling of SIGTERM and Ctrl-C: stop cleanly, at once or when the work is ready."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]


class Terminated(BaseException):
    """SIGTERM was received. Like KeyboardInterrupt, it is not an Exception."""


_RAISED: dict[signal.Signals, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
}


@contextmanager
def raising() -> Iterator[None]:
    """Make SIGTERM raise ``Terminated`` within the block, as Ctrl-C raises KeyboardInterrupt, so cleanup runs."""
    with _handled({signal.SIGTERM: _raise}):
        yield


@dataclass
class Request:
    """A pending request to stop, to be obeyed when the work is ready."""

    received: signal.Signals | None = None

    @property
    def is_made(self) -> bool:
        return self.received is not None

    def obey(self) -> None:
        """Raise KeyboardInterrupt or ``Terminated`` if stopping was requested."""
        if self.received is not None:
            raise _RAISED[self.received]


@contextmanager
def deferred() -> Iterator[Request]:
    """Defer the first SIGTERM or Ctrl-C within the block until ``obey`` or the end of the block; a second raises."""
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        if request.is_made:
            _raise(number, frame)
        request.received = signal.Signals(number)

    with _handled(dict.fromkeys(_RAISED, note)):
        yield request
    request.obey()


def _raise(number: int, _: FrameType | None) -> None:
    raise _RAISED[signal.Signals(number)]


@contextmanager
def _handled(handlers: dict[signal.Signals, _Handler]) -> Iterator[None]:
    """Set the handlers within the block, except for signals that the parent process set to be ignored."""
    if threading.current_thread() is not threading.main_thread():  # others cannot set handlers
        yield
        return
    wanted = {number: handler for number, handler in handlers.items() if signal.getsignal(number) != signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
