"""Token classifiers in ONNX Runtime: exported once, checked against torch, run on CPU.

An export is a folder in the user's cache, named after the content of the model and the versions of the libraries: it is
never used for other weights, and the artifact stays as it is. It is published as a whole or not at all.
"""

import hashlib
import importlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mslm_cli import console, fsio
from mslm_cli.artifacts import Artifact
from mslm_cli.errors import UnavailableError
from mslm_cli.models import reason, special_frame, text_backend
from mslm_cli.training.batching import ModelBatch, pad

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from mslm_cli.models import AnyTokenizer

Load: TypeAlias = "Callable[[Path], PreTrainedModel]"
"""Loads the torch model from a folder."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_MODEL = "model.onnx"
_CHECK = "check.json"
_MAX_DIFFERENCE = 1e-3
_BATCH_SIZES = (1, 1, 2, 5, 12, 30)
"""Of the comparison with torch."""
_TORCH = "use --backend torch"


class Difference(NamedTuple):
    """What an export computes differently from torch on sample text.

    logits: the largest difference of logits, divided by the largest logit. labels: the fraction of tokens whose most
    probable label differs. n_tokens: how many were compared.
    """

    logits: float
    labels: float
    n_tokens: int


class OnnxClassifier:
    """A token classifier in ONNX Runtime, with the configuration of the torch model."""

    def __init__(self, file: Path, config: "PretrainedConfig", *, threads: int = 0) -> None:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.config = config

    def logits(self, batch: ModelBatch) -> NDArray[np.float32]:
        """The logits of every token of a padded batch: float32 [n, longest, n_labels]."""
        ids = batch.inputs["input_ids"]
        mask = batch.inputs.get("attention_mask")
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}
        found: NDArray[np.float32] = self._session.run(None, fed)[0]
        return found


def load_classifier(
    artifact: Artifact, load: Load, tokenizer: "AnyTokenizer", *, int8: bool, threads: int = 0
) -> OnnxClassifier:
    """The token classifier of ``artifact`` in ONNX Runtime, exported unless the cache has it.

    Args:
        int8: quantize the weights of matrix products to 8 bits, and their inputs as they come.

    Raises:
        UnavailableError: a package is missing, the cache is not writable, the model cannot be exported, or the export
            computes other logits than torch.
    """
    for name in _PACKAGES:
        _package(name)
    folder = fsio.cache_folder() / "onnx" / f"{_key(artifact)}-{'int8' if int8 else 'fp32'}"
    if not _is_whole(folder):
        fsio.check_writable(folder)
        with fsio.held(folder.with_name(f".{folder.name}.lock")):
            if not _is_whole(folder):  # else another process has made it
                console.note("exporting the model to ONNX (once) ...")
                with fsio.staged_folder(folder) as staged:
                    _write(staged, load(artifact.path), tokenizer, int8=int8)
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(artifact.path, trust_remote_code=False)
    return OnnxClassifier(folder / _MODEL, config, threads=threads)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"--backend onnx needs the package `{name}`: {reason(error)}"
        raise UnavailableError(message, hint="pip install 'mslm[onnx]', or " + _TORCH) from error


def _key(artifact: Artifact) -> str:
    """The SHA-256 of what determines an export."""
    decisive = [e for e in artifact.manifest.files if e.path == "config.json" or e.path.endswith(".safetensors")]
    versions = [[name, version(name)] for name in ("torch", "transformers", *_PACKAGES)]
    identity = [[[entry.path, entry.sha256] for entry in decisive], versions, fsio.sha256_of(Path(__file__))]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    """Whether every file of an export has the content that was written."""
    try:
        hashes = json.loads((folder / _CHECK).read_bytes())["sha256"]
        return all(fsio.sha256_of(folder / name) == sha256 for name, sha256 in hashes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write(folder: Path, model: "PreTrainedModel", tokenizer: "AnyTokenizer", *, int8: bool) -> None:
    """Fill ``folder`` with an export of ``model``, and check it.

    Raises: as ``load_classifier``.
    """
    try:
        with _quiet():
            if int8:
                with tempfile.TemporaryDirectory(dir=folder) as plain:
                    export(model, Path(plain, _MODEL))
                    quantize(Path(plain, _MODEL), folder / _MODEL)
            else:
                export(model, folder / _MODEL)
            classifier = OnnxClassifier(folder / _MODEL, model.config)
    except Exception as error:  # exporters raise errors of any class for models that they do not know
        raise UnavailableError(f"the model cannot be exported to ONNX: {reason(error)}", hint=_TORCH) from error
    difference = compare(model, classifier, sample(tokenizer))
    if not int8 and not difference.logits <= _MAX_DIFFERENCE:
        raise UnavailableError(
            f"the ONNX export computes other logits than torch: they differ by {difference.logits:.2g} of the largest,"
            f" more than {_MAX_DIFFERENCE:g}",
            hint=_TORCH,
        )
    if int8:
        _report(difference)
    files = {file.name: fsio.sha256_of(file) for file in sorted(folder.iterdir())}
    (folder / _CHECK).write_text(json.dumps({"sha256": files, **difference._asdict()}, indent=2) + "\n")


def _report(difference: Difference) -> None:
    console.note(
        f"int8: {100 * difference.labels:.1f} % of the labels of {difference.n_tokens:,} tokens of sample text differ"
        " from fp32; `mslm eval` with the same options measures F1"
    )


class _Logits(torch.nn.Module):
    """A model as a function of two tensors."""

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(model: "PreTrainedModel", file: Path) -> None:
    """Write a token classifier, for batches of any size, to ``file`` and a file of weights beside it."""
    # Sizes of 0 and 1 would be taken for constants.
    ids = torch.full((2, 8), 5)
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("longest")}
    program: Any = torch.onnx.export(
        _Logits(model).eval(),
        (ids, torch.ones_like(ids)),
        dynamo=True,
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        verbose=False,
    )
    program.save(file, external_data=True)  # a single file holds at most 2 GB


def quantize(source: Path, target: Path) -> None:
    """Quantize the matrix products of a model; embeddings, which take no time, stay as they are."""
    importlib.import_module("onnxruntime.quantization").quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,  # as fast, and changes a third of the labels
        use_external_data_format=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what exporters say of themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def sample(tokenizer: "AnyTokenizer") -> list[ModelBatch]:
    """Batches of the packaged sample text, of different sizes; the first is as long as the model allows."""
    text = fsio.resource("sample").joinpath("unlabelled.txt").read_text(encoding="utf-8")
    prefix, suffix = special_frame(tokenizer)
    room = tokenizer.model_max_length - len(prefix) - len(suffix)
    texts = [text, *text.split("\n\n")]
    encoded = text_backend(tokenizer).encode_batch(texts, add_special_tokens=False)
    sequences = [[*prefix, *encoding.ids[:room], *suffix] for encoding in encoded]
    batches, first = [], 0
    for size in _BATCH_SIZES:
        rows = sequences[first : first + size]
        ids = np.concatenate([np.array(row, np.int32) for row in rows])
        batches.append(pad(ids, np.array([len(row) for row in rows]), tokenizer.pad_token_id))
        first += size
    return batches


@torch.inference_mode()
def compare(model: "PreTrainedModel", classifier: OnnxClassifier, batches: Sequence[ModelBatch]) -> Difference:
    """Compare the logits of all tokens."""
    difference = largest = 0.0
    n_changed = n_tokens = 0
    model.train(False)
    for batch in batches:
        tensors = batch.mapped(torch.from_numpy).inputs
        is_token = np.arange(tensors["input_ids"].shape[1]) < batch.lengths[:, None]
        expected = model(**tensors).logits.numpy()[is_token]
        found = classifier.logits(batch)[is_token]
        largest = max(largest, float(np.abs(expected).max()))
        difference = max(difference, float(np.abs(expected - found).max()))
        n_changed += int((expected.argmax(-1) != found.argmax(-1)).sum())
        n_tokens += len(expected)
    return Difference(difference / largest, n_changed / n_tokens, n_tokens)
