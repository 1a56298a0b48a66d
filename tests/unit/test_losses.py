"""The cross entropy that works on a few rows of the logits at a time is that of torch."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mslm_cli.training import losses
from mslm_cli.training.losses import weighted_cross_entropy


def drawn(n: int, n_classes: int, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(n, n_classes, generator=generator)).to(dtype)
    return logits, torch.randint(0, n_classes, (n,), generator=generator), torch.rand(n, generator=generator)


@given(st.integers(1, 40), st.integers(2, 30), st.integers(1, 100), st.integers(0, 99))
def test_loss_and_gradient_are_torchs(n: int, n_classes: int, chunk: int, seed: int) -> None:
    logits, targets, weights = drawn(n, n_classes, torch.float32, seed)
    plain = logits.double().requires_grad_()
    expected = functional.cross_entropy(plain, targets, reduction="none")
    (expected @ weights.double() / 7.0).backward()
    given_logits = logits.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(losses._CHUNK, "cpu", chunk)
        loss, each = weighted_cross_entropy(given_logits * 1.0, targets, weights, 7.0)
        loss.backward()
    torch.testing.assert_close(each.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert plain.grad is not None
    assert given_logits.grad is not None
    torch.testing.assert_close(given_logits.grad.double(), plain.grad, rtol=1e-5, atol=1e-6)


def test_half_precision_logits_cost_no_more_accuracy_than_their_rounding() -> None:
    logits, targets, weights = drawn(60, 500, torch.bfloat16)
    exact = logits.double().requires_grad_()
    expected = functional.cross_entropy(exact, targets, reduction="none")
    (expected @ weights.double()).backward()
    leaf = logits.clone().requires_grad_()
    loss, each = weighted_cross_entropy(leaf * 1.0, targets, weights, 1.0)
    loss.backward()
    torch.testing.assert_close(each.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert leaf.grad is not None
    assert exact.grad is not None
    assert leaf.grad.dtype == torch.bfloat16
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=2**-8, atol=1e-9)


class Largest(TorchDispatchMode):
    """The largest tensor in single precision that is made within the block, in elements."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and made.dtype == torch.float32:
            self.numel = max(self.numel, made.numel())
        return made


def test_logits_are_never_in_single_precision_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses._CHUNK, "cpu", 4 * 500)
    logits, targets, weights = drawn(60, 500, torch.bfloat16)
    given_logits = logits.requires_grad_() * 1.0
    with Largest() as largest:
        weighted_cross_entropy(given_logits, targets, weights, 1.0)[0].backward()
    assert largest.numel == 4 * 500
