"""What is said of a step's speed, and where it is written."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForTokenClassification

from mslm_cli.errors import UnavailableError
from mslm_cli.training import flops
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.device import precision
from mslm_cli.training.flops import Cost, Meter, peak_flops
from mslm_cli.training.tensorboard import tensorboard_writer

H, F, V = 16, 32, 50
CONFIG = BertConfig(hidden_size=H, num_hidden_layers=3, num_attention_heads=2, intermediate_size=F, vocab_size=V)
CPU = torch.device("cpu")


def model_batch(*lengths: int) -> ModelBatch:
    return ModelBatch({}, np.array(lengths), np.zeros(len(lengths), np.int64))


def test_the_arithmetic_of_a_step() -> None:
    layer = 4 * H * H + 2 * H * F
    everywhere = 2 * layer + 2 * H * H  # of the last layer, keys and values
    wanted = 2 * H * H + 2 * H * F + H * H + H * V
    flops = Cost.of(BertForMaskedLM(CONFIG)).flops([model_batch(7, 5), model_batch(9)], 4)
    assert flops == 6 * everywhere * 21 + 6 * wanted * 4 + 12 * H * 3 * (49 + 25 + 81)


def test_frozen_parameters_cost_a_third() -> None:
    model = BertForTokenClassification(CONFIG)
    trained = Cost.of(model)
    model.base_model.requires_grad_(False)
    frozen = Cost.of(model)
    assert frozen.each == pytest.approx(trained.each / 3)
    assert frozen.pair == pytest.approx(trained.pair / 3)
    assert frozen.wanted == pytest.approx((trained.wanted - 6 * H * 2) / 3 + 6 * H * 2), "but for the head"


def test_the_meter_counts_since_the_last_lap() -> None:
    meter = Meter(BertForMaskedLM(CONFIG), CPU, torch.float32)
    speed = meter.lap([model_batch(7, 5)], 3)
    assert speed["n_tokens"] == 12
    assert speed["tokens_per_s"] > 0
    assert 0 <= speed["mfu"] < 1
    assert 1e8 < peak_flops(CPU, torch.float32) < 1e15


def test_the_speed_is_that_of_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU still computes when the host is done with a step, so the last steps of a run end too soon."""
    times = iter([0.0, 1.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr(flops, "peak_flops", lambda *_: 1e6)
    monkeypatch.setattr(flops.time, "perf_counter", lambda: next(times))
    meter = Meter(BertForMaskedLM(CONFIG), CPU, torch.float32)
    laps = [meter.lap([model_batch(6)], 1), meter.lap([model_batch(9)], 1)]
    meter.restart()
    laps.append(meter.lap([model_batch(9)], 1))
    assert [lap["n_tokens"] for lap in laps] == [6, 9, 9]
    assert [lap["tokens_per_s"] for lap in laps] == [6.0, 7.5, 8.0], "without the time before the restart"
    assert laps[0]["mfu"] > 0


@pytest.mark.parametrize(("has", "auto"), [("amx_bf16", "bf16"), ("avx512_bf16", "bf16"), ("avx2", "fp32")])
def test_precision(monkeypatch: pytest.MonkeyPatch, has: str, auto: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True})
    named = {"fp32": torch.float32, "bf16": torch.bfloat16}
    assert precision("auto", CPU) == named[auto]
    for is_native in (True, False):  # some devices only emulate it
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, is_native=is_native: is_native
        )
        assert precision("auto", torch.device("cuda")) == (torch.bfloat16 if is_native else torch.float32)
    for name, dtype in named.items():
        assert precision(name, CPU) == dtype


def test_tensorboard_gets_the_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[object] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            written.append(folder)

        def add_scalar(self, *given: object) -> None:
            written.append(given)

        def __enter__(self) -> "Writer":
            return self

        def __exit__(self, *_: object) -> None:
            written.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with tensorboard_writer("events") as show:
        show({"step": 3, "phase": "adapt", "loss": 1.5, "generic": {"loss": 2.0}})
    assert written == ["events", ("loss", 1.5, 3), ("generic/loss", 2.0, 3), "closed"]


def test_missing_tensorboard_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnavailableError, match="not installed"), tensorboard_writer("events"):
        pass
    with tensorboard_writer("") as show:
        show({"step": 1})
