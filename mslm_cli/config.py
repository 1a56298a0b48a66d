"""The resolved configuration of every command, and how it is read from a file.

One frozen model a command: its field names are the option names, its defaults
are the command line's defaults, its bounds are checked here and nowhere else.
What names an input or the output is not part of it: inputs enter an artifact's
fingerprint by their content.
"""

import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mslm_cli.corpus.options import DataOptions
from mslm_cli.errors import UsageError
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.options import Config, Name, Rate
from mslm_cli.terms.options import TermOptions

BatchTokens = Annotated[str, BeforeValidator(str), Field(pattern=r"^(auto|[1-9]\d+)$")]
"""Most tokens in one forward pass, or ``auto``."""


class ModelOptions(Config):
    """Which encoder, and how it may be loaded."""

    model: Name = Field("minilm", description="Encoder: `minilm`, a local folder, or a hub id.")
    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    lowercase: bool | None = Field(None, description="Lowercase text, where the checkpoint does not say.")


class ExtractTermsConfig(DataOptions, TermOptions):
    """Options of ``mslm extract-terms``."""

    link_similarity: float = Field(
        0.8, gt=0, le=1, description="--link: least similarity of a term to a name of the knowledge base."
    )
    workers: int = Field(1, ge=1, description="Processes that read text; the result does not depend on it.")


class MatchConfig(DataOptions):
    """Options of ``mslm match``."""


class PreprocessConfig(DataOptions, ModelOptions, MaskingOptions):
    """Options of ``mslm preprocess``."""

    max_length: int = Field(128, ge=8, description="Longest sequence, in tokens, special ones included.")
    shard_sequences: int = Field(65_536, ge=1, description="Sequences in one shard file.")


