"""Arms over several test sets: both sources of uncertainty are in every interval."""

import numpy as np
import pytest

from mslm_cli.evaluation.arm_scores import ArmScores
from mslm_cli.evaluation.comparison import ComparedArm, compared

N_SENTENCES = 300


def arm(name: str, found: float, *, spread: float = 0.0, noise: int = 0, n_groups: int = 1) -> ComparedArm:
    """Three seeds on sentences with two gold mentions, of which each finds about a share and predicts nothing wrong."""
    rng = np.random.default_rng(noise)
    correct = np.stack([rng.binomial(2, found + spread * i, N_SENTENCES) for i in (-1, 0, 1)]).astype(float)
    counts = np.stack([np.full_like(correct, 2.0), correct, correct], axis=-1)
    return ComparedArm(name, np.stack([counts] * n_groups, axis=2))


def test_on_one_test_set_it_agrees_with_compare() -> None:
    arms = [arm("one", 0.6), arm("other", 0.7, noise=1)]
    shown, pairs = compared(arms, ["all"], 5000, np.random.default_rng([0, 0]))
    arm_scores = ArmScores({"toy": arms})
    score, difference = arm_scores.score("other"), arm_scores.difference("other", "one")
    assert [score.value, score.low, score.high] == pytest.approx([shown[1]["f1"][k] for k in ("value", "low", "high")])
    of_pair = pairs[0]["difference"]["f1"]
    assert [difference.value, difference.low, difference.high] == pytest.approx(
        [of_pair[k] for k in ("value", "low", "high")]
    )
    assert difference.p == pytest.approx(max(pairs[0]["p_bootstrap"], pairs[0]["p_randomisation"]), abs=0.002)


def test_an_arm_does_not_differ_from_an_identical_one() -> None:
    found = ArmScores({"toy": [arm("one", 0.7), arm("other", 0.7)]}).difference("one", "other")
    assert found.value == 0
    assert found.p == 1
    assert found.low < 0 < found.high


def test_the_difference_the_other_way_round_is_its_negative() -> None:
    arm_scores = ArmScores({"toy": [arm("one", 0.6), arm("other", 0.7, noise=1)]})
    there, back = arm_scores.difference("one", "other"), arm_scores.difference("other", "one")
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_seeds_that_disagree_widen_the_interval() -> None:
    widths = []
    for spread in (0.0, 0.1):
        found = ArmScores({"toy": [arm("one", 0.7, spread=spread)]}).score("one")
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_a_test_set_without_a_difference_halves_it() -> None:
    better, worse = arm("one", 0.8), arm("other", 0.7, noise=1)
    same = [ComparedArm(name, worse.counts) for name in ("one", "other")]
    arm_scores = ArmScores({"a": [better, worse], "b": same})
    one, both = arm_scores.difference("one", "other", ["a"]), arm_scores.difference("one", "other")
    assert both.value == pytest.approx(one.value / 2)
    assert arm_scores.difference("one", "other", ["b"]).value == 0
    assert arm_scores.score("one").value == pytest.approx(
        np.mean([arm_scores.score("one", [data]).value for data in ("a", "b")])
    )


def test_a_group_has_its_own_difference() -> None:
    one, other = arm("one", 0.8, n_groups=2), arm("other", 0.7, noise=1, n_groups=2)
    one.counts[:, :, 1], other.counts[:, :, 1] = other.counts[:, :, 0], one.counts[:, :, 0]
    arm_scores = ArmScores({"toy": [one, other]})
    assert arm_scores.difference("one", "other").value > 0.05
    assert arm_scores.difference("one", "other", group=1).value < -0.05


def test_several_test_sets_narrow_the_interval() -> None:
    """What is uncertain about independent test sets adds up in squares; the mean has half of its root."""
    sets = {data: [arm("one", 0.8, noise=n), arm("other", 0.7, noise=n + 1)] for n, data in ((0, "a"), (2, "b"))}
    arm_scores = ArmScores(sets)

    def width(data: list[str]) -> float:
        found = arm_scores.difference("one", "other", data)
        return found.high - found.low

    assert width([]) == pytest.approx(np.hypot(width(["a"]), width(["b"])) / 2, rel=0.15)
