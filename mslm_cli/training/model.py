"""Encoders with a head: loading, saving, and logits at selected positions."""

import copy
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from mslm_cli.corpus.labels import iob2_tags
from mslm_cli.errors import UnavailableError, UsageError
from mslm_cli.models import position_limit, quiet_transformers, read_config, reason
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.classifier import label_names
from mslm_cli.training.last_layer import last_layer_at
from mslm_cli.training.selection import Selection

MLM_HEAD = "mlm_head.safetensors"
DETECTION_HEAD = "detection_head.safetensors"


def load_masked_lm(folder: Path, *, allow_pickle: bool, seed: int) -> tuple[PreTrainedModel, list[str]]:
    """The encoder with an MLM head, and the names of the head's fresh parameters.

    Fresh parameters are missing from the checkpoint and initialised from ``seed``. A NER checkpoint can include its
    encoder's MLM head in the file ``MLM_HEAD``.

    Raises:
        UsageError: the checkpoint is a pickle, and ``allow_pickle`` is false.
        UnavailableError: the checkpoint cannot be loaded, or lacks parameters outside the head.
    """
    model, fresh = load_checkpoint(AutoModelForMaskedLM, folder, allow_pickle=allow_pickle, seed=seed)
    kept = folder / MLM_HEAD
    if fresh and kept.is_file():
        head = load_file(kept)
        model.load_state_dict(head, strict=False)
        fresh = [name for name in fresh if name not in head]
    return model, fresh


def mlm_head(folder: Path, *, allow_pickle: bool) -> dict[str, torch.Tensor]:
    """The parameters of an encoder's MLM head that it does not share with the encoder; empty if the head is fresh.

    Raises: as ``load_masked_lm``.
    """
    model, fresh = load_masked_lm(folder, allow_pickle=allow_pickle, seed=0)
    in_encoder = {p.data_ptr() for p in model.base_model.parameters()}
    head = {name: t.clone() for name, t in model.state_dict().items() if t.data_ptr() not in in_encoder}
    return {} if fresh else head


def save_mlm_head(head: dict[str, torch.Tensor], folder: Path) -> None:
    """Add the result of ``mlm_head`` to a checkpoint folder, for ``load_masked_lm``."""
    save_file(head, folder / MLM_HEAD)


def load_token_classifier(
    folder: Path, labels: list[str], *, allow_pickle: bool, seed: int, known: Sequence[str] = ()
) -> PreTrainedModel:
    """The encoder with a token-classification head for ``labels``, initialised from ``seed``.

    If the checkpoint is a token classifier, its head is kept for the labels that both have.

    Args:
        known: what to call the labels of a checkpoint that is a token classifier; by default their own names.

    Raises: as ``load_masked_lm``.
    """
    numbered = dict(enumerate(labels))
    names = {"num_labels": len(labels), "id2label": numbered, "label2id": {v: k for k, v in numbered.items()}}
    auto = AutoModelForTokenClassification
    if not labels_of(folder):
        return load_checkpoint(auto, folder, allow_pickle=allow_pickle, seed=seed, **names)[0]
    trained, _ = load_checkpoint(auto, folder, allow_pickle=allow_pickle, seed=seed)
    config = copy.deepcopy(trained.config)
    config.update(names)
    torch.manual_seed(seed)
    make: Callable[..., PreTrainedModel] = auto.from_config
    model = make(config, dtype=torch.float32)
    _copy_shared(trained, model, list(known) or label_names(trained))
    return model


def save_detection_head(head: dict[str, torch.Tensor], types: Sequence[str], folder: Path) -> None:
    """Add a detection head for DS-terms of ``types`` to a checkpoint folder, for ``copy_detection_head``."""
    save_file(head, folder / DETECTION_HEAD, metadata={"labels": json.dumps(iob2_tags(types))})


def detected_labels(folder: Path) -> list[str]:
    """The names of the labels of a checkpoint's detection head, by number; none if it has no such head."""
    if not (folder / DETECTION_HEAD).is_file():
        return []
    with safe_open(folder / DETECTION_HEAD, "pt") as file:
        return [str(name) for name in json.loads(file.metadata()["labels"])]


@torch.no_grad()
def copy_detection_head(folder: Path, model: PreTrainedModel, known: Sequence[str]) -> list[str]:
    """Copy the rows of the checkpoint's detection head to the labels of the same name of ``model``'s fresh head.

    A detection head is one layer on top of the encoder, so nothing is copied to a head with more layers.

    Args:
        known: what to call the labels of the detection head.

    Returns:
        The labels with a copied row; none if no more than O is shared.
    """
    new = label_names(model)
    rows, sources = _shared(new, known)
    output = _output_layer(model, len(new))
    outside = {id(p) for p in model.parameters()} - {id(p) for p in model.base_model.parameters()}
    if len(rows) < 2 or outside != {id(p) for p in output.parameters()}:
        return []
    head = load_file(folder / DETECTION_HEAD)
    for name, parameter in output.named_parameters():
        parameter[rows] = head[name][sources]
    return [new[row] for row in rows]


def labels_of(folder: Path) -> list[str]:
    """The names of a token classifier's labels, by number; none if the checkpoint is another model."""
    config = read_config(folder)
    architectures, names = config.get("architectures"), config.get("id2label")
    is_classifier = isinstance(architectures, list) and str(architectures[:1]).endswith("ForTokenClassification']")
    if not is_classifier or not isinstance(names, dict) or not all(map(str.isdecimal, names)):
        return []
    return [str(names[number]) for number in sorted(names, key=int)]


