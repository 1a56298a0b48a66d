"""Work spread over processes: in order, few items ahead, again after a death, with errors that say what happened."""

import operator
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mslm_cli.errors import UnavailableError
from mslm_cli.execution.executor import executor
from mslm_cli.execution.work import Lost
from mslm_cli.execution.workers import run_in_parallel
from mslm_cli.terms.pipeline import load_pipeline

UPPER = partial(operator.methodcaller, "upper")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_whatever_the_number_of_workers(workers: int) -> None:
    words = [f"word {number}" for number in range(50)]
    with executor(workers) as run:
        assert list(run.map_in_order(UPPER, words)) == [word.upper() for word in words]
        assert list(run.map_in_order(UPPER, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_few_items_are_asked_for_ahead(workers: int) -> None:
    n_asked = 0

    def items() -> Iterator[str]:
        nonlocal n_asked
        for n_asked in range(1, 1000):  # noqa: B007 - counts what is asked for
            yield "a"

    with executor(workers) as run:
        results = run.map_in_order(UPPER, items())
        for n_results in range(1, 4):
            next(results)
            assert n_asked <= n_results + 2 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_with_its_message(workers: int) -> None:
    with (
        executor(workers) as run,
        pytest.raises(
            UnavailableError,
            match=r"'en_core_none' is neither an installed pipeline nor a folder \(get scispaCy's models",
        ),
    ):
        list(run.map_in_order(partial(load_pipeline, "en_core_none"), ["text"]))


def killed_by(deadly: int) -> Callable[[int], int]:
    """A function that ends its process at one number."""

    def square(number: int) -> int:
        if number == deadly:
            os._exit(9)
        return number * number

    return square


def killed_once(folder: Path) -> Callable[[int], int]:
    """A function that is killed at each number, the first time that it comes."""

    def square(number: int) -> int:
        if not (folder / str(number)).exists():
            (folder / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return square


def test_only_what_kills_its_worker_is_lost() -> None:
    with executor(2) as run:
        found = list(run.map_in_order(partial(killed_by, 3), range(6)))
        assert found == [0, 1, 4, Lost(3), 16, 25]
        assert list(run.map_in_order(UPPER, ["a"])) == ["A"]


def test_workers_that_are_killed_are_replaced(tmp_path: Path) -> None:
    with executor(2) as run:
        assert list(run.map_in_order(partial(killed_once, tmp_path), range(3))) == [0, 1, 4]


def note_number(folder: Path, number: int) -> None:
    (folder / str(number)).touch()


def die(number: int) -> None:
    os._exit(9 + number)


def test_parallel_work_is_done_once_by_each_process(tmp_path: Path) -> None:
    run_in_parallel(partial(note_number, tmp_path), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_failed_parallel_processes_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"2 of 2 worker processes failed \(run the same command again"):
        run_in_parallel(die, 2)
