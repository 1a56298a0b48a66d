"""The configuration of every command, and reading it from a file.

Each command has one frozen model, whose fields give the names, defaults and bounds of the options on the command line.
Inputs and outputs are not part of it: inputs enter an artifact's fingerprint by their content.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mslm_cli.corpus.options import TEXT_ONLY, DataOptions, Way
from mslm_cli.errors import UsageError
from mslm_cli.execution.work import n_cores
from mslm_cli.masking.options import MaskingOptions
from mslm_cli.options import Config, Name, Rate, parse_list, read_bounded, read_toml
from mslm_cli.terms.options import TermOptions

Auto = Literal["auto"]

BatchTokens = Annotated[str, BeforeValidator(str), Field(pattern=r"^(auto|[1-9]\d+)$")]
"""Maximum number of tokens in a forward pass, or ``auto``."""


def _count_or_auto(value: object) -> object:
    try:
        if value == "auto" or int(str(value)) > 0:
            return value
    except ValueError:
        pass
    raise ValueError("expected a positive whole number or auto")


AutoCount = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]


def _count_or_document(value: object) -> object:
    if value == "document" or str(value).isdecimal():
        return value
    raise ValueError("expected a whole number or document")


_UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: object) -> object:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB|TB|)", str(value).strip(), re.IGNORECASE)
    if found is None:
        raise ValueError("expected a size such as 500MB or 16GB")
    return round(float(found[1]) * _UNITS[found[2].upper()])


Bytes = Annotated[int, BeforeValidator(_bytes)]


Neighbours = Annotated[int | Literal["document"], BeforeValidator(_count_or_document)]


class DeviceOptions(Config):
    """The device and CPU threads of a model."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run; auto uses CUDA if available.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves the choice to torch.")


class ForwardOptions(DeviceOptions):
    """Options for running a trained model on data."""

    batch_tokens: int = Field(
        2048, ge=16, description="Maximum tokens per forward pass: affects memory and speed, not results."
    )


class PredictionOptions(ForwardOptions):
    """How a trained model predicts."""

    backend: Literal["torch", "onnx"] = Field(
        "torch", description="What runs the model; onnx is ONNX Runtime on CPU, which the extra `mslm[onnx]` installs."
    )
    precision: Literal["auto", "bf16", "int8"] = Field(
        "auto",
        description="Precision of matrix products: auto is fp32 on CPU and bf16 on CUDA; bf16 needs a CPU with bf16"
        " instructions; int8 needs --backend onnx.",
    )


class ModelOptions(Config):
    """The encoder, and how to load it."""

    model: Name = Field("minilm", description="Encoder: `minilm`, a local folder, or a hub id.")
    offline: bool = Field(False, description="Download nothing; use what is on this machine.")
    lowercase: bool | None = Field(None, description="Lowercase the text, if the checkpoint does not say so itself.")


class CorpusOptions(Config):
    """Where work over a corpus runs, and in which units."""

    workers: AutoCount = Field(
        1, description="Worker processes, or auto for one per core; the result is the same for any number."
    )
    ray: str | None = Field(
        None, description="Ray cluster to run on, instead: its address, or auto for the one on this machine."
    )
    block_chars: AutoCount = Field(
        "auto", description="Characters of text that a worker gets at a time; auto follows the size of the corpus."
    )
    max_memory: Bytes | None = Field(
        None,
        description="Memory for the command and its workers, such as 16GB; limits --workers auto.",
    )
    skip_bad: int = Field(0, ge=0, description="Documents that may be left out because processing them fails.")

    def n_workers(self, worker_bytes: int) -> int:
        """The number of worker processes, if one needs ``worker_bytes`` of memory, as does the command itself.

        Raises:
            UsageError: ``max_memory`` is too little for ``workers``, or for a single one.
        """
        wanted = n_cores() if self.workers == "auto" else self.workers
        if self.max_memory is None:
            return wanted
        n_fit, least = self.max_memory // worker_bytes - 1, 1 if self.workers == "auto" else wanted
        if n_fit < least:
            need = f"{(least + 1) * worker_bytes / 1e9:.1f}GB for the command and {least} worker{'s' * (least > 1)}"
            hint = "give more --max-memory" + ", or use fewer --workers" * (least > 1)
            raise UsageError(f"--max-memory {self.max_memory / 1e9:g}GB: expected at least {need}", hint=hint)
        return min(wanted, n_fit)

    def is_local(self, n_workers: int) -> bool:
        """Whether the work runs in this process alone, document by document."""
        return n_workers == 1 and self.ray is None and self.skip_bad == 0

    def block_size(self, usual: int) -> int:
        """The characters of a block."""
        return usual if self.block_chars == "auto" else self.block_chars


