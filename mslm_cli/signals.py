"""What SIGTERM and Ctrl-C do: end the work in good order, at once or when it is ready."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]


class Terminated(BaseException):
    """The process was asked to end by SIGTERM. As KeyboardInterrupt, it is none of the Exceptions."""


_RAISED: dict[signal.Signals, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
}


@contextmanager
def raising() -> Iterator[None]:
    """Have SIGTERM raise ``Terminated`` in the block, as Ctrl-C raises KeyboardInterrupt, so that it is cleaned up."""
    with _handled({signal.SIGTERM: _raise}):
        yield


@dataclass
class Request:
    """A request to end the work that waits until the work is ready."""

    received: signal.Signals | None = None

    @property
    def is_made(self) -> bool:
        return self.received is not None

    def obey(self) -> None:
        """Raise KeyboardInterrupt or ``Terminated``, if there is a request."""
        if self.received is not None:
            raise _RAISED[self.received]


@contextmanager
def deferred() -> Iterator[Request]:
    """Hold the first SIGTERM or Ctrl-C back in the block, until it is obeyed or the block ends; a second one raises."""
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
    """Set the handlers in the block, but for signals that whoever started the process has it ignore."""
    if threading.current_thread() is not threading.main_thread():  # which may not, and gets no signals either
        yield
        return
    wanted = {number: handler for number, handler in handlers.items() if signal.getsignal(number) != signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
