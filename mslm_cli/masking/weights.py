"""Loss weights for predicted tokens of generic words and of DS-terms."""

import math
from typing import NamedTuple

from mslm_cli.errors import DataError, UsageError


class KindWeights(NamedTuple):
    """Loss weights of generic words and of DS-terms; only their ratio affects the gradient."""

    generic: float
    ds_term: float

    @property
    def ratio(self) -> float:
        """The weight of a DS-term token relative to a generic one."""
        return self.ds_term / self.generic


def kind_weights(scheme: str, n_generic: int, n_ds_term: int) -> KindWeights:
    """The weights of a scheme for shards with these numbers of predicted tokens.

    ``uniform`` (1, 1) and ``ratio:R`` (1, R) ignore the counts. ``frequency`` is the softmax over one minus the
    fraction of each kind, but at least the generic weight for DS-terms. ``reference`` is the rule in the paper's
    released code.

    Raises:
        UsageError: the scheme is unknown, or R is not a finite number above 0.
        DataError: the scheme needs counts, but nothing is predicted.

    Source: MSLM (arXiv 2403.18025), section 3; WeLT for ``frequency``. The lower bound by the generic weight is ours:
    the softmax alone would give DS-terms less weight when they are the majority.
    """
    if scheme == "uniform":
        return KindWeights(1.0, 1.0)
    if scheme.startswith("ratio:"):
        return KindWeights(1.0, _ratio(scheme))
    if not needs_counts(scheme):
        raise UsageError(f"--weights {scheme}: expected uniform, frequency, reference or ratio:R")
    if n_generic + n_ds_term == 0:
        raise DataError(f"--weights {scheme} counts predicted tokens, but there are none")
    ds_term_fraction = n_ds_term / (n_generic + n_ds_term)
    if scheme == "frequency":
        generic, ds_term = _softmax(ds_term_fraction, 1.0 - ds_term_fraction)
        return KindWeights(generic, max(generic, ds_term))
    ds_term, generic = _softmax(max(0.5, ds_term_fraction), min(0.5, ds_term_fraction))
    return KindWeights(generic, ds_term)


def needs_counts(scheme: str) -> bool:
    """Whether the weights depend on the numbers of predicted tokens."""
    return scheme in ("frequency", "reference")


def weights_notice(scheme: str, weights: KindWeights) -> str | None:
    """A notice on computed weights for the user; None if the weights were given."""
    if not needs_counts(scheme):
        return None
    notice = f"--weights {scheme} gives ratio:{weights.ratio:.3f} on these shards"
    if weights.ratio == 1.0:
        return f"{notice}: DS-terms get no extra weight; with ratio:2 they would"
    return notice


def _ratio(scheme: str) -> float:
    try:
        ratio = float(scheme.removeprefix("ratio:"))
    except ValueError:
        ratio = math.nan
    if not (math.isfinite(ratio) and ratio > 0):
        raise UsageError(f"--weights {scheme}: R must be a number above 0, as in ratio:2")
    return ratio


def _softmax(x: float, y: float) -> tuple[float, float]:
    first = 1.0 / (1.0 + math.exp(y - x))
    return first, 1.0 - first
