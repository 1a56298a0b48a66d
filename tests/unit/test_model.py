import json
from pathlib import Path

import pytest
import torch
from conftest import make_bert
from encoders import model_batch, selection
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from mslm_cli.errors import UnavailableError, UsageError
from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.heads import MaskedLmHead
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import labels_of, load_masked_lm, load_token_classifier, logits_at, max_tokens

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = [
    lambda: BertForMaskedLM(BertConfig(**SMALL, intermediate_size=32)),
    lambda: RobertaForMaskedLM(RobertaConfig(**SMALL, intermediate_size=32)),
    lambda: ElectraForMaskedLM(ElectraConfig(**SMALL, embedding_size=8, intermediate_size=32)),
    lambda: DistilBertForMaskedLM(DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32)),
]


def batch(n: int = 3, longest: int = 9) -> ModelBatch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (n, longest), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return model_batch(ids, mask)


@pytest.mark.parametrize("make", FAMILIES, ids=["bert", "roberta", "electra", "distilbert"])
def test_logits_at_selected_positions_equal_the_full_ones(make) -> None:
    model: PreTrainedModel = make().eval()
    padded, positions = batch(), torch.tensor([1, 4, 10, 26])
    whole = model(**padded.inputs).logits
    chosen = logits_at(model, padded, selection(padded, positions))
    torch.testing.assert_close(chosen, whole.flatten(0, 1)[positions], rtol=1e-5, atol=1e-6)
    again = model(**padded.inputs).logits
    assert again.shape == whole.shape


def test_the_gradient_does_not_depend_on_how_a_step_is_split() -> None:
    model = BertForMaskedLM(BertConfig(**SMALL, intermediate_size=32)).eval()
    padded, positions = batch(), torch.tensor([1, 4, 10, 20, 25])
    targets, weights = torch.tensor([7, 8, 9, 10, 11]), torch.tensor([1.0, 2.0, 2.0, 1.0, 2.0])

    def gradient(parts: list[tuple[ModelBatch, list[int], torch.Tensor]]) -> torch.Tensor:
        model.zero_grad()
        for part, chosen, at in parts:
            logits = logits_at(model, part, selection(part, at))
            share, _ = weighted_cross_entropy(logits, targets[chosen], weights[chosen], float(weights.sum()))
            share.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient([(padded, [0, 1, 2, 3, 4], positions)])
    mask = padded.inputs["attention_mask"]
    assert mask is not None
    rows = [model_batch(padded.inputs["input_ids"][i : i + 1], mask[i : i + 1]) for i in range(3)]
    rows[1] = model_batch(rows[1].inputs["input_ids"][:, :5], None)
    split = gradient(
        [
            (rows[0], [0, 1], torch.tensor([1, 4])),
            (rows[1], [2], torch.tensor([1])),
            (rows[2], [3, 4], torch.tensor([2, 7])),
        ]
    )
    assert float((whole - split).norm() / whole.norm()) < 1e-6


def test_the_loss_is_the_weighted_mean() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    targets, weights = torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 1.0])
    share, per_position = weighted_cross_entropy(logits, targets, weights, 5.0)
    expected = [-float(torch.log_softmax(logits[i], 0)[targets[i]]) for i in range(3)]
    assert per_position.tolist() == pytest.approx(expected)
    assert float(share) == pytest.approx((expected[0] + 3 * expected[1] + expected[2]) / 5)


def test_a_fresh_head_is_named_and_drawn_from_the_seed(tiny_encoder: Path, tiny_masked_lm: Path) -> None:
    model, fresh = load_masked_lm(tiny_encoder, allow_pickle=False, seed=1)
    assert fresh
    assert all(name.startswith("cls.") for name in fresh)
    name = "cls.predictions.transform.dense.weight"
    same, other = (load_masked_lm(tiny_encoder, allow_pickle=False, seed=s)[0].state_dict()[name] for s in (1, 2))
    assert torch.equal(model.state_dict()[name], same)
    assert not torch.equal(same, other)
    assert load_masked_lm(tiny_masked_lm, allow_pickle=False, seed=1)[1] == []


def test_a_classifier_knows_its_labels(tiny_encoder: Path) -> None:
    model = load_token_classifier(tiny_encoder, ["O", "B-X", "I-X"], allow_pickle=False, seed=0)
    assert model.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    assert max_tokens(model) == 64


@pytest.fixture
def pickled(tmp_path: Path, tiny_vocab: list[str]) -> Path:
    """A checkpoint as BioBERT's: pytorch_model.bin, vocab.txt and config.json alone."""
    folder = make_bert(tmp_path / "pickled", tiny_vocab, with_head=True)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


