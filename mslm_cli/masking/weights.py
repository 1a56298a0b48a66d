"""Loss weights of the two kinds of predicted tokens."""

import math
from typing import NamedTuple

from mslm_cli.errors import DataError, UsageError


class KindWeights(NamedTuple):
    """Weight of a base token's loss and of an entity token's; only their ratio matters to the gradient."""

    base: float
    entity: float

    @property
    def ratio(self) -> float:
        """How much more an entity token counts than a base token."""
        return self.entity / self.base


def kind_weights(scheme: str, n_base: int, n_entity: int) -> KindWeights:
    """The weights that a scheme gives to shards with so many predicted tokens of each kind.

    ``uniform`` (1, 1) and ``ratio:R`` (1, R) ignore the counts. ``frequency`` is the softmax over one minus the
    share of each kind, entity never below base. ``reference`` is the rule of the paper's released code.

    Raises:
        UsageError: there is no such scheme, or R is not a finite number above 0.
        DataError: the scheme needs counts and nothing is predicted.
    Source: MSLM (arXiv 2403.18025), section 3; WeLT for ``frequency``. The maximum with the base weight is this
    toolkit's: the softmax alone would charge entities less as soon as they are the majority.
    """
    if scheme == "uniform":
        return KindWeights(1.0, 1.0)
    if scheme.startswith("ratio:"):
        return KindWeights(1.0, _ratio(scheme))
    if not needs_counts(scheme):
        raise UsageError(f"--weights {scheme}: expected uniform, frequency, reference or ratio:R")
    if n_base + n_entity == 0:
        raise DataError(f"--weights {scheme} counts predicted tokens, and there are none")
    entity_share = n_entity / (n_base + n_entity)
    if scheme == "frequency":
        base, entity = _softmax(entity_share, 1.0 - entity_share)
        return KindWeights(base, max(base, entity))
    entity, base = _softmax(max(0.5, entity_share), min(0.5, entity_share))
    return KindWeights(base, entity)


def needs_counts(scheme: str) -> bool:
    """Whether the weights depend on how many tokens of each kind are predicted."""
    return scheme in ("frequency", "reference")


def weights_notice(scheme: str, weights: KindWeights) -> str | None:
    """What the user should know about weights that a rule computed, or None for weights that were given."""
    if not needs_counts(scheme):
        return None
    came_to = f"--weights {scheme} comes to ratio:{weights.ratio:.3f} on these shards"
    if weights.ratio == 1.0:
        return f"{came_to}: entity tokens are not charged more than base tokens; ratio:2 would do so"
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
