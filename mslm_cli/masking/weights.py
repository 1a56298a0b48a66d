"""Loss weights of the two kinds of predicted tokens."""

import math
from typing import NamedTuple

from mslm_cli.errors import DataError, UsageError


class KindWeights(NamedTuple):
    """Weights of the losses of generic words and of DS-terms; only their ratio matters to the gradient."""

    generic: float
    ds_term: float

    @property
    def ratio(self) -> float:
        """How much more a token of a DS-term counts than one of a generic word."""
        return self.ds_term / self.generic


def kind_weights(scheme: str, n_generic: int, n_ds_term: int) -> KindWeights:
    """The weights that a scheme gives to shards with so many predicted tokens of each kind.

    ``uniform`` (1, 1) and ``ratio:R`` (1, R) ignore the counts. ``frequency`` is the softmax over one minus the
    share of each kind; that of DS-terms is never below that of generic words. ``reference`` is the rule of the paper's
    released code.

    Raises:
        UsageError: there is no such scheme, or R is not a finite number above 0.
        DataError: the scheme needs counts and nothing is predicted.
    Source: MSLM (arXiv 2403.18025), section 3; WeLT for ``frequency``. The maximum with the generic weight is this
    toolkit's: the softmax alone would give DS-terms less weight as soon as they are the majority.
    """
    if scheme == "uniform":
        return KindWeights(1.0, 1.0)
    if scheme.startswith("ratio:"):
        return KindWeights(1.0, _ratio(scheme))
    if not needs_counts(scheme):
        raise UsageError(f"--weights {scheme}: expected uniform, frequency, reference or ratio:R")
    if n_generic + n_ds_term == 0:
        raise DataError(f"--weights {scheme} counts predicted tokens, and there are none")
    ds_term_share = n_ds_term / (n_generic + n_ds_term)
    if scheme == "frequency":
        generic, ds_term = _softmax(ds_term_share, 1.0 - ds_term_share)
        return KindWeights(generic, max(generic, ds_term))
    ds_term, generic = _softmax(max(0.5, ds_term_share), min(0.5, ds_term_share))
    return KindWeights(generic, ds_term)


def needs_counts(scheme: str) -> bool:
    """Whether the weights depend on how many tokens of each kind are predicted."""
    return scheme in ("frequency", "reference")


def weights_notice(scheme: str, weights: KindWeights) -> str | None:
    """What the user should know about weights that a rule computed, or None for weights that were given."""
    if not needs_counts(scheme):
        return None
    came_to = f"--weights {scheme} comes to ratio:{weights.ratio:.3f} on these shards"
    if weights.ratio == 1.0:
        return f"{came_to}: DS-terms do not count more than generic words; with ratio:2 they would"
    return came_to


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