class CleaningOptions(Config):
    """Which documents of a corpus are left out."""

    deduplicate: Way = Field(
        "off", description="Leave out documents that are the same as an earlier one, or nearly (by MinHash)."
    )


class ExtractTermsConfig(DataOptions, TermOptions, CorpusOptions, CleaningOptions):
    """Options of ``mslm extract-terms``."""

    link_similarity: float = Field(
        0.8, gt=0, le=1, description="--link: minimum similarity between a term and a name in the knowledge base."
    )


class MatchConfig(DataOptions, CorpusOptions):
    """Options of ``mslm match``."""


class PreprocessConfig(DataOptions, ModelOptions, MaskingOptions, CorpusOptions, CleaningOptions):
    """Options of ``mslm preprocess``."""

    max_length: int = Field(128, ge=8, description="Maximum sequence length in tokens, special tokens included.")


class TrainingOptions(ModelOptions, DeviceOptions):
    """Options shared by ``adapt`` and ``finetune``."""

    allow_pickle: bool = Field(
        False, description="Load a checkpoint that exists only as pytorch_model.bin (tensors only)."
    )
    warmup_share: Rate = Field(0.06, description="Fraction of steps over which the learning rate warms up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay (none on biases and normalisation).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    batch_tokens: BatchTokens = Field(
        "auto",
        description="Maximum tokens per forward pass: affects memory and speed, not results; auto uses what fits.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Precision of matrix products; auto uses bf16 where the device supports it natively."
    )
    tensorboard: Name = Field("", description="Also write the metrics as TensorBoard events to this folder.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for new heads, data order and dropout.")
    checkpoint_every: str = Field(
        "5m",
        pattern=r"^[1-9]\d*(s|m|h|steps)$",
        description="Interval between checkpoints: a time (30s, 5m, 1h) or a number of steps (200steps).",
    )
    keep_checkpoints: int = Field(2, ge=1, description="Number of most recent checkpoints to keep until the run ends.")


class AdaptConfig(TrainingOptions):
    """Options of ``mslm adapt``."""

    tokens_per_step: AutoCount = Field(
        "auto", description="Non-padding tokens per optimizer step; auto is 4096, or 16384 on CUDA with much text."
    )
    weights: str = Field(
        "ratio:2",
        pattern=r"^(uniform|frequency|reference|ratio:\d+(\.\d+)?)$",
        description="Loss weights of generic words and DS-terms: uniform (1:1), ratio:R (1:R), frequency or reference.",
    )
    sbo: float = Field(
        0.0,
        ge=0,
        description="Weight of the span-boundary objective: predict masked spans"
        " from the words next to them; 0 is off.",
    )
    detect: float = Field(
        0.0,
        ge=0,
        description="Weight of the detection objective: tell which unmasked tokens belong to DS-terms, of which type;"
        " 0 is off.",
    )
    epochs: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="Passes over the data; auto trains until the held-out loss stops falling, within --tokens;"
        " 0 trains only a fresh MLM head.",
    )
    tokens: int | None = Field(
        None, ge=1, description="Maximum tokens to train on; by default --epochs auto takes its limit from the text."
    )
    minutes: float | None = Field(
        None, gt=0, description="Maximum minutes, turned into --tokens once, at the speed measured before training."
    )
    steps: int | None = Field(
        None, ge=1, description="Exact number of steps, over as many epochs as needed; overrides --epochs."
    )
    held_out: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Fraction of the sequences (at most 5,000) that are never trained on, to measure the loss on;"
        " 0 is off.",
    )
    head_warmup_steps: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="Steps that train only a fresh MLM head first; auto ends when its held-out loss flattens.",
    )
    learning_rate: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="Peak learning rate, with linear warm-up and decay; auto follows from --tokens-per-step.",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="Factor on the learning rate from each layer of the encoder to the one below it."
    )
    compile: Literal["auto", "off"] = Field(
        "auto", description="Compile the encoder's layers; auto does so on CUDA, in runs of several minutes."
    )

    @property
    def step_tokens(self) -> int:
        """``tokens_per_step``, where auto was not resolved that of a CPU."""
        return 4096 if self.tokens_per_step == "auto" else self.tokens_per_step


def _checked_map(pairs: tuple[str, ...]) -> tuple[str, ...]:
    for pair in pairs:
        other, separator, ours = pair.partition("=")
        if not (other and separator and ours):
            raise ValueError(f"expected OTHER=OURS, not {pair!r}")
    return pairs


