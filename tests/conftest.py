"""Fixtures for all tests: no network, a tiny encoder, the real data where it is present."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WORDS = (
    "the a of in and with for was were to is are patients treated disease kidney chronic heart failure acute "
    "cancer breast gene mutation tumour syndrome type diabetes mellitus aspirin warfarin drug dose study had "
    "showed risk colon familial polyposis cells protein therapy after before induced renal hepatic toxicity"
).split()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""

    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data sets beside the repository; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the public data sets (shared/data beside the repository) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_vocab() -> list[str]:
    """A WordPiece vocabulary of some words, all letters, digits and punctuation."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *dict.fromkeys([*letters, *WORDS, *(f"##{c}" for c in letters if c.isalnum())])]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: list[str]) -> Path:
    """A folder with a two-layer random BERT (16 wide, 64 positions, no MLM head) and its WordPiece tokenizer."""
    return make_bert(tmp_path_factory.mktemp("models") / "tiny", tiny_vocab)


@pytest.fixture(scope="session")
def tiny_masked_lm(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: list[str]) -> Path:
    """``tiny_encoder`` with an MLM head."""
    return make_bert(tmp_path_factory.mktemp("models") / "tiny-mlm", tiny_vocab, with_head=True)


def make_bert(folder: Path, vocab: list[str], *, with_head: bool = False, dropout: float = 0.1) -> Path:
    """Save a tiny random BERT in ``folder``."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast.from_pretrained(folder, do_lower_case=True)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    model = BertForMaskedLM(config) if with_head else BertModel(config)
    model.save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
