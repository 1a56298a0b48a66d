"""On a GPU the host may wait for the device once in an optimizer step, to read its numbers, and never inside a pass.

Counted on a CPU: what would make the host wait are the operations whose result has a size that depends on the data, and
those that bring numbers to the host.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.weights import kind_weights
from mslm_cli.training.batching import pack
from mslm_cli.training.kinds import by_kind
from mslm_cli.training.loop import MicrobatchOptions, TrainState, train
from mslm_cli.training.masked import MaskedData, Objectives, add_heads
from mslm_cli.training.model import load_masked_lm
from mslm_cli.training.optim import make_optimizer, make_schedule

_WAITING = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "bincount", "masked_select", "is_nonzero")
_TO_THE_HOST = ("tolist", "item", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")


class Waits(TorchDispatchMode):
    """Counts what would make the host wait within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        if name in _WAITING or any(i is not None and i.dtype == torch.bool for i in indices):
            self.found[name] += 1
        return func(*args, **kwargs or {})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    counted = Waits()
    for name in _TO_THE_HOST:
        original = getattr(torch.Tensor, name)

        def method(tensor: torch.Tensor, *args: Any, _name: str = name, _original: Any = original) -> Any:
            counted.found[_name] += 1
            return _original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, method)
    with counted:
        yield counted


@pytest.mark.parametrize("objectives", [Objectives(), Objectives(sbo=0.5, detect=0.5)])
def test_the_host_waits_once_in_a_step(chain: Path, waits: Waits, objectives: Objectives) -> None:
    model, _ = load_masked_lm(chain / "encoder", allow_pickle=False, seed=0)
    assert isinstance(model, PreTrainedModel)
    add_heads(model, objectives, 8, 0)  # more types than there are
    reader, device = ShardReader(chain / "shards"), torch.device("cpu")
    uniform = kind_weights("uniform", 1, 1)
    data = MaskedData(reader, uniform, objectives, partial(pack, with_mask=True), device)
    optimizer = make_optimizer(model.named_parameters(), 1e-3, 0.0)
    state = TrainState(model, optimizer, make_schedule(optimizer, 3, 0.1))
    updates = (data.update(reader.epoch(0), np.arange(12 * i, 12 * (i + 1))) for i in range(3))
    waits.found.clear()
    for step in train(state, updates, 1.0, MicrobatchOptions(100)):
        by_kind([batch.kinds for batch in step.microbatches], step.reported)
        assert len(step.microbatches) > 1
        assert waits.found == {"tolist": 1}
        waits.found.clear()
