"""A queue of trials in Optuna's storage, shared by processes on one or more machines.

While a process works on a trial, Optuna has it as RUNNING and the process holds its lock file. The operating system
releases the lock when the process ends, for whatever reason. So a trial that is RUNNING with a free lock belonged to a
process that died, and the next process resumes it.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from mslm_cli import fsio
from mslm_cli.errors import UnavailableError
from mslm_cli.studies.store import StudyStore

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.journal"
_NAME = "mslm"


@dataclass(frozen=True)
class Claim:
    """A trial this process works on: its key, its number in the storage, and the lock's file descriptor."""

    key: str
    number: int
    lock: int


class Queue:
    """The trials of the study in ``store``, identified by key.

    Args:
        storage: a database URL for Optuna; None for a journal file in the study's folder.

    Raises:
        UnavailableError: the storage cannot be opened.
    """

    def __init__(self, store: StudyStore, storage: str | None = None) -> None:
        self._store = store
        import optuna

        self._optuna = optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with fsio.held(store.lock("queue")):
            self._storage = _journal(store) if storage is None else _database(storage)
            self._study = optuna.create_study(
                storage=self._storage, study_name=_NAME, direction="maximize", load_if_exists=True
            )
        self._id = self._storage.get_study_id_from_name(_NAME)

    def enqueue(self, wanted: Mapping[str, Mapping[str, Any]], done: set[str]) -> None:
        """Add a waiting trial for each key, in this order, unless it is ``done``, waiting or running.

        Args:
            wanted: attributes stored with each trial, by key.
        """
        state = self._optuna.trial.TrialState
        with fsio.held(self._store.lock("queue")):
            pending = {t.user_attrs.get("key") for t in self._trials(state.WAITING, state.RUNNING)}
            for key, about in wanted.items():
                if key not in done and key not in pending:
                    self._study.enqueue_trial({}, user_attrs={"key": key, **about})

    def claim(self, keys: Sequence[str]) -> Claim | None:
        """Claim the first trial with one of these keys that is waiting or abandoned; None if there is none."""
        state = self._optuna.trial.TrialState
        wanted = set(keys)
        for trial in self._trials(state.WAITING, state.RUNNING):
            key = trial.user_attrs.get("key")
            lock = fsio.hold(self._store.lock(f"trial-{key}"), wait=False) if key in wanted else None
            if key is None or lock is None:
                continue
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
            found = self._storage.get_trial(trial_id).state
            if found == state.RUNNING or (found == state.WAITING and self._set_running(trial_id)):
                return Claim(key, trial.number, lock)
            os.close(lock)
        return None

    def finish(self, claim: Claim, value: float) -> None:
        """Record a trial as done, with its dev score."""
        self._study.tell(claim.number, value)
        os.close(claim.lock)

    def fail(self, claim: Claim, reason: str) -> None:
        """Record a trial as failed, with the reason."""
        state = self._optuna.trial.TrialState
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, claim.number)
        self._storage.set_trial_user_attr(trial_id, "error", reason)
        self._study.tell(claim.number, state=state.FAIL)
        os.close(claim.lock)

    def wait(self, keys: Sequence[str]) -> bool:
        """Wait for another process to stop working on one of these trials; False if none is worked on."""
        wanted, state = set(keys), self._optuna.trial.TrialState
        for trial in self._trials(state.WAITING, state.RUNNING):
            if (key := trial.user_attrs.get("key")) in wanted:
                with fsio.held(self._store.lock(f"trial-{key}")):
                    return True
        return False

    def errors(self, keys: Sequence[str]) -> dict[str, str]:
        """The error message for each of these keys whose last trial failed."""
        wanted, state = set(keys), self._optuna.trial.TrialState
        last = {t.user_attrs["key"]: t for t in self._trials() if t.user_attrs.get("key") in wanted}
        return {k: t.user_attrs.get("error", "it failed") for k, t in last.items() if t.state == state.FAIL}

    def _set_running(self, trial_id: int) -> bool:
        try:
            return self._storage.set_trial_state_values(trial_id, self._optuna.trial.TrialState.RUNNING)
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return False

    def _trials(self, *states: "optuna.trial.TrialState") -> list["optuna.trial.FrozenTrial"]:
        return self._storage.get_all_trials(self._id, deepcopy=False, states=states or None)


def _journal(store: StudyStore) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = store.folder / JOURNAL
    _drop_partial_line(path)

    class SystemLock(JournalFileOpenLock):
        """A lock released when its process ends; Optuna's own locks block all others for 30 s after a kill."""

        def acquire(self) -> bool:
            self._held = fsio.hold(store.lock("journal"), wait=True)
            return True

        def release(self) -> None:
            assert self._held is not None
            os.close(self._held)

    return JournalStorage(JournalFileBackend(str(path), lock_obj=SystemLock(str(path))))


def _drop_partial_line(path: Path) -> None:
    """Drop an incomplete last line, left by a power failure; it would make the journal unreadable."""
    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _database(url: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        with warnings.catch_warnings(action="ignore"):  # they name parts of the URL
            return RDBStorage(url)
    except (ArgumentError, SQLAlchemyError, ImportError, ValueError) as error:
        hint = "give a URL such as sqlite:///trials.db or postgresql://user@host/name"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        for secret in _secrets(url):
            reason = reason.replace(secret, "***")
        # not raised from the error: --debug would print the URL in its traceback
        raise UnavailableError(f"--storage {without_secrets(url)}: cannot be opened: {reason}", hint=hint) from None


def without_secrets(url: str) -> str:
    """A database URL with its passwords and its query masked."""
    for secret in _secrets(url):
        url = url.replace(secret, "***")
    return url


def _secrets(url: str) -> list[str]:
    """The parts of a URL that may be secret, longest first: what follows the user's name, and all of the query."""
    address, _, query = url.partition("?")
    login, at, _ = address.rpartition("@")
    password = login.rpartition("//")[2].partition(":")[2] if at else ""
    found = {password, unquote(password), query, *(value for _, value in parse_qsl(query))}
    return sorted(filter(None, found), key=len, reverse=True)
