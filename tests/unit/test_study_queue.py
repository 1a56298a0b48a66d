"""Trials in Optuna's storage: one process each, taken up again when it dies."""

import multiprocessing
import os
import traceback
from pathlib import Path

import pytest

from mslm_cli.errors import UnavailableError
from mslm_cli.studies.queue import JOURNAL, Queue
from mslm_cli.studies.store import StudyStore

KEYS = ["a", "b", "c"]


def opened(folder: Path, storage: str | None = None) -> Queue:
    return Queue(StudyStore(folder), storage)


@pytest.fixture(params=["journal", "database"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path / 'trials.db'}"


def test_trials_are_claimed_in_order_and_once(tmp_path: Path, storage: str | None) -> None:
    one, other = opened(tmp_path, storage), opened(tmp_path, storage)
    for queue in (one, other):
        queue.enqueue({key: {"arm": key} for key in KEYS}, set())
    claims = [queue.claim(KEYS) for queue in (one, other, one, other)]
    assert [claim.key if claim else None for claim in claims] == [*KEYS, None]


def test_what_is_done_or_waits_already_is_not_enqueued(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    queue.enqueue({"a": {}, "b": {}}, {"a"})
    queue.enqueue({"b": {}, "c": {}}, set())
    claims = [queue.claim(KEYS) for _ in range(3)]
    assert [claim.key if claim else None for claim in claims] == ["b", "c", None]


def test_trials_of_another_study_file_are_left_alone(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    queue.enqueue({key: {} for key in KEYS}, set())
    claim = queue.claim(["c"])
    assert claim is not None
    assert claim.key == "c"
    assert queue.claim(["c"]) is None


def claim_and_die(folder: Path, storage: str | None) -> None:
    claim = opened(folder, storage).claim(KEYS)
    os._exit(7 if claim is not None and claim.key == "a" else 1)


def test_a_trial_of_a_dead_process_is_claimed_again(tmp_path: Path, storage: str | None) -> None:
    queue = opened(tmp_path, storage)
    queue.enqueue({"a": {}}, set())
    process = multiprocessing.get_context("spawn").Process(target=claim_and_die, args=(tmp_path, storage))
    process.start()
    process.join()
    assert process.exitcode == 7
    claim = queue.claim(KEYS)
    assert claim is not None
    queue.finish(claim, 0.5)
    assert queue.claim(KEYS) is None
    assert not queue.wait(KEYS)


def test_waiting_ends_when_the_other_process_is_done(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.enqueue({"a": {}}, set())
    claim = one.claim(KEYS)
    assert claim is not None
    one.finish(claim, 0.5)
    assert not other.wait(KEYS)
    assert other.claim(KEYS) is None


def test_a_failed_trial_has_its_reason_and_can_be_retried(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    queue.enqueue({"a": {}}, set())
    claim = queue.claim(KEYS)
    assert claim is not None
    queue.fail(claim, "the budget cannot be met")
    assert queue.claim(KEYS) is None
    assert queue.errors(KEYS) == {"a": "the budget cannot be met"}
    queue.enqueue({"a": {}}, set())
    again = queue.claim(KEYS)
    assert again is not None
    queue.finish(again, 0.5)
    assert queue.errors(KEYS) == {}


def test_a_journal_cut_off_by_a_power_failure_is_mended(tmp_path: Path) -> None:
    opened(tmp_path).enqueue({key: {} for key in KEYS}, set())
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    queue = opened(tmp_path)
    claims = [queue.claim(KEYS) for _ in range(4)]
    assert [claim.key if claim else None for claim in claims] == [*KEYS, None]
    assert opened(tmp_path).claim(KEYS) is None


def test_a_database_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="--storage nonsense: cannot be opened"):
        opened(tmp_path, "nonsense")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@host/name",
        "postgresql+nothing://ann:s3cret@host/name",
        "mysql://ann:s3cret@host:port/name",
        "sqlite:////no/such/folder/file.db?key=s3cret",
        "ann:s3cret@host",
        "postgresql://ann:p%40s3cret%2F@host/name",
        "redis://:s3cret@host",
        "postgresql://ann:s3:cret/s3cret@host/name?sslpassword=s3cret",
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(
    tmp_path: Path, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnavailableError, match="cannot be opened") as refused:
        opened(tmp_path, url)
    said = "".join(traceback.format_exception(refused.value)) + "".join(capfd.readouterr())
    assert "s3cret" not in said.replace("test_study_queue", "")
    assert "***" in str(refused.value)