class TrainingOptions(ModelOptions):
    """What ``adapt`` and ``finetune`` have in common."""

    allow_pickle: bool = Field(False, description="Load a checkpoint that has only pytorch_model.bin.")
    epochs: int = Field(1, ge=0, description="Passes over the data; 0 trains a fresh MLM head alone.")
    learning_rate: float = Field(3e-4, gt=0, description="Peak learning rate; linear warm-up and decay.")
    warmup_share: Rate = Field(0.06, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay (not on biases and norms).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    tokens_per_step: int = Field(4096, ge=16, description="Real tokens that make one optimizer step.")
    batch_tokens: BatchTokens = Field(
        "auto", description="Most tokens in one forward pass: memory and speed, not the result; auto takes what fits."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="What matrices are multiplied in; auto takes bf16 where the device has instructions for it."
    )
    tensorboard: Name = Field("", description="A folder for the metrics as TensorBoard events, too.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of initial heads, order and dropout.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")
    checkpoint_every: str = Field(
        "5m",
        pattern=r"^[1-9]\d*(s|m|h|steps)$",
        description="From checkpoint to checkpoint: time (30s, 5m, 1h) or steps (200steps).",
    )
    keep_checkpoints: int = Field(2, ge=1, description="So many checkpoints, the newest, are kept until the run ends.")


class AdaptConfig(TrainingOptions):
    """Options of ``mslm adapt``."""

    weights: str = Field(
        "ratio:2",
        pattern=r"^(uniform|frequency|reference|ratio:\d+(\.\d+)?)$",
        description="Loss weights of generic words and DS-terms: uniform, frequency, reference, or ratio:R.",
    )
    sbo: float = Field(
        0.0, ge=0, description="Weight of the span-boundary objective: runs predicted from what stands beside them."
    )
    detect: float = Field(
        0.0, ge=0, description="Weight of the detection objective: which of the tokens left unmasked are DS-terms."
    )
    steps: int | None = Field(
        None, ge=1, description="Steps in all, over as many epochs as they take, instead of --epochs."
    )
    head_warmup_steps: int = Field(
        100, ge=0, description="Steps of a fresh MLM head alone, before the encoder is trained."
    )


class FinetuneConfig(DataOptions, TrainingOptions):
    """Options of ``mslm finetune``."""

    epochs: int = Field(5, ge=1, description="Passes over the training sentences.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate; linear warm-up and decay.")
    tokens_per_step: int = Field(1024, ge=16, description="Real tokens that make one optimizer step.")
    max_length: int = Field(512, ge=8, description="Longest window, in tokens; capped at the encoder's limit.")
    overlap: int = Field(64, ge=0, description="Tokens that neighbouring windows of a long sentence share.")
    label_pieces: Literal["first", "all"] = Field(
        "first", description="Pieces of a word that are labelled in training; all suits other tools that read pieces."
    )


class EvalConfig(DataOptions):
    """Options of ``mslm eval``."""

    no_text: bool = Field(
        False, description="Keep source text out of what is written and printed: positions and hashes alone."
    )

    replicates: int = Field(1000, ge=1, description="Bootstrap replicates of the 95 % intervals.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the bootstrap.")
    examples: int = Field(3, ge=0, description="Examples to keep and show of each kind of error.")
    batch_tokens: int = Field(2048, ge=16, description="Most tokens in one forward pass.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")


class PredictConfig(DataOptions):
    """Options of ``mslm predict``."""

    words: Literal["auto", "punctuation", "joined"] = Field(
        "auto",
        description="How raw text is split into words: at all punctuation, or not at what stands inside (IL-2R);"
        " auto does as the model's training data do.",
    )
    batch_tokens: int = Field(2048, ge=16, description="Most tokens in one forward pass.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")


class ConvertConfig(DataOptions):
    """Options of ``mslm convert``."""


class InspectConfig(DataOptions):
    """Options of ``mslm inspect``."""

    model: Name = Field("", description="Encoder whose tokenizer and windows to check: `minilm`, a folder, a hub id.")
    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    lowercase: bool | None = Field(None, description="Lowercase text, where the checkpoint does not say.")
    max_length: int = Field(512, ge=8, description="Longest window, in tokens; capped at the encoder's limit.")
    overlap: int = Field(64, ge=0, description="Tokens that neighbouring windows of a long sentence share.")


class CompareConfig(DataOptions):
    """Options of ``mslm compare``."""

    replicates: int = Field(5000, ge=1, description="Replicates of the bootstrap and of the randomisation.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of both.")


class ProbeConfig(DataOptions):
    """Options of ``mslm probe``."""

    items: int = Field(1000, ge=1, description="Most mentions to probe, and as many of each other kind.")
    max_length: int = Field(128, ge=8, description="Longest sequence, in tokens, special ones included.")
    warm_up_head: bool = Field(
        False, description="Train a fresh MLM head alone on half of the documents, and probe the other half."
    )
    head_steps: int = Field(100, ge=1, description="Steps of --warm-up-head, of 4096 tokens each.")
    replicates: int = Field(1000, ge=1, description="Bootstrap replicates of the 95 % intervals.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the choice of items, fresh heads and the bootstrap.")
    batch_tokens: int = Field(2048, ge=16, description="Most tokens in one forward pass.")
    lowercase: bool | None = Field(None, description="Lowercase text, where the checkpoint does not say.")
    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")


class DemoConfig(Config):
    """Options of ``mslm demo``."""

    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of masks and training.")


class StudyOptions(Config):
    """What ``mslm sweep`` and ``mslm study`` have in common: how a study is run."""

    jobs: int = Field(1, ge=1, description="Processes that work through the trials side by side, one a GPU.")
    search: bool = Field(False, description="First search masking rates and weight on dev; the winner becomes an arm.")
    dry_run: bool = Field(False, description="Print the plan, with an estimate measured on this machine, and stop.")
    storage: str | None = Field(None, description="URL of a database for the trials; else a journal file in OUTPUT.")
    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads of each process; 0 shares the cores out among --jobs.")


class SweepConfig(StudyOptions):
    """Options of ``mslm sweep``."""

    data_root: str | None = Field(None, description="Folder that data paths start from [or $MSLM_DATA_ROOT].")


class StudyConfig(DataOptions, StudyOptions):
    """Options of ``mslm study``."""

    model: Name = Field("minilm", description="Encoder: `minilm`, a local folder, or a hub id.")
    seeds: int = Field(3, ge=1, description="Seeds of every arm; nothing is shown with fewer than 3.")
    tokens: int = Field(1_000_000, ge=1, description="Tokens that every adapted arm is adapted on.")
    epochs: int = Field(5, ge=1, description="Passes of fine-tuning over the training sentences.")


def read_config_file(path: Path, command: str, commands: Collection[str]) -> dict[str, Any]:
    """Options for ``command`` from a TOML file, or from an artifact's manifest.json.

    A TOML file holds options at top level, or in tables named after the ``commands`` they are for.

    Raises:
        UsageError: the file cannot be read or parsed, or its tables are none of ``commands``.
    """
    try:
        raw = path.read_bytes()
        found = json.loads(raw)["config"] if path.suffix == ".json" else tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line, reason = (f":{place[1]}", str(error)[: place.start()]) if place else ("", str(error))
        kind = "a manifest.json" if path.suffix == ".json" else "TOML"
        raise UsageError(f"{path}{line}: not {kind}: {reason}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: not a manifest.json of mslm: its config is no table of options")
    tables = {name for name, value in found.items() if isinstance(value, dict)}
    if unknown := sorted(tables - set(commands)):
        raise UsageError(f"{path}: [{unknown[0]}] is no command", hint=f"the tables are {', '.join(commands)}")
    if tables and (outside := sorted(found.keys() - tables)):
        raise UsageError(f"{path}: {outside[0]} stands outside of the tables", hint=f"move it into [{command}]")
    options = found.get(command, {}) if tables else found
    return {str(k).replace("-", "_"): v for k, v in options.items()}
