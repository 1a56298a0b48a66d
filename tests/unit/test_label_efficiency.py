"""What labels are worth: arms paired by seed, sentences saved, forecasts."""

from typing import Any

import numpy as np
import pytest

from mslm_cli.evaluation.label_efficiency import Cell, LabelEfficiency, Labelled, paired_replicates

N_CLUSTERS = 200
NUMBERS = {0.1: 100.0, 0.2: 160.0, 0.5: 350.0, 1.0: 700.0}
LABELLED = {share: Labelled(0.8 * n, 0.2 * n) for share, n in NUMBERS.items()}
VANILLA = {0.1: 0.30, 0.2: 0.42, 0.5: 0.56, 1.0: 0.64}


def cell(arm: str, share: float, f1: float, by_seed: tuple[float, ...] = (-0.02, 0.0, 0.02), first: int = 1) -> Cell:
    """An arm that finds this share of 10 mentions in each document, the same in all of them."""
    counts = [[[10.0, 10.0, 10 * (f1 + d)]] * N_CLUSTERS for d in by_seed]
    return Cell(arm, share, tuple(range(first, first + len(by_seed))), np.array(counts))


def judged(over: dict[float, float], vanilla: dict[float, float] = VANILLA) -> LabelEfficiency:
    cells = [cell("vanilla", share, f1) for share, f1 in vanilla.items()]
    cells += [cell("arm", share, vanilla[share] + gain) for share, gain in over.items()]
    return LabelEfficiency(cells, LABELLED, "vanilla", n_replicates=500)


def saved(efficiency: LabelEfficiency, arm: str, share: float) -> dict[str, Any]:
    found = efficiency.sentences_saved(arm, share)
    assert found is not None
    return found


def test_what_moves_two_arms_alike_is_not_in_their_difference() -> None:
    cells = [cell("a", 1, 0.5, (-0.1, 0, 0.1)), cell("b", 1, 0.6, (-0.1, 0, 0.1)), cell("c", 1, 0.6, (0.1, 0, -0.1))]
    a, b, c = paired_replicates(cells, 2000, np.random.default_rng(0))
    assert (b - a).std() < 1e-9
    assert (c - a).std() > a.std()


def test_the_variation_of_seeds_is_students_t() -> None:
    by_seed = (-0.1, 0.0, 0.0, 0.0, 0.1)
    (found,) = paired_replicates([cell("a", 1, 0.5, by_seed)], 40_000, np.random.default_rng(0))
    error = np.std(by_seed, ddof=1) / np.sqrt(5)
    # 2.776: the 97.5 % quantile of Student's t with 4 degrees of freedom
    assert np.quantile(found, 0.975) - 0.5 == pytest.approx(2.776 * error, rel=0.05)


def test_one_seed_has_no_variation_of_seeds() -> None:
    (found,) = paired_replicates([cell("a", 1, 0.5, (0.0,))], 100, np.random.default_rng(0))
    assert found.std() < 1e-9


@pytest.mark.parametrize("vanilla", [VANILLA, {0.1: 0.3, 0.2: 0.5, 0.5: 0.45, 1.0: 0.6}, dict.fromkeys(VANILLA, 0.5)])
def test_vanilla_itself_saves_nothing(vanilla: dict[float, float]) -> None:
    efficiency = judged({}, vanilla)
    for share in NUMBERS:
        found = saved(efficiency, "vanilla", share)
        assert (found["value"], found["low"], found["high"]) == pytest.approx((0, 0, 0), abs=1e-6)


def test_more_f1_saves_more() -> None:
    values = [saved(judged({0.2: gain}), "arm", 0.2)["value"] for gain in (-0.2, -0.1, 0, 0.05, 0.1, 0.14, 0.2, 0.3)]
    assert values == sorted(values)
    assert values[0] == NUMBERS[0.1] - NUMBERS[0.2], "it is below vanilla's curve"
    assert values[2] == pytest.approx(0)
    assert values[5] == pytest.approx(NUMBERS[0.5] - NUMBERS[0.2])


def test_a_gain_beyond_the_curve_follows_the_fitted_law_or_is_a_bound() -> None:
    a, b, c = 0.9, 3.0, 0.4
    law = {share: a - b * n**-c for share, n in NUMBERS.items()}
    gain = b * 700**-c - b * 1000**-c
    found = saved(judged({1.0: gain}, law), "arm", 1.0)
    assert found["is_fitted"]
    assert found["value"] == pytest.approx(300, abs=1)
    assert saved(judged({1.0: 0.3}, law), "arm", 1.0)["value"] == found["most"] == 700
    crooked = {0.1: 0.3, 0.2: 0.35, 0.5: 0.4, 1.0: 0.7}
    found = saved(judged({1.0: gain}, crooked), "arm", 1.0)
    assert (found["value"], found["most"], found["is_fitted"]) == (0, 0, False)


