"""Work spread over processes: in order, few items ahead, and with errors that say what happened."""

import operator
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mslm_cli.errors import UnavailableError
from mslm_cli.processes import map_in_order, run_in_parallel
from mslm_cli.terms.pipeline import load_pipeline

UPPER = partial(operator.methodcaller, "upper")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_whatever_the_number_of_workers(workers: int) -> None:
    words = [f"word {number}" for number in range(50)]
    assert list(map_in_order(UPPER, words, workers=workers)) == [word.upper() for word in words]
    assert list(map_in_order(UPPER, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_few_items_are_asked_for_ahead(workers: int) -> None:
    n_asked = 0

    def items() -> Iterator[str]:
        nonlocal n_asked
        for n_asked in range(1, 1000):  # noqa: B007 - counts what is asked for
            yield "a"

    results = map_in_order(UPPER, items(), workers=workers)
    for n_results in range(1, 4):
        next(results)
        assert n_asked <= n_results + 2 * workers
    results.close()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_with_its_message(workers: int) -> None:
    with pytest.raises(
        UnavailableError,
        match=r"'en_core_none' is neither an installed pipeline nor a" r" folder \(get scispaCy's models",
    ):
        list(map_in_order(partial(load_pipeline, "en_core_none"), ["text"], workers=workers))


def test_a_process_that_dies_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"a worker process died \(it may have run out of memory"):
        list(map_in_order(partial(partial, os._exit), [9, 9], workers=2))


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
