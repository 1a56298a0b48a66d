"""The entry point of ``mslm`` and of ``python -m mslm_cli``."""

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module


def main() -> None:
    """Run the command line; a signal at any time, even while modules are imported, ends it with 130 or 143."""
    try:
        from mslm_cli.execution.work import collect_rarely

        collect_rarely()
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # not if the parent process ignores it
            signal.signal(signal.SIGTERM, _stop)
        _open_closed_streams()
        from mslm_cli.cli._command import COMMANDS, app

        # the options of all commands take as long to set up as a short command runs; help lists them all
        import_module(f"mslm_cli.cli.{COMMANDS.get(sys.argv[1] if sys.argv[1:] else '', 'app')}")
        app(prog_name="mslm")
    except KeyboardInterrupt:
        _end("interrupted", 130)


def _stop(number: int, frame: object) -> None:
    _end("terminated", 143)


def _end(reason: str, exit_code: int) -> None:
    with suppress(OSError):
        os.write(2, f"error: {reason}\n".encode())
    os._exit(exit_code)  # modules may be half imported


def _open_closed_streams() -> None:
    """Open /dev/null for closed standard streams, or the next files that are opened would take their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - it lives on as standard input
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as above
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")  # names of files need not be UTF-8


if __name__ == "__main__":
    main()
