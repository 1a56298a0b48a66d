"""``mslm show-masks``: show sequences of a shards artifact as the model gets them."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mslm_cli import artifacts, models
from mslm_cli.config import PreprocessConfig
from mslm_cli.masking.batch import DS_TERM, NOT_PREDICTED
from mslm_cli.masking.recipe import open_masks
from mslm_cli.masking.shards import ShardReader

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer

STYLES = {
    "DS-term masked": "bold red",
    "generic masked": "bold blue",
    "random": "bold magenta",
    "kept": "bold green",
    "DS-term": "underline",
    "special": "dim",
    "text": "",
}
"""The terminal style of each ``StyledText.look``."""


@dataclass(frozen=True)
class MaskedSequence:
    """One sequence; all lists except ``spans`` have one entry per token.

    ids: as in the text. input_ids: as the model gets them. word_ids: the word, None for a special token.
    kind: 0 not predicted, 1 generic word, 2 DS-term. spans: DS-mentions [start, end) in tokens.
    """

    ids: list[int]
    input_ids: list[int]
    word_ids: list[int | None]
    kind: list[int]
    spans: list[list[int]]


class StyledText(NamedTuple):
    """The text of adjacent tokens with the same outcome.

    look: text, special or DS-term if not predicted; else "DS-term masked" or "generic masked" for [MASK], random, or
        kept.
    text: the text to print, on a terminal or in a pipe.
    """

    look: str
    text: str


def run(shards: Path, n: int, epoch: int) -> list[MaskedSequence]:
    """The first ``n`` sequences with the masks of epoch ``epoch``, from 0.

    Raises:
        ArtifactError: the shards are damaged or lack this epoch.
    """
    source = artifacts.load(shards, "shards")
    reader = ShardReader(source.path)
    config = source.options(PreprocessConfig)
    indices = np.arange(min(n, len(reader)))
    masks = open_masks(reader, config, load_tokenizer(source.path)).epoch(epoch).batch(indices)
    shown = []
    for index, first, last in zip(indices.tolist(), masks.offsets[:-1], masks.offsets[1:], strict=True):
        sequence = reader[index]
        positions = masks.positions[first:last]
        input_ids, mask_kinds = sequence.input_ids.copy(), np.zeros(len(sequence.input_ids), dtype=np.uint8)
        input_ids[positions] = masks.replacements[first:last]
        mask_kinds[positions] = masks.kinds[first:last]
        shown.append(
            MaskedSequence(
                ids=sequence.input_ids.tolist(),
                input_ids=input_ids.tolist(),
                word_ids=[None if word < 0 else word for word in sequence.word_ids.tolist()],
                kind=mask_kinds.tolist(),
                spans=sequence.spans.tolist(),
            )
        )
    return shown


def load_tokenizer(shards: Path) -> "AnyTokenizer":
    """The tokenizer of the shards."""
    return models.load_text_tokenizer(shards / "tokenizer", lowercase=None)


def styled(sequence: MaskedSequence, tokenizer: "AnyTokenizer") -> list[StyledText]:
    """The text of a sequence: DS-terms between underscores; in braces, what is predicted and its input."""
    backend = tokenizer.backend_tokenizer
    in_mention = {position for start, end in sequence.spans for position in range(start, end)}

    def look(position: int) -> str:
        before, after = sequence.ids[position], sequence.input_ids[position]
        if sequence.kind[position] == NOT_PREDICTED:
            if sequence.word_ids[position] is None:
                return "special"
            return "DS-term" if position in in_mention else "text"
        if after == tokenizer.mask_token_id:
            return "DS-term masked" if sequence.kind[position] == DS_TERM else "generic masked"
        return "kept" if after == before else "random"

    def piece(token: int) -> str:
        return str(backend.id_to_token(token))

    def joined(pieces: list[str]) -> str:
        return " ".join(pieces) if backend.decoder is None else str(backend.decoder.decode(pieces)).strip()

    found = []
    for (name, mask_kind), group in groupby(range(len(sequence.ids)), lambda p: (look(p), sequence.kind[p])):
        positions = list(group)
        before, after = ([piece(ids[p]) for p in positions] for ids in (sequence.ids, sequence.input_ids))
        text = " ".join(before) if name == "special" else joined(before)
        if name == "DS-term" or mask_kind == DS_TERM:
            text = f"_{text}_"
        if mask_kind != NOT_PREDICTED:
            text = f"{{{text} -> {' '.join(after)}}}"
        found.append(StyledText(name, text))
    return found
