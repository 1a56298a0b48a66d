"""Counts of masked tokens, mentions and words."""

from dataclasses import dataclass, fields
from typing import Self

from mslm_cli.masking.batch import DS_TERM, GENERIC, Drawn, Masks, RaggedBatch


@dataclass(frozen=True)
class MaskCounts:
    """Numbers of tokens (without special tokens), of mentions, and of words outside them; can be added."""

    n_tokens: int = 0
    n_ds_tokens: int = 0
    n_mentions: int = 0
    n_generic_words: int = 0
    n_predicted: int = 0
    n_predicted_generic: int = 0
    n_predicted_ds_term: int = 0
    n_predicted_ds: int = 0
    n_predicted_mentions: int = 0
    n_predicted_generic_words: int = 0
    n_to_mask: int = 0
    n_unchanged: int = 0

    @classmethod
    def of(cls, batch: RaggedBatch, drawn: Drawn, masks: Masks, mask_id: int) -> Self:
        """The counts of one batch."""
        in_mention, predicted = batch.in_mention, drawn.kinds > 0
        word_starts, _ = batch.words
        generic_words = word_starts[~in_mention[word_starts]]
        _, mention_starts, _ = batch.mentions
        return cls(
            n_tokens=int((batch.word_ids >= 0).sum()),
            n_ds_tokens=int(in_mention.sum()),
            n_mentions=len(mention_starts),
            n_generic_words=len(generic_words),
            n_predicted=len(masks.positions),
            n_predicted_generic=int((masks.kinds == GENERIC).sum()),
            n_predicted_ds_term=int((masks.kinds == DS_TERM).sum()),
            n_predicted_ds=int((predicted & in_mention).sum()),
            n_predicted_mentions=int((drawn.kinds[mention_starts] == DS_TERM).sum()),
            n_predicted_generic_words=int(predicted[generic_words].sum()),
            n_to_mask=int((masks.replacements == mask_id).sum()),
            n_unchanged=int((masks.replacements == batch.input_ids[predicted]).sum()),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def rates(self) -> dict[str, float]:
        """Predicted fractions of all tokens, of tokens in and outside mentions, of mentions, and of generic words.

        A mention counts if it was masked as a whole (DS_TERM); 0 if there is nothing to mask.
        """
        n_generic = self.n_tokens - self.n_ds_tokens
        return {
            "all_tokens": share(self.n_predicted, self.n_tokens),
            "ds_tokens": share(self.n_predicted_ds, self.n_ds_tokens),
            "generic_tokens": share(self.n_predicted - self.n_predicted_ds, n_generic),
            "mentions": share(self.n_predicted_mentions, self.n_mentions),
            "generic_words": share(self.n_predicted_generic_words, self.n_generic_words),
        }

    def corruption(self) -> dict[str, float]:
        """The fractions of predicted tokens that were masked, replaced by another token, and left unchanged."""
        n_random = self.n_predicted - self.n_to_mask - self.n_unchanged
        return {
            "mask": share(self.n_to_mask, self.n_predicted),
            "random": share(n_random, self.n_predicted),
            "unchanged": share(self.n_unchanged, self.n_predicted),
        }


def share(part: int, whole: int) -> float:
    """``part / whole``, or 0 if ``whole`` is 0."""
    return part / whole if whole else 0.0