@torch.no_grad()
def _copy_shared(trained: PreTrainedModel, model: PreTrainedModel, old: Sequence[str]) -> None:
    """Copy the parameters of a token classifier to another; of the output layer, the rows of labels that both have."""
    new = label_names(model)
    rows, sources = _shared(new, old)
    output = {id(p) for p in _output_layer(model, len(new)).parameters()}
    values = trained.state_dict()
    for name, parameter in model.named_parameters():
        if id(parameter) in output:
            parameter[rows] = values[name][sources]
        else:
            parameter.copy_(values[name])
    for name, buffer in model.named_buffers():
        buffer.copy_(dict(trained.named_buffers())[name])


def _shared(new: Sequence[str], old: Sequence[str]) -> tuple[list[int], list[int]]:
    """The numbers of the labels that are in both lists, in each of them."""
    rows = [row for row, name in enumerate(new) if name in old]
    return rows, [old.index(new[row]) for row in rows]


def _output_layer(model: PreTrainedModel, n_labels: int) -> torch.nn.Linear:
    """The layer that computes the logits."""
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == n_labels]
    return layers[-1]


def load_ner(folder: Path) -> PreTrainedModel:
    """A fine-tuned token classifier, as saved.

    Raises: as ``load_masked_lm``.
    """
    return load_checkpoint(AutoModelForTokenClassification, folder, allow_pickle=False, seed=0)[0]


def load_checkpoint(
    auto: Any, folder: Path, *, allow_pickle: bool, seed: int, **options: Any
) -> tuple[PreTrainedModel, list[str]]:
    """The model of class ``auto``, and the names of its fresh parameters, initialised from ``seed``.

    Args:
        options: entries of its config that replace those of the checkpoint.

    Raises: as ``load_masked_lm``.
    """
    quiet_transformers()
    read_config(folder)
    torch.manual_seed(seed)
    with _safetensors_folder(folder, allow_pickle=allow_pickle) as source:
        try:
            model, report = auto.from_pretrained(
                source,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
                dtype=torch.float32,
                **options,
            )
        except Exception as error:  # transformers raises errors of any class for files that it does not expect
            raise UnavailableError(f"{folder}: cannot load an encoder from it: {reason(error)}") from error
    prefix = f"{model.base_model_prefix}."
    fresh = sorted(report["missing_keys"])
    lost = [name for name in fresh if name.startswith(prefix) and ".pooler." not in name]
    if lost:
        raise UnavailableError(
            f"{folder}: the checkpoint lacks {len(lost)} parameters of the encoder, such as {lost[0]}"
        )
    return model, fresh


@contextmanager
def _safetensors_folder(folder: Path, *, allow_pickle: bool) -> Iterator[Path]:
    """``folder``, or, if its weights are pickled, a temporary copy with safetensors."""
    _check_index(folder / "model.safetensors.index.json")
    pickled = folder / "pytorch_model.bin"
    if any(folder.glob("*.safetensors")) or not pickled.is_file():
        yield folder
        return
    if not allow_pickle:
        raise UsageError(
            f"{folder}: has only pytorch_model.bin, a pickle, which can run code when it is loaded",
            hint="use --allow-pickle to load only its tensors and write them as safetensors",
        )
    try:
        state: dict[str, torch.Tensor] = torch.load(pickled, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise UnavailableError(f"{pickled}: not a checkpoint of tensors only") from error
    with tempfile.TemporaryDirectory() as temporary:
        tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
        save_file(tensors, Path(temporary, "model.safetensors"), metadata={"format": "pt"})
        AutoConfig.from_pretrained(folder, trust_remote_code=False).save_pretrained(temporary)
        yield Path(temporary)


def _check_index(index: Path) -> None:
    """Reject a list of weight files that names anything but safetensors in its own folder.

    transformers would open a pickle that it names.
    """
    if not index.is_file():
        return
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnavailableError(f"{index}: not a list of weight files: {reason(error)}") from error
    for name in sorted(names, key=str):
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise UnavailableError(f"{index}: expected .safetensors files in its own folder, found {name!r}")


def max_tokens(model: PreTrainedModel) -> int:
    """The maximum sequence length of the encoder, including special tokens."""
    return position_limit(model.config.to_dict())


def logits_at(model: PreTrainedModel, batch: ModelBatch, selection: Selection) -> torch.Tensor:
    """Logits at selected positions: float [n_positions, n_classes]; see ``logits_and_states_at``."""
    return logits_and_states_at(model, batch, selection)[0]


def logits_and_states_at(
    model: PreTrainedModel, batch: ModelBatch, selection: Selection
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at the selected positions, and the encoder's output at the others.

    float [n_positions, n_classes] and float [n_others, hidden].

    The encoder runs over the whole batch, but if possible its last layer only over the selected positions
    (``last_layer_at``). The head runs only over the selected positions in every model family: heads work position by
    position, so the encoder's output is reduced before the head.
    """
    with last_layer_at(model.base_model, selection) as is_selected:
        hook = _Select(selection, is_selected)
        handle = model.base_model.register_forward_hook(hook)
        try:
            logits: torch.Tensor = model(**batch.inputs).logits
        finally:
            handle.remove()
    return logits, hook.others


class _Select:
    """A hook that passes the encoder's output at the selected positions to the head and keeps that at the others.

    Args:
        is_selected: whether the encoder already returns only the wanted states.
    """

    others: torch.Tensor

    def __init__(self, selection: Selection, is_selected: bool) -> None:
        self._selection, self._is_selected = selection, is_selected

    def __call__(self, _module: torch.nn.Module, _inputs: object, output: BaseModelOutput) -> BaseModelOutput:
        hidden = output.last_hidden_state
        assert hidden is not None
        wanted, index, n = self._selection[:3]
        flat = hidden[0] if self._is_selected else hidden.flatten(0, 1)[wanted]
        self.others = flat[index[n:]]
        output["last_hidden_state"] = flat[index[:n]]
        return output
