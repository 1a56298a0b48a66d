"""Token classifiers of all backends."""

from typing import TYPE_CHECKING, Any, TypeAlias

from mslm_cli.training.bert_classifier import BertClassifier

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from mslm_cli.training.onnx import OnnxClassifier

TokenClassifier: TypeAlias = "PreTrainedModel | BertClassifier | OnnxClassifier"


def label_names(model: TokenClassifier) -> list[str]:
    """The names of a token classifier's labels, by number."""
    if isinstance(model, BertClassifier):
        return model.labels
    return [str(name) for _, name in sorted((int(i), name) for i, name in (model.config.id2label or {}).items())]


def config_of(model: TokenClassifier) -> Any:
    """The config of a model with the classes of transformers, as all but those for entities have."""
    assert not isinstance(model, BertClassifier)
    return model.config
