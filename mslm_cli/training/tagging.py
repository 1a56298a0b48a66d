"""Token classification of words: windows with labelled word pieces, and prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.alignment import word_windows
from mslm_cli.corpus.labels import ScoredMention, strict_mentions
from mslm_cli.masking.batch import Int32, Int64, take_rows
from mslm_cli.models import special_frame, text_backend
from mslm_cli.text.tokens import visible
from mslm_cli.training.batching import ModelBatch, on_device, pad, plan_forward_passes
from mslm_cli.training.bert_classifier import BertClassifier
from mslm_cli.training.classifier import TokenClassifier, label_names
from mslm_cli.training.device import predicting
from mslm_cli.training.onnx import OnnxClassifier
from mslm_cli.training.selection import Selection

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer


@dataclass(frozen=True)
class Windows:
    """Concatenated windows of sentences, the input of the encoder.

    offsets: int64 [n + 1]; window i is ``[offsets[i], offsets[i + 1])`` of ``input_ids``, int32 [T], including special
    tokens. sentences: int64 [n], the sentence of each window. label_offsets: int64 [n + 1]; the labelled pieces of
    window i are ``[label_offsets[i], label_offsets[i + 1])`` of ``pieces``, int64 [P], their positions in the window,
    and of ``words``, int64 [P], their words in the sentence. If all pieces of a word are labelled, it occurs once for
    each. token_words: int64 [T], the word of each token in the sentence; -1 for special tokens.
    """

    offsets: Int64
    input_ids: Int32
    sentences: Int64
    label_offsets: Int64
    pieces: Int64
    words: Int64
    token_words: Int64

    def __len__(self) -> int:
        return len(self.sentences)

    def flat_words(self, n_words: Sequence[int]) -> Int64:
        """The word of each labelled piece, numbered over all sentences: int64 [P].

        Args:
            n_words: the number of words in each sentence.
        """
        first = np.cumsum([0, *n_words])[:-1]
        flat: Int64 = self.words + np.repeat(first[self.sentences], np.diff(self.label_offsets))
        return flat


class Context(NamedTuple):
    """The neighbouring sentences that are shown around each sentence, if they belong to the same document.

    n_sentences: the most on each side. documents: of each sentence; None has no neighbours.
    """

    n_sentences: int
    documents: Sequence[object]

    @classmethod
    def of(cls, config: FinetuneConfig, documents: Sequence[object]) -> "Context | None":
        """What to show around sentences of these documents."""
        if not config.context:
            return None
        return cls(len(documents) if config.context == "document" else config.context, documents)

    def around(self, sentence: int) -> tuple[range, range]:
        """The sentences before, from the nearest on, and those after."""
        first = last = sentence
        own = self.documents[sentence]
        if own is not None:
            while sentence - first < self.n_sentences and first > 0 and self.documents[first - 1] == own:
                first -= 1
            end = len(self.documents) - 1
            while last - sentence < self.n_sentences and last < end and self.documents[last + 1] == own:
                last += 1
        return range(sentence - 1, first - 1, -1), range(sentence + 1, last + 1)


def make_windows(
    sentences: Sequence[Sequence[str]],
    tokenizer: "AnyTokenizer",
    max_length: int,
    overlap: int,
    *,
    all_pieces: bool = False,
    context: Context | None = None,
) -> Windows:
    """The windows of all sentences in order; every word is labelled in exactly one window.

    A word without pieces becomes the unknown token; a word with too many pieces for a window is truncated.

    Args:
        max_length: maximum number of tokens in a window, including special tokens.
        overlap: tokens shared by adjacent windows of a sentence.
        all_pieces: label every piece of a word (for training), else only the first.
        context: what to show around a sentence that fits in a window, as far as there is room. It has no labels.
    """
    prefix, suffix = special_frame(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    if context is not None:  # farther sentences would not fit
        context = context._replace(n_sentences=min(context.n_sentences, capacity))
    ids: list[list[int]] = []
    numbers: list[int] = []
    labelled: list[Int64] = []
    words: list[Int64] = []
    token_words: list[Int64] = []
    pieces_of = list(word_pieces(sentences, tokenizer))
    for number, pieces in enumerate(pieces_of):
        windows = word_windows([len(p) for p in pieces], capacity, overlap)
        for start, end, own_start, own_end in windows:
            shown = [p[:capacity] for p in pieces[start:end]]
            left, right = prefix, suffix
            if context is not None and len(windows) == 1:
                before, after = _shown_around(context.around(number), pieces_of, capacity - sum(map(len, shown)))
                left, right = [*prefix, *before], [*after, *suffix]
            bounds = len(left) + np.cumsum([0, *(len(p) for p in shown)])
            own = bounds[own_start - start : own_end - start + 1]
            own_words, own_pieces = np.arange(own_start, own_end), own[:-1]
            if all_pieces:
                own_words, own_pieces = np.repeat(own_words, np.diff(own)), np.arange(own[0], own[-1])
            shown_words = np.repeat(np.arange(start, end), list(map(len, shown)))
            token_words += [np.full(len(left), -1), shown_words, np.full(len(right), -1)]
            ids.append([*left, *chain.from_iterable(shown), *right])
            numbers.append(number)
            labelled.append(own_pieces)
            words.append(own_words)
    nothing = np.empty(0, dtype=np.int64)
    offsets = np.cumsum([0, *map(len, ids)])
    return Windows(
        offsets,
        np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1])),
        np.array(numbers, dtype=np.int64),
        np.cumsum([0, *map(len, words)]),
        np.concatenate([nothing, *labelled]),
        np.concatenate([nothing, *words]),
        np.concatenate([nothing, *token_words]),
    )


def _shown_around(
    around: tuple[range, range], pieces_of: Sequence[list[list[int]]], room: int
) -> tuple[list[int], list[int]]:
    """The tokens before and after a sentence: whole words, at most ``room`` tokens, half of them on each side.

    What one side does not need, the other may use.
    """
    before = [word for number in around[0] for word in reversed(pieces_of[number])]  # the nearest first
    after = [word for number in around[1] for word in pieces_of[number]]
    n_after = sum(map(len, after))
    left = _fitting(before, max(room // 2, room - n_after))
    right = _fitting(after, room - sum(map(len, left)))
    return list(chain.from_iterable(reversed(left))), list(chain.from_iterable(right))


def _fitting(words: Sequence[list[int]], room: int) -> Sequence[list[int]]:
    """The first of ``words`` that have at most ``room`` tokens together."""
    n_tokens = np.cumsum([len(word) for word in words])
    return words[: int(np.searchsorted(n_tokens, room, side="right"))]


def piece_classes(windows: Windows, label_ids: Sequence[Int64], continuations: Int64) -> Int64:
    """The target label of each labelled piece: int64 [P].

    Args:
        label_ids: the labels of the words in each sentence, int64 [n_words].
        continuations: int64 [n_labels], the label of a word's later pieces, by that of its first.
    """
    flat = windows.flat_words([len(of_words) for of_words in label_ids])
    classes = np.concatenate([np.empty(0, dtype=np.int64), *label_ids])[flat]
    is_later = np.diff(flat, prepend=-1) == 0
    return np.where(is_later, continuations[classes], classes)


def continuations_of(labels: Sequence[str]) -> NDArray[np.int64]:
    """The label number of I-X for B-X and I-X, of O for O: int64 [n_labels]."""
    return np.array([labels.index(f"I-{name[2:]}") if name != "O" else i for i, name in enumerate(labels)], np.int64)


def word_pieces(sentences: Sequence[Sequence[str]], tokenizer: "AnyTokenizer") -> Iterator[list[list[int]]]:
    """The piece ids of each word in each sentence, without its invisible characters."""
    unknown = tokenizer.unk_token_id
    placeholder = [unknown if unknown is not None else tokenizer.mask_token_id]
    backend = text_backend(tokenizer)
    for first in range(0, len(sentences), 1000):
        chunk = [list(map(visible, words)) for words in sentences[first : first + 1000]]
        encodings = backend.encode_batch(chunk, is_pretokenized=True, add_special_tokens=False)
        for words, encoding in zip(chunk, encodings, strict=True):
            pieces: list[list[int]] = [[] for _ in words]
            for word, piece in zip(encoding.word_ids, encoding.ids, strict=True):
                assert word is not None  # only special tokens belong to no word
                pieces[word].append(piece)
            yield [p or placeholder for p in pieces]


@torch.inference_mode()
def predict_probabilities(
    model: TokenClassifier, windows: Windows, n_words: Sequence[int], *, pad_id: int, batch_tokens: int
) -> list[NDArray[np.float32]]:
    """The probability of every label for every word, by sentence: float32 [n_words, n_labels] each.

    Args:
        windows: with one labelled piece per word.
        n_words: the number of words in each sentence.
    """
    probabilities = np.zeros((sum(n_words), len(label_names(model))), np.float32)
    flat_words = windows.flat_words(n_words)
    for group in plan_forward_passes(np.arange(len(windows)), np.diff(windows.offsets), batch_tokens):
        offsets, tokens = take_rows(windows.offsets, group)
        label_offsets, labels = take_rows(windows.label_offsets, group)
        batch = pad(windows.input_ids[tokens], np.diff(offsets), pad_id)
        positions = windows.pieces[labels] + np.repeat(batch.begins, np.diff(label_offsets))
        logits = _logits(model, batch, positions)
        probabilities[flat_words[labels]] = logits.float().softmax(-1).cpu().numpy()
    return [probabilities[start:end] for start, end in pairwise(np.cumsum([0, *n_words]).tolist())]


@torch.inference_mode()
def position_logits(
    model: TokenClassifier, windows: Windows, positions: Int64, *, pad_id: int, batch_tokens: int
) -> NDArray[np.float32]:
    """The logits at one position of each window: float32 [n, n_labels].

    Args:
        positions: int64 [n], in their windows.
    """
    found = np.zeros((len(windows), len(label_names(model))), np.float32)
    for group in plan_forward_passes(np.arange(len(windows)), np.diff(windows.offsets), batch_tokens):
        offsets, tokens = take_rows(windows.offsets, group)
        batch = pad(windows.input_ids[tokens], np.diff(offsets), pad_id)
        found[group] = _logits(model, batch, batch.begins + positions[group]).float().cpu().numpy()
    return found


def _logits(model: TokenClassifier, batch: ModelBatch, positions: Int64) -> torch.Tensor:
    """The logits at positions of the flattened batch: float [n_positions, n_labels]."""
    if isinstance(model, OnnxClassifier):
        logits = model.logits(batch)
        return torch.from_numpy(logits.reshape(-1, logits.shape[-1])[positions])
    device = model.device
    selection = on_device(Selection.of(batch, positions), device)
    with predicting(device):
        if isinstance(model, BertClassifier):
            return model.logits_at(on_device(batch, device), selection)
        # transformers is imported only for models that need it
        from mslm_cli.training.model import logits_at

        model.train(False)
        return logits_at(model, on_device(batch, device), selection)


def best_labels(probabilities: NDArray[np.float32], labels: Sequence[str], threshold: float) -> Int64:
    """The number of the most probable label of each word in a sentence, with the odds of O times t / (1 - t): int64."""
    weights = np.array([threshold if label == "O" else 1 - threshold for label in labels])
    best: Int64 = (probabilities * weights).argmax(-1)
    return best


def scored_mentions(
    tags: Sequence[str], probabilities: NDArray[np.float32], labels: Sequence[str]
) -> list[ScoredMention]:
    """The mentions in the tags of a sentence (strict IOB2), each with its probability from 0 to 1.

    This is the probability that tags drawn independently for each word give exactly this mention: the product of the
    probabilities of B- for its first word, I- for the others, and anything but this I- for the word after it. It is not
    calibrated (models are overconfident), but better than the mean or the minimum over the words.

    Args:
        tags: with types that are among the labels.
        probabilities: float32 [n_words, n_labels].
    """
    return [
        ScoredMention(start, end, entity_type, _probability(start, end, entity_type, probabilities, labels))
        for start, end, entity_type in strict_mentions(tags)
    ]


def _probability(
    start: int, end: int, entity_type: str, probabilities: NDArray[np.float32], labels: Sequence[str]
) -> float:
    begins, inside = labels.index(f"B-{entity_type}"), labels.index(f"I-{entity_type}")
    probability = float(probabilities[start, begins] * probabilities[start + 1 : end, inside].prod())
    ends = 1.0 - float(probabilities[end, inside]) if end < len(probabilities) else 1.0
    return probability * ends
