"""Losses of targets that are sets of labels, or come from a model, against slow versions of their definitions."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from mslm_cli.training.losses import NOISE_EXPONENT, partial_cross_entropy

NO_SETS = torch.zeros((0, 5), dtype=torch.bool)
SETS = torch.tensor([[True, False, True, True, False], [True, True, True, True, True]])


def logits(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


def test_single_labels_have_the_cross_entropy() -> None:
    x, classes = logits(), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    for sets in (NO_SETS, SETS):
        found = partial_cross_entropy(x, classes, sets, None)
        torch.testing.assert_close(found, cross_entropy(x.float(), classes, reduction="none"))


def test_a_set_has_minus_the_log_of_its_probability() -> None:
    x = logits(2)
    found = partial_cross_entropy(x, torch.tensor([5, 6]), SETS, None)
    probabilities = x.softmax(-1)
    assert found[0].item() == pytest.approx(-math.log(probabilities[0, [0, 2, 3]].sum().item()), rel=1e-5)
    assert found[1].item() == pytest.approx(0.0, abs=1e-6)


def test_a_set_leaves_its_labels_in_proportion() -> None:
    x = logits(1)
    partial_cross_entropy(x, torch.tensor([5]), SETS, None).sum().backward()
    assert x.grad is not None
    p = x.detach().softmax(-1)[0]
    inside = SETS[0]
    # the gradient pushes all labels of the set up in proportion to their probability, all others down
    expected = torch.where(inside, p - p / p[inside].sum(), p)
    torch.testing.assert_close(x.grad[0], expected, rtol=1e-5, atol=1e-6)


def test_noisy_labels_have_the_generalised_cross_entropy() -> None:
    x, classes = logits(4), torch.tensor([0, 1, 2, 5])
    is_noisy = torch.tensor([True, False, True, True])
    found = partial_cross_entropy(x, classes, SETS, is_noisy)
    p = x.softmax(-1)
    chosen = [p[0, 0], p[1, 1], p[2, 2], p[3, [0, 2, 3]].sum()]
    q = NOISE_EXPONENT
    expected = [
        (1 - c.item() ** q) / q if noisy else -math.log(c.item()) for c, noisy in zip(chosen, is_noisy, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_an_improbable_noisy_label_weighs_less() -> None:
    x = torch.tensor([[4.0, 0, 0, 0, 0]], dtype=torch.float64)
    gradients = {}
    for noisy in (False, True):
        own = x.clone().requires_grad_()
        partial_cross_entropy(own, torch.tensor([1]), NO_SETS, torch.tensor([noisy])).sum().backward()
        assert own.grad is not None
        gradients[noisy] = own.grad
    p = x.softmax(-1)[0, 1].item()
    torch.testing.assert_close(gradients[True], gradients[False] * p**NOISE_EXPONENT, rtol=1e-5, atol=1e-7)
