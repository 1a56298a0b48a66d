"""How long to fine-tune, and in which steps, by the size of the training data."""

from typing import NamedTuple

from mslm_cli.config import FinetuneConfig

_MIN_STEPS = 400
_MIN_EPOCHS, _MAX_EPOCHS = 5, 50
_STEPS_PER_EPOCH = 225
_MIN_TOKENS_PER_STEP, _MAX_TOKENS_PER_STEP = 256, 1024


class Schedule(NamedTuple):
    """The length of fine-tuning.

    patience: epochs without a better score after which to stop; 0 never stops early.
    """

    epochs: int
    tokens_per_step: int
    patience: int


def choose_schedule(config: FinetuneConfig, n_tokens: int) -> Schedule:
    """The schedule that ``config`` asks for, where ``auto`` is replaced by what suits the training data.

    Small data need more passes and smaller steps: what counts is the number of updates. The constants come from
    benchmarks/schedule.md.

    Args:
        n_tokens: tokens of the training data, including special tokens.
    """
    if config.tokens_per_step == "auto":
        tokens_per_step = min(max(n_tokens // _STEPS_PER_EPOCH, _MIN_TOKENS_PER_STEP), _MAX_TOKENS_PER_STEP)
    else:
        tokens_per_step = config.tokens_per_step
    if config.epochs == "auto":
        wanted = -(-_MIN_STEPS * tokens_per_step // max(1, n_tokens))
        epochs = min(max(wanted, _MIN_EPOCHS), _MAX_EPOCHS)
    else:
        epochs = config.epochs
    return Schedule(epochs, tokens_per_step, config.patience)
