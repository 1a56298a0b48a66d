"""Token classification on words: windows with labelled pieces, and their prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli.corpus.alignment import word_windows
from mslm_cli.corpus.labels import Mention
from mslm_cli.models import special_frame
from mslm_cli.training.batching import ModelBatch, pad, plan_forward_passes, to_device
from mslm_cli.training.device import predicting
from mslm_cli.training.model import logits_at
from mslm_cli.training.packing import Collator


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one sentence as the encoder sees it.

    ``input_ids``: int32 [n_tokens], special tokens included. ``words``: int64 [n_labelled], the words that
    are labelled here; ``pieces``: int64 [n_labelled], where the labelled piece of each stands. A word of which
    all pieces are labelled comes once for each.
    """

    sentence: int
    input_ids: NDArray[np.int32]
    words: NDArray[np.int64]
    pieces: NDArray[np.int64]


def make_windows(
    sentences: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    overlap: int,
    *,
    all_pieces: bool = False,
) -> list[Window]:
    """The windows of all sentences in order; every word is labelled in exactly one of them.

    A word that the tokenizer turns into nothing stands as the unknown token; a word of more
    pieces than fit is cut to those that fit.

    Args:
        max_length: most tokens in a window, special ones included.
        overlap: tokens that neighbouring windows of one sentence share.
        all_pieces: label every piece of a word, for training; else its first one.
    """
    prefix, suffix = special_frame(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    windows = []
    for number, pieces in enumerate(_word_pieces(sentences, tokenizer)):
        for start, end, own_start, own_end in word_windows([len(p) for p in pieces], capacity, overlap):
            shown = [p[:capacity] for p in pieces[start:end]]
            bounds = len(prefix) + np.cumsum([0, *(len(p) for p in shown)])
            ids = [*prefix, *(i for p in shown for i in p), *suffix]
            own = bounds[own_start - start : own_end - start + 1]
            words, labelled = np.arange(own_start, own_end), own[:-1]
            if all_pieces:
                words, labelled = np.repeat(words, np.diff(own)), np.arange(own[0], own[-1])
            windows.append(Window(number, np.array(ids, np.int32), words, labelled))
    return windows


def window_targets(window: Window, label_ids: NDArray[np.int64], continuations: NDArray[np.int64]) -> NDArray[np.int64]:
    """What each labelled piece of ``window`` should be: int64 [n_labelled].

    Args:
        label_ids: int64 [n_words], the label of each word of the sentence.
        continuations: int64 [n_labels], the label of a word's later pieces, by that of its first one.
    """
    targets = label_ids[window.words]
    is_later = np.diff(window.words, prepend=-1) == 0
    return np.where(is_later, continuations[targets], targets)


def continuations_of(labels: Sequence[str]) -> NDArray[np.int64]:
    """The number of I-X for both B-X and I-X, of O for O: int64 [n_labels]."""
    return np.array([labels.index(f"I-{name[2:]}") if name != "O" else i for i, name in enumerate(labels)], np.int64)


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
    model_batch: ModelBatch
    positions: torch.Tensor
    total_weight: float

    @property
    def n_tokens(self) -> int:
        return sum(len(w.input_ids) for w in self.windows)


def collate(windows: Sequence[Window], collate_fn: Collator, *, total_weight: float = 1.0) -> WindowBatch:
    """Windows as one batch."""
    model_batch = collate_fn([w.input_ids for w in windows])
    positions = np.concatenate([w.pieces + begin for w, begin in zip(windows, model_batch.begins, strict=True)])
    return WindowBatch(windows, model_batch, to_device(positions, model_batch.inputs["input_ids"].device), total_weight)


def window_lengths(windows: Sequence[Window]) -> NDArray[np.int64]:
    """Tokens of each window: int64 [n]."""
    return np.array([len(w.input_ids) for w in windows], dtype=np.int64)


def label_names(model: PreTrainedModel) -> list[str]:
    """The names of a token classifier's labels, by number."""
    return [str(name) for _, name in sorted((int(i), name) for i, name in (model.config.id2label or {}).items())]


@torch.inference_mode()
def predict_probabilities(
    model: PreTrainedModel, windows: Sequence[Window], n_words: Sequence[int], *, pad_id: int, batch_tokens: int
) -> list[NDArray[np.float32]]:
    """The probability of every label for every word of every sentence: float32 [n_words, n_labels] each.

    Args:
        windows: with one labelled piece a word.
        n_words: words of each sentence.
    """
    device = next(model.parameters()).device
    collate_fn = partial(pad, pad_id=pad_id, device=device)
    offsets = np.cumsum([0, *n_words])
    probabilities = np.zeros((int(offsets[-1]), len(label_names(model))), np.float32)
    model.train(False)
    for group in plan_forward_passes(np.arange(len(windows)), window_lengths(windows), batch_tokens):
        batch = collate([windows[i] for i in group], collate_fn)
        with predicting(device):
            logits = logits_at(model, batch.model_batch, batch.positions)
        rows = np.concatenate([w.words + offsets[w.sentence] for w in batch.windows])
        probabilities[rows] = logits.float().softmax(-1).cpu().numpy()
    return [probabilities[start:end] for start, end in pairwise(offsets.tolist())]


def predict_tags(
    model: PreTrainedModel, windows: Sequence[Window], n_words: Sequence[int], *, pad_id: int, batch_tokens: int
) -> list[list[str]]:
    """The most probable tag of every word of every sentence; see ``predict_probabilities``."""
    found = predict_probabilities(model, windows, n_words, pad_id=pad_id, batch_tokens=batch_tokens)
    labels = label_names(model)
    return [best_tags(probabilities, labels) for probabilities in found]


def best_tags(probabilities: NDArray[np.float32], labels: Sequence[str]) -> list[str]:
    """The most probable tag of each word of a sentence."""
    return [labels[i] for i in probabilities.argmax(-1).tolist()]


def mention_scores(
    mentions: Sequence[Mention], probabilities: NDArray[np.float32], labels: Sequence[str]
) -> list[float]:
    """The probability of each mention of a sentence, from 0 to 1.

    It is the probability that tags drawn word by word, independently, spell this very mention: the product of
    those of B- for its first word, I- for the others, and anything but this I- for the word after it. It is no
    calibrated probability (models are too sure), but nearer to one than the mean or the minimum over the words.

    Args:
        mentions: of words [start, end), of types that the labels know.
        probabilities: float32 [n_words, n_labels].
    """
    number = {label: i for i, label in enumerate(labels)}
    scores = []
    for start, end, kind in mentions:
        inside = number[f"I-{kind}"]
        spelled = float(probabilities[start, number[f"B-{kind}"]] * probabilities[start + 1 : end, inside].prod())
        ends = 1.0 - float(probabilities[end, inside]) if end < len(probabilities) else 1.0
        scores.append(spelled * ends)
    return scores
