"""The search: all combinations a little, the best of them more, and the best of these wins."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_study

from mslm_cli.errors import UnavailableError
from mslm_cli.studies import search
from mslm_cli.studies.nodes import StageNode, Trial
from mslm_cli.studies.plan import PlanContext, Planner, Runtime
from mslm_cli.studies.spec import read_study
from mslm_cli.studies.store import Spent, StudyStore

GRID = tiny_study.HEAD.split("[search]")[0] + (
    "[search]\nelm_rate = [0.25, 0.5, 0.75, 1.0]\nblm_rate = [0.1, 0.2]\nshares = [0.1, 0.5]\nseeds = [0, 1]\n"
)


class Finished(StudyStore):
    """A store in which all is done, but what has failed."""

    failed: tuple[str, ...] = ()

    def has(self, node: StageNode) -> bool:
        return node.key not in self.failed

    def spent(self, node: StageNode) -> Spent:
        return Spent(60.0, 1000) if node.stage == "ner" else Spent(30.0, 500)


@pytest.fixture
def planner(workplace: Path) -> Planner:
    study = read_study(tiny_study.write(workplace, GRID + tiny_study.ARMS))
    return Planner(PlanContext(study, workplace, workplace / "encoder", False, 64, {"toy": 100}, 1.2, Runtime(1)))


def score(trial: Trial) -> float:
    """Best at elm 0.75, blm 0.2, ratio:2; one seed is always better than the other."""
    masking, weights = trial.arm.masking, trial.arm.adapt["weights"]
    return 0.8 - abs(masking["elm_rate"] - 0.75) + masking["blm_rate"] / 10 + 0.01 * (weights == "ratio:2") + trial.seed


def scores(planner: Planner) -> dict[str, float]:
    """The score of each short trial's model, by its key."""
    arms = search.candidates(planner)
    trials = [t for arm in arms for share in (0.1, 0.5) for t in search.short_trials(planner, arm, share)]
    return {trial.ner.key: score(trial) for trial in trials}


def test_successive_halving_keeps_the_best(planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[list[Trial]] = []

    def drain(trials: Sequence[Trial]) -> None:
        drained.append(list(trials))

    monkeypatch.setattr(Finished, "dev_score", lambda _, node: scores(planner)[node.key])
    found = search.winner(planner, drain, Finished(tmp_path))
    assert found.name == "mslm elm 0.75 blm 0.2 ratio:2 (searched)"
    assert found.masking == {"elm_rate": 0.75, "blm_rate": 0.2, "budget": None}
    assert found.adapt == {"weights": "ratio:2"}
    # sixteen combinations with two seeds, then the best quarter of them, those of elm 0.75
    assert [len(trials) for trials in drained] == [32, 8]
    assert {t.arm.masking["elm_rate"] for t in drained[1]} == {0.75}
    assert [{t.share for t in trials} for trials in drained] == [{0.1}, {0.5}]
    assert all(t.score is None for trials in drained for t in trials), "the test data are not touched"
    written = json.loads((tmp_path / "search.json").read_bytes())
    assert written["winner"] == "elm 0.75 blm 0.2 ratio:2"
    assert [len(rung["dev_score"]) for rung in written["rungs"]] == [16, 4]
    for rung, trials in zip(written["rungs"], drained, strict=True):
        assert (rung["minutes"], rung["tokens"]) == (1.5 * len(trials), 1500 * len(trials))


def test_a_combination_that_failed_cannot_win(
    planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Finished(tmp_path)
    best = "elm 0.75 blm 0.2 ratio:2"
    (arm,) = (arm for arm in search.candidates(planner) if arm.name == best)
    store.failed = (search.short_trials(planner, arm, 0.1)[0].ner.key,)
    monkeypatch.setattr(Finished, "dev_score", lambda _, node: scores(planner)[node.key])
    assert search.winner(planner, lambda _: None, store).name != f"mslm {best} (searched)"


def test_there_is_no_winner_if_all_failed(planner: Planner, tmp_path: Path) -> None:
    store = Finished(tmp_path)
    trials = [t for arm in search.candidates(planner) for t in search.short_trials(planner, arm, 0.1)]
    store.failed = tuple(trial.ner.key for trial in trials)
    with pytest.raises(UnavailableError, match="failed for every combination of rates"):
        search.winner(planner, lambda _: None, store)


def test_a_rung_with_equal_scores_is_reported(
    planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Finished, "dev_score", lambda *_: 0.0)
    search.winner(planner, lambda _: None, Finished(tmp_path))
    assert "warning: the search with 10 % of the training: all combinations have the same dev score" in (
        capsys.readouterr().err
    )
