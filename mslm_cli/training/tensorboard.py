"""Metrics for TensorBoard, in addition to metrics.jsonl."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mslm_cli.errors import UnavailableError
from mslm_cli.training import ranks


@contextmanager
def tensorboard_writer(folder: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that writes a line of metrics.jsonl to ``folder`` as TensorBoard events; no-op without folder.

    Raises:
        UnavailableError: TensorBoard is not installed.
    """
    if not folder or not ranks.is_first():
        yield lambda _: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnavailableError(
            "--tensorboard: TensorBoard is not installed", hint="pip install 'mslm[tensorboard]'"
        ) from error
    with SummaryWriter(folder) as writer:

        def show(record: dict[str, Any]) -> None:
            for name, value in _numbers(record):
                writer.add_scalar(name, value, record["step"])

        yield show


def _numbers(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield f"{prefix}{name}", value
