"""The held-out loss of adaptation: sequences that are never trained on, with fixed masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mslm_cli.masking.batch import Int32, Int64
from mslm_cli.masking.recipe import MaskSource
from mslm_cli.training.device import autocast
from mslm_cli.training.kinds import KEYS, by_kind
from mslm_cli.training.loop import EXPLODED_LOSS
from mslm_cli.training.masked import MaskedData

MIN_HELD_OUT, MAX_HELD_OUT = 20, 5000
_MIN_RUNS = 10
_CHUNK = 512


class Division(NamedTuple):
    """The numbers of the sequences to train on, ascending, and of those to measure the loss on: int64 each.

    is_apart: whether they are disjoint; if there are too few sequences, the loss is measured on training text.
    """

    training: Int64
    measured: Int64
    is_apart: bool

    def limited(self, lengths: Int64, max_tokens: int) -> "Division":
        """At most ``max_tokens`` tokens to measure on, but at least ``MIN_HELD_OUT`` sequences."""
        n = int(np.searchsorted(np.cumsum(lengths[self.measured]), max_tokens, side="right"))
        return self._replace(measured=self.measured[: max(n, MIN_HELD_OUT)])


def divide(documents: Int32, share: float) -> Division:
    """Hold out ``share`` of the sequences, at most ``MAX_HELD_OUT``; the same ones in every run on the same text.

    Whole documents are held out, or runs of neighbouring sequences from documents that are longer than a tenth of the
    held-out text. With fewer than ``MIN_HELD_OUT`` sequences, none is held out and all may be measured on.

    Args:
        documents: int32 [n], the number of each sequence's document, ascending.
    """
    everything = np.arange(len(documents))
    n_wanted = min(MAX_HELD_OUT, int(share * len(documents)))
    if share == 0:
        return Division(everything, everything[:0], is_apart=False)
    is_apart = n_wanted >= MIN_HELD_OUT
    starts = _starts(documents, max(1, n_wanted // _MIN_RUNS if is_apart else 1))
    sizes = np.diff(np.append(starts, len(documents)))
    order = np.random.default_rng(len(documents)).permutation(len(starts))
    n_runs = int(np.searchsorted(np.cumsum(sizes[order]), n_wanted if is_apart else MAX_HELD_OUT, side="right"))
    chosen = order[:n_runs]
    measured = np.concatenate([everything[:0], *(np.arange(starts[i], starts[i] + sizes[i]) for i in chosen)])
    training = np.setdiff1d(everything, measured) if is_apart else everything
    return Division(training, measured, is_apart)


def _starts(documents: Int32, longest: int) -> Int64:
    """The first sequence of each run: of a document, or of at most ``longest`` sequences of one."""
    number = np.arange(len(documents))
    first = np.maximum.accumulate(np.where(np.diff(documents, prepend=-1) != 0, number, 0))
    return np.flatnonzero((number - first) % longest == 0)


@dataclass(frozen=True)
class HeldOut:
    """Sequences with fixed masks on which models are measured.

    data: with the weights of training; its additional objectives are not measured.
    """

    data: MaskedData
    masks: MaskSource
    sequences: Int64
    max_tokens: int
    dtype: torch.dtype

    def measure(self, model: PreTrainedModel) -> dict[str, Any]:
        """The ``loss`` of ``model`` on all sequences, and n, loss and top1 by mask kind.

        The loss is that of training: the mean over predicted tokens, weighted by their kind, in nats. One that is not
        finite counts as ``EXPLODED_LOSS``. Neither the mode of ``model`` nor any random generator changes.
        """
        chunks = range(0, len(self.sequences), _CHUNK)
        with _evaluating(model):
            predicted = [found for first in chunks for found in self._predicted(model, first)]
        found = by_kind([kinds for kinds, _ in predicted], torch.stack([sums for _, sums in predicted]).sum(0).tolist())
        weights = dict(zip(KEYS.values(), self.data.kind_weights, strict=True))
        total = sum(weights[kind] * scores["n"] for kind, scores in found.items())
        loss = sum(weights[kind] * scores["n"] * scores["loss"] for kind, scores in found.items()) / max(total, 1e-9)
        loss = loss if np.isfinite(loss) else EXPLODED_LOSS
        return {"loss": round(loss, 5), "n_sequences": len(self.sequences), **found}

    def _predicted(self, model: PreTrainedModel, first: int) -> Iterator[tuple[NDArray[np.uint8], torch.Tensor]]:
        """The kinds of some sequences' masks, and what ``MaskedBatch`` reports of them, by microbatch."""
        update = self.data.update(self.masks, self.sequences[first : first + _CHUNK])
        for batch in update.microbatches(self.max_tokens):
            with autocast(model.device, self.dtype):
                batch.loss(model)
            assert batch.reported is not None, "it has been through the model"
            yield batch.kinds, batch.reported


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout and gradients within the block."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
