"""Heads for additional objectives, beside the encoder's own."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

_MAX_POSITION = 30


class SpanBoundaryHead(nn.Module):
    """Predicts a masked token from the tokens on both sides of its run and its position in the run.

    Source: Joshi et al. 2020 (SpanBERT), section 3.2: two layers with GeLU and LayerNorm, then the encoder's own
    input embeddings as the decoder.
    """

    def __init__(self, hidden_size: int, embedding_size: int, vocab_size: int) -> None:
        super().__init__()
        self.places = nn.Embedding(_MAX_POSITION, hidden_size)
        self.first = nn.Linear(3 * hidden_size, hidden_size)
        self.first_norm = nn.LayerNorm(hidden_size)
        self.second = nn.Linear(hidden_size, embedding_size)
        self.second_norm = nn.LayerNorm(embedding_size)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    @classmethod
    def of(cls, model: PreTrainedModel, seed: int) -> "SpanBoundaryHead":
        """A fresh head for ``model``, drawn from ``seed``."""
        torch.manual_seed(seed)
        vocab_size, embedding_size = embeddings_of(model).shape
        return cls(model.config.hidden_size, embedding_size, vocab_size)

    def forward(
        self, left: torch.Tensor, right: torch.Tensor, place: torch.Tensor, embeddings: torch.Tensor
    ) -> torch.Tensor:
        """Logits: float [n, vocab].

        Args:
            left, right: float [n, hidden]; the hidden states just outside the run.
            place: int64 [n]; the position in the run, from 0.
            embeddings: float [vocab, embedding].
        """
        known = torch.cat([left, right, self.places(place.clamp(max=_MAX_POSITION - 1))], dim=-1)
        hidden = self.first_norm(functional.gelu(self.first(known)))
        hidden = self.second_norm(functional.gelu(self.second(hidden)))
        return functional.linear(hidden, embeddings, self.bias)


def detection_head(model: PreTrainedModel, n_types: int, seed: int) -> nn.Linear:
    """A fresh head that classifies tokens as outside DS-mentions (0), or as beginning (1 + 2 t) or continuing (2 + 2 t)
    one of type t.
    """
    torch.manual_seed(seed)
    return nn.Linear(model.config.hidden_size, 1 + 2 * n_types)


class MaskedLmHead(nn.Module):
    """The MLM head of an encoder, on top of another model with the same encoder: float [n, hidden] to [n, vocab].

    Every family has a head of its own, so the whole masked language model is kept, with the states given to it in
    place of its encoder.
    """

    def __init__(self, masked_lm: PreTrainedModel, model: PreTrainedModel) -> None:
        super().__init__()
        decoder = masked_lm.get_output_embeddings()  # type: ignore[no-untyped-call]  # untyped there
        embeddings = model.get_input_embeddings().weight
        if decoder is not None and decoder.weight is masked_lm.get_input_embeddings().weight:
            decoder.weight = embeddings
        setattr(masked_lm, masked_lm.base_model_prefix, _Given(model.base_model))
        self.masked_lm = masked_lm

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.masked_lm(inputs_embeds=states[None]).logits[0]
        return logits


class _Given(nn.Module):
    """Stands for an encoder; its output is what it is given."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if hasattr(encoder, "embeddings"):  # some heads decode with them
            self.embeddings = encoder.embeddings

    def forward(self, *_inputs: object, inputs_embeds: torch.Tensor, **_options: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


def embeddings_of(model: PreTrainedModel) -> torch.Tensor:
    """The input embeddings: float [vocab, embedding]."""
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, torch.Tensor)
    return embeddings


def runs(
    row: NDArray[np.int64], positions: NDArray[np.int32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The positions left and right of each predicted token's run, and its position in it: int64 [n] each.

    A run consists of adjacent predicted tokens. At the end of a sequence a run is its own neighbour.

    Args:
        row: int64 [n]; the sequence of each predicted token, ascending. positions: ascending in each sequence.
        lengths: int64; the length of each sequence.
    """
    begins = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (row[1:] != row[:-1]) | (positions[1:] != positions[:-1] + 1)
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(row)))
    first, last = np.repeat(positions[starts], sizes), np.repeat(positions[starts] + sizes - 1, sizes)
    left, right = np.maximum(first - 1, 0), np.minimum(last + 1, lengths[row] - 1)
    return left.astype(np.int64), right.astype(np.int64), (positions - first).astype(np.int64)
