"""The ONNX export of every family computes what the model does, in batches of any size and length."""

from importlib.util import find_spec
from pathlib import Path

import encoders
import pytest
import torch
from transformers import AutoModelForTokenClassification

from mslm_cli.training import onnx

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra mslm[onnx] is not installed"
)

TEXT = ["the familial breast cancer gene", "patients treated with aspirin had acute renal failure"]


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in ("bert", "roberta", "modernbert") else pytest.mark.slow)
        for family in encoders.FAMILIES
    ],
)
def test_an_export_computes_the_same_logits(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    masked_lm, tokenizer = encoders.FAMILIES[family](TEXT)
    model = AutoModelForTokenClassification.from_config(masked_lm.config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh weights are so small that attention does next to nothing
            if parameter.ndim > 1:
                parameter.mul_(8)
    onnx.export(model, tmp_path / "model.onnx")
    batches = onnx.sample(tokenizer)
    shapes = [batch.inputs["input_ids"].shape for batch in batches]
    assert (1, encoders.MAX_LENGTH) in shapes
    assert max(n for n, _ in shapes) == 30
    difference = onnx.compare(model, onnx.OnnxClassifier(tmp_path / "model.onnx", model.config), batches)
    assert difference.logits < 1e-4
    assert difference.n_tokens > 1000
