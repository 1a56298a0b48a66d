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
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from mslm_cli.errors import UsageError
from mslm_cli.provenance import portable_path

_THREE_SHARES = "expected three shares that sum to 1, such as 0.8,0.1,0.1"


def _parse_shares(value: object) -> object:
    shares = tuple(value.split(",")) if isinstance(value, str) else value
    if not isinstance(shares, tuple | list) or len(shares) != 3:
        raise ValueError(_THREE_SHARES)
    return shares


def _sum_to_one(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(value) < 0 or abs(sum(value) - 1.0) > 1e-9:
        raise ValueError(_THREE_SHARES)
    return value


def _portable(value: str) -> str:
    return portable_path(Path(value)) if Path(value).is_absolute() else value


def _parse_list(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Name = Annotated[str, PlainSerializer(_portable)]
"""A folder or the name of something known; written down without the path to it."""

BatchTokens = Annotated[str, BeforeValidator(str), Field(pattern=r"^(auto|[1-9]\d+)$")]
"""Most tokens in one forward pass, or ``auto``."""

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Source = Literal["pipeline", "abbreviation", "termhood"]
Shares = Annotated[tuple[float, float, float], BeforeValidator(_parse_shares), AfterValidator(_sum_to_one)]


class Config(BaseModel):
    """Base of all command configurations: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {"checkpoint_every", "tensorboard", "keep_checkpoints", "model", "offline", "pipeline", "threads", "workers"}
    )
    """Options that change how the work is done, not what comes out, or that name an input (known by its content)."""

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values; part of a fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.outside_identity))

    @classmethod
    def build(cls, file: Path | None = None, /, **options: object) -> Self:
        """The validated configuration.

        Args:
            file: where the options are from, if not from the command line.

        Raises:
            UsageError: an option is unknown or out of bounds; the message names it.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            option = f"--{name.replace('_', '-')}" if file is None else f"{file}: {name}"
            if first["type"] == "extra_forbidden":
                raise UsageError(f"{option}: there is no such option") from error
            if first["type"] == "string_pattern_mismatch":
                hint = cls.model_fields[name].description
                raise UsageError(f"{option}: cannot be {options[name]!r}", hint=hint) from error
            message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
            raise UsageError(f"{option}: {message}, found {options[name]!r}") from error


class TextOptions(Config):
    """How text input is read."""

    format: Literal["auto", "text", "conll"] = Field("auto", description="What the input is; auto looks at each file.")
    one_per_line: bool = Field(False, description="Plain text: every line is a document (else blank lines part them).")
    encoding: str = Field("utf-8", description="Character encoding of the input.")
    errors: Literal["strict", "replace", "ignore"] = Field("strict", description="What to do with undecodable bytes.")


class ModelOptions(Config):
    """Which encoder, and how it may be loaded."""

    model: Name = Field("minilm", description="Encoder: `minilm`, a local folder, or a hub id.")
    offline: bool = Field(False, description="Fetch nothing; use what is on this machine.")
    lowercase: bool | None = Field(None, description="Lowercase text, where the checkpoint does not say.")


class ExtractTermsConfig(TextOptions):
    """Options of ``mslm extract-terms``."""

    pipeline: Name = Field(
        "biomedical",
        description="Mention detector: `biomedical` (packaged), a spaCy pipeline by name or path, or `none`.",
    )
    min_count: int = Field(2, ge=1, description="Fewest occurrences of a term (your own are always kept).")
    min_score: float = Field(1.0, ge=0, description="Lowest score of n-grams and abbreviations.")
    types: Annotated[tuple[str, ...], BeforeValidator(_parse_list)] = Field(
        (), description="Keep only terms of these types, parted by commas (and your own without one)."
    )
    max_terms: int = Field(50_000, ge=1, description="Keep at most so many terms, the best (your own are always kept).")
    sources: Annotated[tuple[Source, ...], BeforeValidator(_parse_list)] = Field(
        ("pipeline", "abbreviation", "termhood"), description="Where terms may come from, besides your own lists."
    )
    max_words: int = Field(6, ge=1, le=12, description="Longest n-gram candidate, in words.")
    link_similarity: float = Field(
        0.8, gt=0, le=1, description="--link: least similarity of a term to a name of the knowledge base."
    )
    workers: int = Field(1, ge=1, description="Processes that read text; the result does not depend on it.")


class MatchConfig(TextOptions):
    """Options of ``mslm match``."""


class PreprocessConfig(TextOptions, ModelOptions):
    """Options of ``mslm preprocess``."""

    strategy: Literal["mslm", "entity", "token", "word", "span", "pmi", "none"] = Field(
        "mslm", description="What is masked: DS-terms and generic words, DS-terms, tokens, words, spans, collocations."
    )
    elm_rate: Rate = Field(0.5, description="mslm, entity: share of DS-term mentions that are masked, whole.")
    blm_rate: Rate = Field(0.15, description="mslm: share of the generic words that are masked.")
    rate: Rate = Field(
        0.15,
        description="token, word, pmi: share of the tokens, words or collocations that are masked;"
        " span: share of the tokens of each sequence.",
    )
    budget: float | None = Field(
        None, ge=0.0, le=1.0, description="Share of all tokens to mask; the rate is solved for (mslm: the blm rate)."
    )
    schedule: str = Field(
        "constant",
        pattern=r"^(constant|linear:(0?\.\d+|[01](\.0*)?):(0?\.\d+|[01](\.0*)?))$",
        description="constant, or linear:FROM:TO, the budget of the first and of the last copy.",
    )
    pmi_min_count: int = Field(10, ge=0, description="pmi: a collocation occurs more often than this.")
    pmi_size: int | None = Field(
        None, ge=1, description="pmi: number of collocations; else half of those that are frequent enough."
    )
    mask_replace: Shares = Field(
        (0.8, 0.1, 0.1), description="Shares of masked units that become [MASK], become random, stay as they are."
    )
    copies: int = Field(1, ge=1, le=1000, description="Masks for so many epochs, each drawn anew.")
    dynamic: bool = Field(
        False, description="Write no masks: `mslm adapt` draws the same ones as it goes, anew for every epoch."
    )
    max_length: int = Field(128, ge=8, description="Longest sequence, in tokens, special ones included.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the masks.")
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


class FinetuneConfig(TrainingOptions):
    """Options of ``mslm finetune``."""

    task: str = Field("ner", description="What to learn: `ner`, or a task that an installed package adds.")
    epochs: int = Field(5, ge=1, description="Passes over the training sentences.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate; linear warm-up and decay.")
    tokens_per_step: int = Field(1024, ge=16, description="Real tokens that make one optimizer step.")
    max_length: int = Field(512, ge=8, description="Longest window, in tokens; capped at the encoder's limit.")
    overlap: int = Field(64, ge=0, description="Tokens that neighbouring windows of a long sentence share.")
    label_pieces: Literal["first", "all"] = Field(
        "first", description="Pieces of a word that are labelled in training; all suits other tools that read pieces."
    )
    encoding: str = Field("utf-8", description="Character encoding of the data.")
    errors: Literal["strict", "replace", "ignore"] = Field("strict", description="What to do with undecodable bytes.")


class EvalConfig(Config):
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
    encoding: str = Field("utf-8", description="Character encoding of the data.")
    errors: Literal["strict", "replace", "ignore"] = Field("strict", description="What to do with undecodable bytes.")


class PredictConfig(TextOptions):
    """Options of ``mslm predict``."""

    words: Literal["auto", "punctuation", "joined"] = Field(
        "auto",
        description="How raw text is parted into words: at all punctuation, or not at what stands inside (IL-2R);"
        " auto does as the model's training data do.",
    )
    batch_tokens: int = Field(2048, ge=16, description="Most tokens in one forward pass.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run; auto takes CUDA if present.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch.")


class CompareConfig(Config):
    """Options of ``mslm compare``."""

    replicates: int = Field(5000, ge=1, description="Replicates of the bootstrap and of the randomisation.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of both.")
    encoding: str = Field("utf-8", description="Character encoding of the data.")
    errors: Literal["strict", "replace", "ignore"] = Field("strict", description="What to do with undecodable bytes.")


class ProbeConfig(TextOptions):
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


class StudyConfig(StudyOptions):
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
