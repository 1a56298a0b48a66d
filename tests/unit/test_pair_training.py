"""The loss of pairs is that of the plain formula in every family, however a step is split, padded or packed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import FAMILIES
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import PreTrainedModel

from mslm_cli.training.batching import Collator, pack, pad
from mslm_cli.training.fixed_shapes import pack_fixed
from mslm_cli.training.labelled import LabelledSequences
from mslm_cli.training.layout import Layout
from mslm_cli.training.losses import multi_label_loss
from mslm_cli.training.pair_data import PairSequences, pair_probabilities
from mslm_cli.training.pair_model import load_pair_classifier

TEXT = ["aspirin induced fever in patients", "heart failure was treated with warfarin"]
LENGTHS, LABELS = (9, 5, 12, 7), 3
HEADS, TAILS = np.array([1, 2, 7, 3]), np.array([5, 1, 2, 3])
CLASSES = np.array([0, 2, 1, 1])


def data() -> LabelledSequences:
    ids = np.random.default_rng(0).integers(5, 20, sum(LENGTHS)).astype(np.int32)
    offsets = np.cumsum([0, *LENGTHS])
    return LabelledSequences(offsets, ids, np.arange(5), HEADS, CLASSES, partners=TAILS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an encoder of a family, with its MLM head."""
    found: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in found:
            torch.manual_seed(0)
            found[family] = tmp_path_factory.mktemp(family)
            FAMILIES[family](TEXT)[0].save_pretrained(found[family])
        return found[family]

    return save


def loaded(folder: Path, **names: Any) -> PreTrainedModel:
    return load_pair_classifier(folder, allow_pickle=False, seed=3, num_labels=LABELS, **names)


def plain_loss(model: PreTrainedModel, sequences: LabelledSequences) -> torch.Tensor:
    """The mean cross entropy over pairs, each alone, from the encoder's states and the head's layer."""
    losses = []
    head: Any = model.get_submodule("classifier")
    for i, (start, end) in enumerate(zip(sequences.offsets, sequences.offsets[1:], strict=False)):
        ids = torch.from_numpy(sequences.input_ids[start:end].astype(np.int64))[None]
        states = model.base_model(input_ids=ids).last_hidden_state[0]
        if hasattr(model, "head"):  # ModernBERT has a layer before the output
            states = model.head(states)
        logits = head.pair(torch.cat([states[HEADS[i]], states[TAILS[i]]]))
        losses.append(cross_entropy(logits[None], torch.tensor([CLASSES[i]])))
    return torch.stack(losses).mean()


def step_loss(model: PreTrainedModel, collate_fn: Collator, max_tokens: int) -> torch.Tensor:
    update = data().update(np.arange(4), 0, collate_fn, torch.device("cpu"))
    return torch.stack([batch.loss(model) for batch in update.microbatches(max_tokens)]).sum()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_tokens", [8, 1000])
