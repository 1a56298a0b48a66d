"""What a study says of labelling more: no gain, no saving and no forecast that is not shown."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli.reporting.label_efficiency import apart_heights, saved_text
from mslm_cli.studies.label_sentence import label_sentence, overtaking_sentences

SAVED = {"value": 420.0, "low": 200.0, "high": 600.0, "least": -500.0, "most": 600.0, "is_fitted": True}
GAIN = {"value": 0.021, "low": 0.01, "high": 0.032}


def row(over: float | None, p: float = 0.001, saved: dict[str, Any] | None = None, n_seeds: int = 3) -> dict[str, Any]:
    difference = None if over is None else {"value": over, "low": over - 0.02, "high": over + 0.02, "corrected_p": p}
    return {"seeds": list(range(n_seeds)), "over_vanilla": difference, "sentences_saved": saved}


def said(forecast: dict[str, Any] | None = None, chosen: str | None = "transfer", **arms: dict[str, Any]) -> str:
    usable = {"n_more": 200, "n_points": 5, "error": 0.004, "is_usable": True, "gain": GAIN}
    share = {"n_labelled": 600.0, "arms": {"vanilla": row(None), **arms}}
    return label_sentence({"shares": [share], "forecast": usable | (forecast or {})}, "vanilla", chosen)


def test_a_gain_is_put_in_labelled_sentences() -> None:
    assert said(transfer=row(0.054, saved=SAVED), word=row(0.01, 0.3), span=row(0.02, 0.06)) == (
        "With your 600 labelled sentences, transfer gains 5.4 points (95 % interval 3.4 to 7.4) over vanilla, as much"
        " as 420 more labelled sentences (200 to more than 600 by the fitted curve); word and span are not shown to"
        " gain; the next 200 labelled sentences are worth +2.1 points to vanilla (+1.0 to +3.2)."
    )


def test_beyond_what_is_known_there_is_only_a_bound() -> None:
    assert "over vanilla, more than 600 more labelled sentences would; the next" in said(
        transfer=row(0.2, saved=SAVED | {"value": 600.0})
    )
    unknown = SAVED | {"value": 0.0, "high": 0.0, "most": 0.0, "is_fitted": False}
    assert "over vanilla; the next" in said(transfer=row(0.2, saved=unknown))


@pytest.mark.parametrize(("over", "p"), [(0.05, 0.051), (-0.05, 0.001)])
def test_no_gain_is_claimed_that_is_not_shown(over: float, p: float) -> None:
    found = said(transfer=row(over, p, SAVED))
    assert found.startswith("With your 600 labelled sentences, no arm is shown to gain over vanilla; the next 200")
    assert "420" not in found


def test_with_few_seeds_nothing_is_said_but_that() -> None:
    assert said(transfer=row(0.5, saved=SAVED, n_seeds=2)) == (
        "With your 600 labelled sentences, nothing can be shown yet: 2 of at least 3 seeds are finished."
    )


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        ({"error": None, "n_points": 3}, "cannot be told from 3 points of vanilla's curve."),
        ({"error": -0.031, "is_usable": False}, "a curve fitted without the last point misses it by 3.1 points."),
    ],
)
def test_a_forecast_that_cannot_be_trusted_is_not_made(forecast: dict[str, Any], reason: str) -> None:
    found = said(forecast, chosen=None)
    assert found.startswith("With your 600 labelled sentences, only vanilla was run; what the next 200")
    assert found.endswith(reason)


def test_only_overtakings_that_are_shown_are_told() -> None:
    of = {"arm": "vanilla", "overtakes": "transfer", "n_labelled": 1234.5}
    found = {"overtakings": [of | {"is_shown": True}, of | {"is_shown": False}]}
    assert overtaking_sentences(found) == ["From about 1,234 labelled sentences on, vanilla overtakes transfer."]


def test_bounds_are_marked_in_tables() -> None:
    assert saved_text(SAVED) == "420 (200 to >600)"
    assert saved_text(SAVED | {"low": -500.0}) == "420 (<-500 to >600)"
    assert saved_text(None) == ""


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(0, 10))
def test_the_names_of_arms_are_apart_and_near_their_lines(wanted: list[float], apart: float) -> None:
    wanted.sort()
    found = apart_heights(wanted, apart)
    assert all(b - a >= apart - 1e-9 for a, b in pairwise(found))
    assert sum(found) == pytest.approx(sum(wanted), abs=1e-6)
    if all(b - a >= apart for a, b in pairwise(wanted)):
        assert found == pytest.approx(wanted, abs=1e-9)