class FinetuneConfig(DataOptions, TrainingOptions):
    """Options of ``mslm finetune``."""

    not_on_command_line: ClassVar[frozenset[str]] = TEXT_ONLY

    task: str = Field(
        "ner",
        description="What to learn: `ner`, `relations`, `documents`, or a task that an installed package adds.",
    )
    epochs: AutoCount = Field(
        "auto", description="Maximum passes over the training sentences; auto gives small data more of them."
    )
    patience: int = Field(
        5,
        ge=0,
        description="Stop once this many epochs are clearly worse than the best on --dev; 0 never stops early.",
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate, with linear warm-up and decay.")
    tokens_per_step: AutoCount = Field(
        "auto", description="Non-padding tokens per optimizer step; auto takes fewer for small data."
    )
    mask_mentions: Rate = Field(
        0.0,
        description="Fraction of mentions hidden in the input of each epoch, while their labels stay; never in --dev.",
    )
    mask_words: Rate = Field(
        0.0, description="Fraction of words outside mentions hidden in the input of each epoch; never in --dev."
    )
    mlm: float = Field(
        0.0, ge=0, description="Weight of predicting the hidden words, beside their labels; mentions count twice."
    )
    map: Annotated[tuple[str, ...], BeforeValidator(parse_list), AfterValidator(_checked_map)] = Field(
        (), description="Types to rename in --also, --silver and --model: OTHER=OURS, separated by commas."
    )
    silver_weight: float = Field(
        0.5, gt=0, description="Weight in the loss of a sentence of --silver, times its confidence."
    )
    max_length: int = Field(512, ge=8, description="Maximum window length in tokens, capped at the encoder's limit.")
    overlap: int = Field(64, ge=0, description="Tokens shared by adjacent windows of a long sentence.")
    context: Neighbours = Field(
        0,
        description="Neighbouring sentences of the same document shown on each side of a sentence, as far as they fit;"
        " `document` shows all.",
    )
    label_pieces: Literal["first", "all"] = Field(
        "first",
        description="Word pieces labelled in training; `all` suits tools that label every piece, such as transformers.",
    )
    pairs: Literal["sentence", "document"] = Field(
        "sentence", description="Relations: candidates are pairs in the same sentence, or in the same document."
    )
    markers: Literal["inserted", "appended"] = Field(
        "inserted",
        description="Relations: `inserted` puts the markers of a pair in its text, one pass for each pair; `appended`"
        " puts those of all pairs after the text, one pass for all: faster, but less exact.",
    )
    max_distance: int = Field(0, ge=0, description="Relations: most words between the two of a pair; 0 is no limit.")
    instances: int = Field(
        1, ge=1, description="Relations between concepts: pairs of mentions, nearest first, that stand for a pair."
    )

    @property
    def type_names(self) -> dict[str, str]:
        """Our names of types, by those of other data."""
        return dict(pair.split("=", 1) for pair in self.map)


Threshold = Annotated[str, BeforeValidator(str), Field(pattern=r"^(f1|((recall|precision):)?0?\.\d+)$")]
_THRESHOLD_HELP = (
    "How readily a word is in a mention: below 0.5 for recall, above for precision; or f1, recall:R, precision:P, as"
    " measured on dev."
)


class EvalConfig(DataOptions, PredictionOptions):
    """Options of ``mslm eval``."""

    not_on_command_line: ClassVar[frozenset[str]] = TEXT_ONLY

    no_text: bool = Field(
        False, description="Keep source text out of everything that is written or printed: only positions and hashes."
    )

    replicates: int = Field(1000, ge=1, description="Bootstrap replicates of the 95 % intervals.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for the bootstrap.")
    examples: int = Field(3, ge=0, description="Examples of each kind of error to keep and show.")
    threshold: Threshold = Field("0.5", description=_THRESHOLD_HELP)


class PredictConfig(DataOptions, PredictionOptions, CorpusOptions):
    """Options of ``mslm predict``."""

    workers: AutoCount = Field(
        "auto",
        description="Worker processes; auto is one per core, but one in all for little text, standard input and CUDA."
        " The result is the same for any number.",
    )
    threads: int = Field(0, ge=0, description="CPU threads of each worker; 0 is one.")

    words: Literal["auto", "punctuation", "joined"] = Field(
        "auto",
        description="How raw text is split into words: at all punctuation, or not inside words (IL-2R);"
        " auto follows the model's training data.",
    )
    threshold: Threshold = Field("0.5", description=_THRESHOLD_HELP)


class LabelConfig(DataOptions, PredictionOptions):
    """Options of ``mslm label``."""

    sentences: int = Field(10_000, ge=1, description="Sentences to draw from the text and label.")
    min_confidence: Rate = Field(0.5, description="Leave out sentences with a tag that is less probable than this.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for drawing sentences.")


class ConvertConfig(DataOptions):
    """Options of ``mslm convert``."""


class InspectConfig(DataOptions):
    """Options of ``mslm inspect``."""

    model: Name = Field("", description="Encoder whose tokenizer and windows to check: `minilm`, a folder, a hub id.")
    offline: bool = Field(False, description="Download nothing; use what is on this machine.")
    lowercase: bool | None = Field(None, description="Lowercase text, where the checkpoint does not say.")
    max_length: int = Field(512, ge=8, description="Longest window, in tokens; capped at the encoder's limit.")
    overlap: int = Field(64, ge=0, description="Tokens that neighbouring windows of a long sentence share.")


class CompareConfig(DataOptions):
    """Options of ``mslm compare``."""

    not_on_command_line: ClassVar[frozenset[str]] = TEXT_ONLY

    replicates: int = Field(5000, ge=1, description="Replicates of the bootstrap and of the randomisation test.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for both.")


class ProbeConfig(DataOptions, ForwardOptions, CorpusOptions):
    """Options of ``mslm probe``."""

    items: int = Field(1000, ge=1, description="Maximum number of mentions to probe, and of each other kind of item.")
    max_length: int = Field(128, ge=8, description="Maximum sequence length in tokens, special tokens included.")
    warm_up_head: bool = Field(
        False, description="Train a fresh MLM head on half of the documents and probe the other half."
    )
    head_steps: int = Field(100, ge=1, description="Steps for --warm-up-head, of 4096 tokens each.")
    replicates: int = Field(1000, ge=1, description="Bootstrap replicates of the 95 % intervals.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for the choice of items, new heads and the bootstrap.")
    lowercase: bool | None = Field(None, description="Lowercase the text, if the checkpoint does not say so itself.")
    offline: bool = Field(False, description="Download nothing; use what is on this machine.")


class DemoConfig(Config):
    """Options of ``mslm demo``."""

    offline: bool = Field(False, description="Download nothing; use what is on this machine.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves the choice to torch.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed for masks and training.")


class StudyOptions(Config):
    """Options shared by ``mslm sweep`` and ``mslm study``: how to run a study."""

    jobs: int = Field(
        1, ge=1, description="Number of trials to run in parallel, each on a GPU of its own if there are several."
    )
    search: bool = Field(
        False,
        description="Try masking rates and loss weights in short trials on dev and add an arm with the best; where"
        " measured, short trials did not rank rates as full ones do.",
    )
    dry_run: bool = Field(False, description="Print the plan and an estimate measured on this machine, then stop.")
    accept_other_code: bool = Field(
        False, description="Continue a study that was started with other code; finished work is kept."
    )
    storage: str | None = Field(None, description="Database URL for the trials; default: a journal file in OUTPUT.")
    offline: bool = Field(False, description="Download nothing; use what is on this machine.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; auto uses CUDA if available.")
    threads: int = Field(0, ge=0, description="CPU threads per process; 0 divides the cores among --jobs.")


class SweepConfig(StudyOptions):
    """Options of ``mslm sweep``."""

    data_root: str | None = Field(None, description="Folder that data paths are relative to [or $MSLM_DATA_ROOT].")


class StudyConfig(DataOptions, StudyOptions):
    """Options of ``mslm study``."""

    minutes: int | None = Field(
        None, ge=1, description="Choose arms, shares of the labels and seeds that take about this long on this machine."
    )
    overnight: bool = Field(False, description="The same for ten hours.")
    folds: int | None = Field(None, ge=2, description="Folds of a cross-validation over documents, instead of --test.")
    model: Name = Field("minilm", description="Encoder: `minilm`, a local folder, or a hub id.")
    seeds: int = Field(3, ge=1, description="Seeds per arm; fewer than 3 cannot show anything.")
    tokens: int = Field(1_000_000, ge=1, description="Tokens of adaptation per arm.")
    epochs: AutoCount = Field("auto", description="Maximum passes of fine-tuning; auto gives small data more of them.")


def _config_of(manifest: Path) -> Any:
    try:
        return json.loads(read_bounded(manifest))["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{manifest}: not a manifest.json: {error}") from error


def read_config_file(path: Path, command: str, commands: Collection[str]) -> dict[str, Any]:
    """Options for ``command`` from a TOML file or from an artifact's manifest.json.

    A TOML file has options at the top level, or in tables named after ``commands``.

    Raises:
        UsageError: the file cannot be read or parsed, or has a table that is not in ``commands``.
    """
    found = _config_of(path) if path.suffix == ".json" else read_toml(path)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: not a manifest.json of mslm: its config is not a table of options")
    tables = {name for name, value in found.items() if isinstance(value, dict)}
    if unknown := sorted(tables - set(commands)):
        raise UsageError(f"{path}: [{unknown[0]}] is not a command", hint=f"the tables are {', '.join(commands)}")
    if tables and (outside := sorted(found.keys() - tables)):
        raise UsageError(f"{path}: {outside[0]} is outside the tables", hint=f"move it into [{command}]")
    options = found.get(command, {}) if tables else found
    return {str(k).replace("-", "_"): v for k, v in options.items()}
