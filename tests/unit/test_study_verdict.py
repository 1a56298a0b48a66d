"""The verdict: dev chooses the arm, test only says how much better it is."""

from typing import Any, cast

import numpy as np

from mslm_cli.evaluation.comparison import ComparedArm as Counts
from mslm_cli.studies.results import Results
from mslm_cli.studies.spec import Arm
from mslm_cli.studies.verdict import judge

N_SENTENCES = 400
ARMS = [
    Arm("vanilla", "vanilla"),
    Arm("mslm", "mslm", {"elm_rate": 0.5}, {"weights": "ratio:2"}, "terms"),
    Arm("span", "span"),
]


class Made:
    """Results of arms that find these shares of the mentions on test, and have these scores on dev."""

    def __init__(self, test: dict[str, float], dev: dict[str, float], n_seeds: int = 3) -> None:
        self.data = ["toy"]
        self._test, self._dev, self._n_seeds = test, dev, n_seeds

    def counts(self, arm: str, _: str) -> Counts:
        rng = np.random.default_rng(0)
        difficulty = rng.random((self._n_seeds, N_SENTENCES))
        correct = 2.0 * (difficulty < self._test[arm])
        counts = np.stack([np.full_like(correct, 2.0), np.full_like(correct, 2.0), correct], axis=-1)
        return Counts(arm, np.stack([counts, counts], axis=2))

    def groups(self, _: str) -> list[str]:
        return ["all", "words: 1"]

    def seeds(self, *_: str) -> list[int]:
        return list(range(self._n_seeds))

    def metric(self, data: str) -> str:
        return "strict F1"

    def dev_score(self, arm: str, _: str) -> float:
        return self._dev[arm]

    def unit(self, _: str) -> str:
        return "sentences"

    def n_units(self, _: str) -> int:
        return N_SENTENCES

    def n_sentences(self, _: str) -> int:
        return N_SENTENCES

    def seen_upstream(self, _: str) -> dict[str, int]:
        return {}

    def outcomes(self, *_: str) -> dict[str, dict[str, float]]:
        return {}

    def cost(self, *_: str) -> dict[str, float]:
        return {}

    def cost_in_all(self, _: str) -> dict[str, float]:
        return {}

    def probes(self, *_: str) -> list[dict[str, Any]]:
        return []


def judged(test: dict[str, float], dev: dict[str, float], n_seeds: int = 3) -> dict[str, Any]:
    return judge(cast(Results, Made(test, dev, n_seeds)), "vanilla", ARMS)


def test_the_best_arm_on_dev_is_judged_and_test_chooses_nothing() -> None:
    found = judged({"vanilla": 0.7, "mslm": 0.701, "span": 0.95}, {"vanilla": 0.7, "mslm": 0.8, "span": 0.75})
    assert (found["chosen_on_dev"], found["outcome"], found["use"]) == ("mslm", "none", "vanilla")
    assert "span, not chosen on dev, gains" in found["sentence"]


def test_a_gain_is_shown_with_its_rivals() -> None:
    found = judged({"vanilla": 0.5, "mslm": 0.8, "span": 0.795}, {"vanilla": 0.5, "mslm": 0.8, "span": 0.7})
    assert (found["outcome"], found["use"]) == ("gain", "mslm")
    assert found["sentence"].endswith("over vanilla; the data do not separate it from span.")
    vanilla, mslm, span = found["arms"]
    assert vanilla["over_vanilla"] is None
    assert mslm["over_vanilla"]["low"] > 0.2
    assert mslm["options"] == {"elm_rate": 0.5, "weights": "ratio:2", "lexicon": "terms"}
    assert mslm["chosen_over_it"] is None
    assert span["chosen_over_it"]["corrected_p"] > 0.05
    assert mslm["data"]["toy"]["slices"]["words: 1"]["over_vanilla"]["value"] > 0.2


def test_p_is_corrected_for_the_number_of_arms() -> None:
    found = judged({"vanilla": 0.7, "mslm": 0.74, "span": 0.73}, {"vanilla": 0.7, "mslm": 0.8, "span": 0.75})
    over = [arm["over_vanilla"] for arm in found["arms"][1:]]
    assert min(o["corrected_p"] for o in over) == min(1.0, 2 * min(o["p"] for o in over))


def test_with_two_seeds_nothing_is_shown() -> None:
    found = judged({"vanilla": 0.3, "mslm": 0.9, "span": 0.8}, {"vanilla": 0.3, "mslm": 0.9, "span": 0.8}, n_seeds=2)
    assert (found["outcome"], found["use"]) == ("few seeds", "vanilla")
