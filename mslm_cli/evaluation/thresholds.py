"""The trade of precision for recall: how probable O must be for a word to be left out of all mentions.

A threshold t multiplies the odds of O by t / (1 - t): at 0.5 each word gets its most probable tag; below, more words
are in mentions, so recall rises and precision falls.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mslm_cli.errors import UsageError

NEUTRAL = 0.5
THRESHOLDS = tuple(round(1 / (1 + math.exp(-x / 4)), 6) for x in range(-28, 29))
"""From 0.0009 to 0.9991, even in log odds; ``NEUTRAL`` is among them."""


class ThresholdPoint(NamedTuple):
    """A threshold, and the scores on dev with it, as fractions."""

    threshold: float
    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, threshold: float, scores: dict[str, Any]) -> "ThresholdPoint":
        """The point with these scores."""
        return cls(threshold, *(round(float(scores[name]), 6) for name in ("precision", "recall", "f1")))


def choose_threshold(curve: Sequence[ThresholdPoint], wanted: str) -> float:
    """The threshold for ``f1``, ``recall:R`` or ``precision:P``: the best F1 on dev, or the best that has this recall
    or precision.

    Of several, the one nearest to ``NEUTRAL``.

    Raises:
        UsageError: no threshold has it on dev.
    """
    goal, _, least = wanted.partition(":")
    points = [p for p in curve if not least or getattr(p, goal) >= float(least)]
    if not points:
        best = max(curve, key=lambda p: getattr(p, goal))
        raise UsageError(
            f"--threshold {wanted}: on dev, {goal} reaches at most {getattr(best, goal):.3f}",
            hint=f"use at most --threshold {goal}:{math.floor(1000 * getattr(best, goal)) / 1000:g}",
        )
    return max(points, key=lambda p: (p.f1, -abs(p.threshold - NEUTRAL))).threshold
