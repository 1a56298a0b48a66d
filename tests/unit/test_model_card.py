from typing import Any

import pytest

from mslm_cli.training import model_card


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            {"n": (8, 32_000), "n_head": (100, 408_873)},
            "adapted: 8 steps, 32,000 tokens, after 100 steps of the MLM head alone",
        ),
        ({"n": (1, 4000), "n_head": (0, 0)}, "adapted: 1 step, 4,000 tokens"),
        ({"n": (0, 0), "n_head": (100, 408_873)}, "the MLM head alone was trained: 100 steps, 408,873 tokens"),
    ],
)
def test_the_warm_up_of_the_head_is_no_adaptation(steps: dict[str, Any], said: str) -> None:
    summary = {
        f"{prefix}_{unit}": n
        for prefix, pair in steps.items()
        for unit, n in zip(("steps", "tokens"), pair, strict=True)
    }
    assert model_card.training(summary) == said