def test_a_pickle_is_loaded_only_when_allowed(pickled: Path, tiny_masked_lm: Path) -> None:
    with pytest.raises(UsageError, match="--allow-pickle"):
        load_masked_lm(pickled, allow_pickle=False, seed=0)
    model, fresh = load_masked_lm(pickled, allow_pickle=True, seed=0)
    assert fresh == []
    expected = load_masked_lm(tiny_masked_lm, allow_pickle=False, seed=0)[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_pickle_with_code_in_it_is_refused(pickled: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('code of the checkpoint ran')",))

    import pickle

    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UnavailableError, match="not a checkpoint of tensors"):
        load_masked_lm(pickled, allow_pickle=True, seed=0)


def test_a_checkpoint_without_its_encoder_is_refused(tmp_path: Path, tiny_vocab: list[str]) -> None:
    folder = make_bert(tmp_path / "hollow", tiny_vocab)
    kept = {k: v for k, v in load_file(folder / "model.safetensors").items() if "layer.1" not in k}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnavailableError, match=r"lacks .* parameters of the encoder"):
        load_masked_lm(folder, allow_pickle=False, seed=0)


@pytest.mark.parametrize("make", FAMILIES, ids=["bert", "roberta", "electra", "distilbert"])
def test_a_token_classifier_keeps_its_head_for_the_labels_that_both_have(make, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "encoder")
    old = ["O", "B-Gene", "I-Gene", "B-Disease", "I-Disease"]
    trained = load_token_classifier(tmp_path / "encoder", old, allow_pickle=False, seed=1)
    trained.save_pretrained(tmp_path / "ner")
    assert labels_of(tmp_path / "ner") == old
    assert labels_of(tmp_path / "encoder") == []
    for new in (["O", "B-Disease", "I-Disease", "B-Cell", "I-Cell"], ["O", "B-Disease", "I-Disease"], old[::-1]):
        model = load_token_classifier(tmp_path / "ner", new, allow_pickle=False, seed=2)
        fresh = load_token_classifier(tmp_path / "encoder", new, allow_pickle=False, seed=2)
        assert labels_of(tmp_path / "ner") == old
        assert [model.config.id2label[i] for i in range(len(new))] == new
        for name, parameter in model.base_model.named_parameters():
            assert torch.equal(parameter, trained.base_model.get_parameter(name))
        for row, label in enumerate(new):
            same = model.classifier.weight[row]
            if label in old:
                assert torch.equal(same, trained.classifier.weight[old.index(label)])
            else:
                assert same.std() > 0
                assert not any(torch.equal(same, other) for other in trained.classifier.weight)
        inputs = batch().inputs
        model.eval(), trained.eval()
        columns = [(new.index(label), old.index(label)) for label in new if label in old]
        with torch.no_grad():
            ours, theirs = model(**inputs).logits, trained(**inputs).logits
        for ours_column, theirs_column in columns:
            torch.testing.assert_close(ours[..., ours_column], theirs[..., theirs_column])
        assert fresh.classifier.weight.shape == model.classifier.weight.shape


@pytest.mark.parametrize("value", [None, "BertForTokenClassification", [], [3], ["BertForTokenClassification"]])
def test_a_configuration_without_label_names_is_no_token_classifier(value, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": value, "id2label": {"a": "O"}}))
    assert labels_of(tmp_path) == []


@pytest.mark.parametrize("make", FAMILIES, ids=["bert", "roberta", "electra", "distilbert"])
def test_the_head_of_a_masked_language_model_works_on_another_model(make, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    masked_lm, _ = load_masked_lm(tmp_path, allow_pickle=False, seed=0)
    expected = masked_lm.eval()(**batch().inputs).logits
    model = load_token_classifier(tmp_path, ["O", "B-D", "I-D"], allow_pickle=False, seed=0).eval()
    n_before = sum(1 for _ in model.named_parameters())
    model.add_module("masked_lm_head", MaskedLmHead(masked_lm, model).eval())
    states = model.base_model(**batch().inputs).last_hidden_state.flatten(0, 1)
    logits = model.masked_lm_head(states)
    torch.testing.assert_close(logits, expected.flatten(0, 1), rtol=1e-5, atol=1e-6)
    # a tied decoder is the classifier's embeddings, so both objectives train them
    logits.sum().backward()
    assert model.get_input_embeddings().weight.grad is not None
    names = [name for name, _ in model.named_parameters()]
    assert 0 < len(names) - n_before < n_before
