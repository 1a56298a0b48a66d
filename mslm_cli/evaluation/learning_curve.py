"""Learning curves, F1 over the number of labelled sentences: interpolation, inversion, and a power law.

All functions work on many curves at once: F1 is float64 [n_curves, n_points], as fractions, over the same numbers of
sentences ``n``, float64 [n_points], ascending and distinct.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mslm_cli.evaluation.spans import Int64
from mslm_cli.evaluation.uncertainty import Float64

MIN_POINTS = 4
"""A power law has three parameters; with four points the last one can be left out to check it."""
FARTHEST = 2.0
"""How far a fitted curve is followed, in multiples of the largest measured number of sentences."""
_STARTED = 0.1
_EXPONENTS = (0.02, 3.0)
_N_GRID, _N_REFINED = 60, 40
_GOLDEN = (5**0.5 - 1) / 2


def monotone(f1: Float64) -> Float64:
    """The closest non-decreasing curves, by least squares: float64 [n_curves, n_points].

    Source: isotonic regression by the minimax formula, Barlow et al. 1972, "Statistical Inference under Order
    Restrictions", theorem 1.4.
    """
    n_points = f1.shape[1]
    sums = np.concatenate([np.zeros((len(f1), 1)), f1.cumsum(axis=1)], axis=1)
    fitted = np.empty_like(f1)
    for i in range(n_points):
        least = [
            np.min([(sums[:, k + 1] - sums[:, j]) / (k + 1 - j) for k in range(i, n_points)], axis=0)
            for j in range(i + 1)
        ]
        fitted[:, i] = np.max(least, axis=0)
    return fitted


def sentences_at(n: Float64, curves: Float64, f1: Float64, own: float) -> Float64:
    """The numbers of sentences at which non-decreasing ``curves`` reach ``f1``: float64 [n_curves].

    Between points a curve is linear in log n. Where it is level at ``f1``, the number closest to ``own`` is taken. inf
    if the curve ends below ``f1``, -inf if it begins above.

    Args:
        f1: one value for each curve, float64 [n_curves].
    """
    n_below = (curves < f1[:, None]).sum(axis=1)
    n_reached = (curves <= f1[:, None]).sum(axis=1)
    first = _crossing(n, curves, f1, n_below)
    last = _crossing(n, curves, f1, n_reached)
    found: Float64 = np.clip(own, first, last)
    found[n_below == len(n)] = np.inf
    found[n_reached == 0] = -np.inf
    return found


def _crossing(n: Float64, curves: Float64, f1: Float64, right: Int64) -> Float64:
    """Where each curve passes ``f1`` between the points ``right`` - 1 and ``right``; the nearest end outside."""
    rows = np.arange(len(curves))
    i, j = np.clip(right - 1, 0, len(n) - 1), np.clip(right, 0, len(n) - 1)
    low, high = curves[rows, i], curves[rows, j]
    part = np.divide(f1 - low, high - low, out=np.zeros(len(rows)), where=high > low)
    between = np.exp(np.log(n[i]) + np.clip(part, 0, 1) * (np.log(n[j]) - np.log(n[i])))
    found: Float64 = np.where(i == j, n[i], between)
    return found


@dataclass(frozen=True)
class PowerLaw:
    """Curves F1(n) = a - b n^-c, with 0 <= b and a <= 1: float64 [n_curves] each."""

    a: Float64
    b: Float64
    c: Float64

    def at(self, n: float) -> Float64:
        """F1 with ``n`` sentences."""
        return self.a - self.b * n**-self.c

    def sentences_beyond(self, n: float, gain: Float64) -> Float64:
        """The number of sentences at which a curve is ``gain`` above its value at ``n``; inf if it never is."""
        left = self.b * n**-self.c - gain
        ratio = np.divide(self.b, left, out=np.full(len(self.b), np.inf), where=left > 0)
        with np.errstate(over="ignore"):
            found: Float64 = np.where(gain <= 0, n, ratio ** (1 / self.c))
        return found


def fit_power_law(n: Float64, f1: Float64) -> PowerLaw:
    """The power law closest to each curve, by least squares.

    For a given exponent the other two parameters are linear, so only the exponent is searched: on a grid, then by
    golden section.

    Source: Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically", equation 1.
    """
    # relative to the largest n, for conditioning
    scale = n / n[-1]
    logs = np.linspace(math.log(_EXPONENTS[0]), math.log(_EXPONENTS[1]), _N_GRID)
    errors = np.stack([_linear(scale, f1, np.full(len(f1), c))[2] for c in np.exp(logs)])
    best = errors.argmin(axis=0)
    low, high = logs[np.maximum(best - 1, 0)], logs[np.minimum(best + 1, _N_GRID - 1)]
    for _ in range(_N_REFINED):
        one, other = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        is_left = _linear(scale, f1, np.exp(one))[2] <= _linear(scale, f1, np.exp(other))[2]
        low, high = np.where(is_left, low, one), np.where(is_left, other, high)
    c = np.exp((low + high) / 2)
    a, b, _ = _linear(scale, f1, c)
    return PowerLaw(a, b * n[-1] ** c, c)


def _linear(scale: Float64, f1: Float64, c: Float64) -> tuple[Float64, Float64, Float64]:
    """a, b and the squared error of the best curves with the exponents ``c`` [n_curves], within the bounds."""
    x = scale ** -c[:, None]
    mean_x, mean_y = x.mean(axis=1), f1.mean(axis=1)
    spread = ((x - mean_x[:, None]) ** 2).sum(axis=1)
    slope = ((x - mean_x[:, None]) * (f1 - mean_y[:, None])).sum(axis=1)
    b = np.maximum(0.0, np.divide(-slope, spread, out=np.zeros_like(slope), where=spread > 0))
    a = mean_y + b * mean_x
    is_high = a > 1
    b = np.where(is_high, np.maximum(0.0, ((1 - f1) * x).sum(axis=1) / (x**2).sum(axis=1)), b)
    a = np.where(is_high, 1.0, a)
    return a, b, ((a[:, None] - b[:, None] * x - f1) ** 2).sum(axis=1)


def has_begun(f1: Float64) -> NDArray[np.bool_]:
    """Which points of one curve [n_points] a power law can describe: bool [n_points].

    At first a model finds almost nothing: points with less than a tenth of the highest F1 are left out.
    """
    return np.asarray(f1 >= _STARTED * f1.max(initial=0.0)) & (f1 > 0)


def last_point_error(n: Float64, f1: Float64) -> float:
    """The last point of one curve [n_points] minus what a power law fitted to the others says of it."""
    law = fit_power_law(n[:-1], f1[None, :-1])
    return float(f1[-1] - law.at(n[-1])[0])


def overtakings(n: Float64, difference: Float64) -> list[float]:
    """Where a difference of two curves [n_points], linear in log n between the points, changes its sign."""
    found = []
    signed = [(x, d) for x, d in zip(np.log(n), difference, strict=True) if d != 0]
    for (x, d), (next_x, next_d) in pairwise(signed):
        if d * next_d < 0:
            found.append(float(np.exp(x + (next_x - x) * d / (d - next_d))))
    return found