def test_the_forecast_is_checked_on_the_last_point() -> None:
    law = {share: 0.9 - 3.0 * n**-0.4 for share, n in NUMBERS.items()}
    forecast = judged({}, law).forecast
    assert forecast["is_usable"]
    assert forecast["gain"]["value"] == pytest.approx(3 * 700**-0.4 - 3 * 900**-0.4, abs=1e-4)
    assert forecast["gain"]["low"] <= forecast["gain"]["value"] <= forecast["gain"]["high"]
    assert not judged({}, law | {1.0: law[1.0] + 0.05}).forecast["is_usable"]
    few = judged({}, {share: law[share] for share in (0.1, 0.2, 1.0)}).forecast
    assert (few["n_points"], few["error"], few["is_usable"]) == (3, None, False)
    silent = judged({}, law | {0.1: 0.021}).forecast
    assert silent["n_points"] == 3, "a point at which nothing was learnt yet is no evidence"


def test_a_vanilla_that_finds_nothing_has_no_curve() -> None:
    nothing = [Cell("vanilla", share, (1, 2), np.array([[[9.0, 0, 0]] * 5] * 2)) for share in NUMBERS]
    arm = Cell("arm", 1.0, (1, 2), np.array([[[9.0, 9, 9]] * 5] * 2))
    found = LabelEfficiency([*nothing, arm], LABELLED, "vanilla").to_json()
    assert found["forecast"] == {"n_more": 200, "n_points": 0, "error": None, "is_usable": False}
    saved_by_arm = found["shares"][-1]["arms"]["arm"]["sentences_saved"]
    assert (saved_by_arm["value"], saved_by_arm["most"]) == (0, 0)


def test_more_dev_sentences_at_small_shares_do_not_bend_the_law() -> None:
    """Without a training sentence more, they do not help: the law is one of training sentences."""
    labelled = {0.1: Labelled(50, 50), 0.2: Labelled(110, 50), 0.5: Labelled(290, 60), 1.0: Labelled(600, 100)}
    law = {share: 0.9 - 3.0 * n.train**-0.4 for share, n in labelled.items()}
    cells = [cell("vanilla", share, f1) for share, f1 in law.items()]
    cells.append(cell("arm", 1.0, 0.9 - 3.0 * 900**-0.4))
    efficiency = LabelEfficiency(cells, labelled, "vanilla", n_replicates=100)
    assert efficiency.forecast["error"] == pytest.approx(0, abs=1e-6)
    more = 600 + 200 * 600 / 700
    assert efficiency.forecast["gain"]["value"] == pytest.approx(3 * 600**-0.4 - 3 * more**-0.4, abs=1e-5)
    assert saved(efficiency, "arm", 1.0)["value"] == pytest.approx(700 * 900 / 600 - 700, abs=1)


def test_an_arm_that_is_overtaken_is_named() -> None:
    efficiency = judged({0.1: 0.1, 0.2: 0.05, 0.5: -0.05, 1.0: -0.1})
    (found,) = efficiency.overtakings()
    assert (found["arm"], found["overtakes"], found["is_shown"]) == ("vanilla", "arm", True)
    assert found["n_labelled"] == pytest.approx(np.sqrt(160 * 350))
    assert judged({0.1: 0.1, 0.2: 0.05, 0.5: 0.02, 1.0: 0.1}).overtakings() == []


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    vanilla = cell("vanilla", 1, 0.5, (-0.2, 0.1, 0.1))
    efficiency = LabelEfficiency(
        [vanilla, cell("arm", 1, 0.62, (0.0, 0.0), first=2)], {1: Labelled(80, 20)}, "vanilla", 200
    )
    difference = efficiency.difference("arm", "vanilla", 1)
    assert difference is not None
    assert difference.value == pytest.approx(0.02)
    found = efficiency.to_json()["shares"][0]["arms"]
    assert (found["vanilla"]["seeds"], found["arm"]["seeds"]) == ([1, 2, 3], [2, 3])
    alone = LabelEfficiency([vanilla, cell("arm", 1, 0.6, (0.0,), first=9)], {1: Labelled(80, 20)}, "vanilla", 200)
    assert alone.to_json()["shares"][0]["arms"]["arm"]["over_vanilla"] is None