def test_the_loss_is_that_of_the_plain_formula(saved: Callable[[str], Path], family: str, max_tokens: int) -> None:
    model = loaded(saved(family)).eval()
    found = step_loss(model, partial(pad, pad_id=0), max_tokens)
    torch.testing.assert_close(found, plain_loss(model, data()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("collate_fn", [pack, pack_fixed])
def test_packing_changes_nothing(saved: Callable[[str], Path], collate_fn: Any) -> None:
    model = loaded(saved("bert")).eval()
    gradients = []
    for one in (partial(pad, pad_id=0), partial(collate_fn, with_mask=True)):
        model.zero_grad()
        step_loss(model, one, 1000).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_loaded_as_it_was(saved: Callable[[str], Path], family: str, tmp_path: Path) -> None:
    model = loaded(saved(family))
    model.config.pair_rules = {"types": [["A", "B"]]}
    model.save_pretrained(tmp_path)
    again = load_pair_classifier(tmp_path, allow_pickle=False, seed=99)
    assert again.config.pair_rules == {"types": [["A", "B"]]}
    assert again.config.architectures is not None
    assert "PairClassification" in again.config.architectures[0]
    sequences = data()
    pairs = PairSequences(sequences.offsets, sequences.input_ids, np.arange(5), HEADS, TAILS, np.arange(4))
    rows = [pair_probabilities(one, pairs, pad_id=0, batch_tokens=20) for one in (model, again)]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_allclose(rows[0].sum(axis=1), 1, rtol=1e-5)


def appended(n_groups: tuple[int, ...]) -> LabelledSequences:
    """Texts of 6 and 4 tokens, each followed by groups of 3 markers, of which the first two are head and tail."""
    rng = np.random.default_rng(0)
    sizes = [n + 3 * k for n, k in zip((6, 4), n_groups, strict=True)]
    groups = [
        np.append(np.zeros(n, int), np.repeat(np.arange(1, k + 1), 3)) for n, k in zip((6, 4), n_groups, strict=True)
    ]
    positions = [np.append(np.arange(n), rng.integers(0, n, 3 * k)) for n, k in zip((6, 4), n_groups, strict=True)]
    heads = np.concatenate([n + 3 * np.arange(k) for n, k in zip((6, 4), n_groups, strict=True)])
    layout = Layout(np.concatenate(positions).astype(np.int32), np.concatenate(groups).astype(np.int32))
    ids = rng.integers(5, 20, sum(sizes)).astype(np.int32)
    offsets, instances = np.cumsum([0, *sizes]), np.cumsum([0, *n_groups])
    return LabelledSequences(offsets, ids, instances, heads, heads % LABELS, partners=heads + 1, layout=layout)


def group_alone(model: PreTrainedModel, sequences: LabelledSequences, i: int, number: int) -> torch.Tensor:
    """The logits of one group, from a pass over its text and it alone; the mask is made token by token."""
    tokens = np.arange(sequences.offsets[i], sequences.offsets[i + 1])
    layout = sequences.layout
    assert layout is not None
    kept = [t for t in tokens.tolist() if layout.groups[t] in (0, number)]
    sees = [[layout.groups[of] == 0 or layout.groups[by] == layout.groups[of] for of in kept] for by in kept]
    states = model.base_model(
        input_ids=torch.from_numpy(sequences.input_ids[kept].astype(np.int64))[None],
        position_ids=torch.from_numpy(layout.positions[kept].astype(np.int64))[None],
        attention_mask=torch.tensor(sees)[None, None],
    ).last_hidden_state[0]
    n_text = len(kept) - 3
    head: Any = model.get_submodule("classifier")
    logits: torch.Tensor = head.pair(torch.cat([states[n_text], states[n_text + 1]]))
    return logits


@pytest.mark.parametrize("family", ["bert", "electra"])
@pytest.mark.parametrize("collate_fn", [partial(pad, pad_id=0), pack, pack_fixed])
@pytest.mark.parametrize("max_tokens", [8, 1000])
def test_groups_after_a_text_do_not_see_each_other(
    saved: Callable[[str], Path], family: str, collate_fn: Any, max_tokens: int
) -> None:
    model, sequences = loaded(saved(family)).eval(), appended((3, 2))
    alone = torch.stack([group_alone(model, sequences, i, k) for i, n in ((0, 3), (1, 2)) for k in range(1, n + 1)])
    expected = cross_entropy(alone, torch.from_numpy(sequences.classes))
    update = sequences.update(np.arange(2), 0, collate_fn, torch.device("cpu"))
    found = torch.stack([batch.loss(model) for batch in update.microbatches(max_tokens)]).sum()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert sequences.partners is not None
    parts = (sequences.offsets, sequences.input_ids, sequences.label_offsets, sequences.positions, sequences.partners)
    shuffled = np.array([3, 0, 4, 1, 2])
    pairs = PairSequences(*parts, shuffled, sequences.layout)
    rows = pair_probabilities(model, pairs, pad_id=0, batch_tokens=max_tokens)
    np.testing.assert_allclose(rows[shuffled], alone.softmax(-1).detach(), rtol=1e-4, atol=1e-6)


def test_fresh_heads_depend_on_the_seed_alone(saved: Callable[[str], Path]) -> None:
    one, same = (loaded(saved("bert")).state_dict()["classifier.pair.weight"] for _ in range(2))
    other = load_pair_classifier(saved("bert"), allow_pickle=False, seed=4, num_labels=LABELS)
    assert torch.equal(one, same)
    assert not torch.equal(one, other.state_dict()["classifier.pair.weight"])


def test_the_loss_of_several_labels_is_the_mean_of_the_binary_ones() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = [binary_cross_entropy_with_logits(row, own.float()) for row, own in zip(logits, labels, strict=True)]
    torch.testing.assert_close(multi_label_loss(logits, labels), torch.stack(expected))
