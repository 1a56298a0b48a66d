"""Training data for token classification: windows of the sentences of one or several sources."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerFast

from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledSentence
from mslm_cli.corpus.labels import tags_from_mentions
from mslm_cli.training.labelled import Hiding, LabelledSequences, TrainingSource, concatenated
from mslm_cli.training.tagging import Context, Windows, continuations_of, make_windows, piece_classes

OUTSIDE = "O"
_MENTION_WEIGHT = 2
"""Of mentions in the loss of predicting what is hidden, as ``adapt --weights ratio:2`` has it."""


def training_sequences(
    sources: Sequence[TrainingSource], labels: Sequence[str], tokenizer: PreTrainedTokenizerFast, config: FinetuneConfig
) -> LabelledSequences:
    """Windows of the sentences, with the first or all pieces of each word labelled.

    Where a source does not annotate all types of ``labels``, an O in it may be O or any label of the other types.

    Args:
        sources: the training data first.
        labels: IOB2 labels, O first.
    """
    parts: list[LabelledSequences] = []
    sets: list[list[bool]] = []
    for source in sources:
        outside = 0
        possible = [label == OUTSIDE or label[2:] not in source.types for label in labels]
        if sum(possible) > 1:
            outside = len(labels) + len(sets)
            sets.append(possible)
        parts.append(_sequences(source, labels, outside, tokenizer, config))
    data = parts[0] if len(parts) == 1 else concatenated(parts)
    return replace(data, label_sets=np.array(sets, dtype=np.bool_).reshape(len(sets), len(labels)))


def _sequences(
    source: TrainingSource,
    labels: Sequence[str],
    outside: int,
    tokenizer: PreTrainedTokenizerFast,
    config: FinetuneConfig,
) -> LabelledSequences:
    """The windows of one source; ``outside`` is the class of its O."""
    sentences = source.corpus.sentences
    number = {label: i for i, label in enumerate(labels)} | {OUTSIDE: outside}
    label_ids = [
        np.array([number.get(t, outside) for t in tags_from_mentions(s.mentions, len(s.words))], dtype=np.int64)
        for s in sentences
    ]
    words, all_pieces = [s.words for s in sentences], config.label_pieces == "all"
    context = Context.of(config, [s.doc for s in sentences])
    length = tokenizer.model_max_length
    w = make_windows(words, tokenizer, length, config.overlap, all_pieces=all_pieces, context=context)
    later = np.concatenate([continuations_of(labels), np.arange(len(labels), outside + 1)])
    return LabelledSequences(
        w.offsets,
        w.input_ids,
        w.label_offsets,
        w.pieces,
        piece_classes(w, label_ids, later),
        weights=None if source.weights is None else np.array(source.weights, dtype=np.float32)[w.sentences],
        is_noisy=np.ones(len(w), dtype=np.bool_) if source.is_noisy else None,
        hiding=_hiding(w, sentences, tokenizer, config),
    )


def _hiding(
    windows: Windows,
    sentences: Sequence[LabelledSentence],
    tokenizer: PreTrainedTokenizerFast,
    config: FinetuneConfig,
) -> Hiding | None:
    """What may be hidden: mentions as a whole, and the words outside mentions one by one."""
    if not (config.mask_mentions or config.mask_words):
        return None
    units, is_mention = [], []
    for sentence in sentences:
        unit = np.arange(len(sentence.words))
        for start, end, _ in sentence.mentions:
            unit[start:end] = start
        units.append(unit)
        begins = {start for start, *_ in sentence.mentions}
        is_mention += [i in begins for i in range(len(unit))]
    first = np.cumsum([0, *map(len, units)])[:-1]
    flat = np.concatenate([unit + start for unit, start in zip(units, first, strict=True)])
    word = windows.token_words + np.repeat(first[windows.sentences], np.diff(windows.offsets))
    of_token = np.where(windows.token_words < 0, -1, flat[word])
    return Hiding(
        of_token,
        np.where(is_mention, config.mask_mentions, config.mask_words),
        np.where(is_mention, np.float32(_MENTION_WEIGHT), np.float32(1)),
        tokenizer.mask_token_id,
        config.seed,
        config.mlm,
    )
