"""Token classification on words: windows with first-piece labels, and their prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.corpus.alignment import word_windows
from mslm_cli.models import special_frame
from mslm_cli.training.batching import LaidOut, pad, plan_forward_passes, there
from mslm_cli.training.device import predicting
from mslm_cli.training.model import logits_at
from mslm_cli.training.packing import LayOut


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one sentence as the encoder sees it.

    ``input_ids``: int32 [n_tokens], special tokens included. ``words``: int64 [n_owned], the words that
    are labelled here; ``first_pieces``: int64 [n_owned], where the first piece of each stands.
    """

    sentence: int
    input_ids: NDArray[np.int32]
    words: NDArray[np.int64]
    first_pieces: NDArray[np.int64]


def make_windows(
    sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, max_length: int, overlap: int
) -> list[Window]:
    """The windows of all sentences in order; every word is labelled in exactly one of them.

    A word that the tokenizer turns into nothing stands as the unknown token; a word of more
    pieces than fit is cut to those that fit.

    Args:
        max_length: most tokens in a window, special ones included.
        overlap: tokens that neighbouring windows of one sentence share.
    """
    prefix, suffix = special_frame(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    windows = []
    for number, pieces in enumerate(_word_pieces(sentences, tokenizer)):
        for start, end, own_start, own_end in word_windows([len(p) for p in pieces], capacity, overlap):
            shown = [p[:capacity] for p in pieces[start:end]]
            first = len(prefix) + np.cumsum([0, *(len(p) for p in shown)])[:-1]
            ids = [*prefix, *(i for p in shown for i in p), *suffix]
            owned = slice(own_start - start, own_end - start)
            windows.append(Window(number, np.array(ids, np.int32), np.arange(own_start, own_end), first[owned]))
    return windows


def _word_pieces(sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast) -> Iterator[list[list[int]]]:
    """The piece ids of each word of each sentence."""
    unknown = tokenizer.unk_token_id
    placeholder = [unknown if unknown is not None else tokenizer.mask_token_id]
    for first in range(0, len(sentences), 1000):
        chunk = [list(words) for words in sentences[first : first + 1000]]
        encoded = tokenizer(chunk, is_split_into_words=True, add_special_tokens=False, return_attention_mask=False)
        for i, words in enumerate(chunk):
            pieces: list[list[int]] = [[] for _ in words]
            for word, piece in zip(encoded.word_ids(i), encoded["input_ids"][i], strict=True):
                pieces[word].append(piece)
            yield [p or placeholder for p in pieces]


@dataclass(frozen=True)
class WindowBatch:
    """Windows of one forward pass, and where in the flattened batch the labelled words stand.

    ``positions``: int64 [n_labelled]. ``total_weight``: labelled words of the whole optimizer step.
    """

    windows: Sequence[Window]
    laid_out: LaidOut
    positions: torch.Tensor
    total_weight: float

    @property
    def n_tokens(self) -> int:
        return sum(len(w.input_ids) for w in self.windows)


def collate(windows: Sequence[Window], lay_out: LayOut, *, total_weight: float = 1.0) -> WindowBatch:
    """Windows as one batch."""
    laid_out = lay_out([w.input_ids for w in windows])
    positions = np.concatenate([w.first_pieces + begin for w, begin in zip(windows, laid_out.begins, strict=True)])
    return WindowBatch(windows, laid_out, there(positions, laid_out.inputs["input_ids"].device), total_weight)


def window_lengths(windows: Sequence[Window]) -> NDArray[np.int64]:
    """Tokens of each window: int64 [n]."""
    return np.array([len(w.input_ids) for w in windows], dtype=np.int64)


@torch.no_grad()
def predict_tags(
    model: PreTrainedModel, windows: Sequence[Window], n_words: Sequence[int], *, pad_id: int, batch_tokens: int
) -> list[list[str]]:
    """The most probable tag of every word of every sentence.

    Args:
        n_words: words of each sentence; a sentence without words gets an empty list.
    """
    device = next(model.parameters()).device
    lay_out = partial(pad, pad_id=pad_id, device=device)
    names = {int(i): str(name) for i, name in (model.config.id2label or {}).items()}
    tags = [["O"] * n for n in n_words]
    model.train(False)
    for group in plan_forward_passes(np.arange(len(windows)), window_lengths(windows), batch_tokens):
        batch = collate([windows[i] for i in group], lay_out)
        with predicting(device):
            labels = logits_at(model, batch.laid_out, batch.positions).argmax(-1).tolist()
        owners = ((w.sentence, int(word)) for w in batch.windows for word in w.words)
        for (sentence, word), label in zip(owners, labels, strict=True):
            tags[sentence][word] = names[label]
    return tags
