"""Running work over items on a Ray cluster."""

import importlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from mslm_cli.errors import UnavailableError
from mslm_cli.execution.work import Item, Lost, Prepare, Result, collect_rarely

_MAX_RETRIES = 4
_prepared: dict[str, Callable[[Any], Any]] = {}


class RayCluster:
    """Runs items as tasks of one core each; Ray runs those again whose worker or node was lost.

    Args:
        address: of the cluster; ``auto`` is the one on this machine, which is started if there is none.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UnavailableError("--ray needs Ray, which is not installed", hint="pip install 'mslm[ray]'") from error
        self._ray = ray
        # messages about lost workers would be printed on standard output, among the results
        ray_worker: Any = importlib.import_module("ray._private.worker")
        ray_worker.print_to_stdstream = lambda *_, **__: None
        self._check_address()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if self._address == "auto" and not os.environ.get("RAY_ADDRESS"):
                try:
                    ray.init(address="auto", **options)
                except ConnectionError:
                    ray.init(include_dashboard=False, **options)
            else:
                ray.init(address=self._address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UnavailableError(
                f"--ray {self._address}: {reason}", hint="start one with `ray start --head`"
            ) from error
        for number, handler in before.items():  # Ray sets one of its own
            signal.signal(number, handler)
        self._work = ray.remote(max_retries=_MAX_RETRIES, num_cpus=1)(_work)
        return self

    def _check_address(self) -> None:
        """Ray would wait for minutes for a cluster that is not there.

        Raises:
            UnavailableError: nothing answers at the address.
        """
        host, colon, port = self._address.rpartition(":")
        if not colon or "/" in host or not port.isdigit():
            return
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            hint = "start a cluster with `ray start --head`, or use --ray auto"
            raise UnavailableError(f"--ray {self._address}: {error.strerror or error}", hint=hint) from error

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def map_in_order(self, prepare: Prepare[Item, Result], items: Iterable[Item]) -> Iterator[Result | Lost]:
        """See ``processes.Executor``."""
        shared, folder = self._ray.put(prepare), Path.cwd()
        n_ahead = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        waiting: deque[tuple[Item, Any]] = deque()
        for item in items:
            waiting.append((item, self._work.remote(shared.hex(), shared, item, folder)))
            if len(waiting) == n_ahead:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _result(self, item: Any, task: Any) -> Any:
        try:
            return self._ray.get(task)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.OutOfMemoryError):
            return Lost(item)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error  # what the function raised


def _work(name: str, prepare: Prepare[Any, Any], item: Any, folder: Path) -> Any:
    """The result of ``item``; relative paths start at ``folder``, not where the cluster was started."""
    with suppress(OSError):  # absolute paths are found without it
        os.chdir(folder)
    if name not in _prepared:
        collect_rarely()
        _prepared.clear()  # a process works on one map at a time
        _prepared[name] = prepare()
    return _prepared[name](item)
