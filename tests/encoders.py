"""Tiny random encoders of every family, each with a tokenizer of its kind trained on some words."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import (
    SentencePieceUnigramTokenizer,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import normalizers as norm
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from mslm_cli.training.batching import ModelBatch
from mslm_cli.training.selection import Selection

MAX_LENGTH = 128
BERT_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_SPECIAL = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def word_piece(text: Sequence[str]) -> PreTrainedTokenizerFast:
    """As BERT's, lowercasing."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = norm.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(BERT_SPECIAL.values()), show_progress=False)
    backend.train_from_iterator(text, trainer)
    return framed(backend, BERT_SPECIAL)


def byte_level(text: Sequence[str], special: dict[str, str]) -> PreTrainedTokenizerFast:
    """As RoBERTa's or ModernBERT's: byte-level BPE, as they ship without a space before the first word."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(text, trainer)
    return framed(backend, special)


def unigram(text: Sequence[str], special: dict[str, str]) -> PreTrainedTokenizerFast:
    """As XLM-R's or DeBERTa's: SentencePiece-unigram."""
    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        text, vocab_size=200, special_tokens=list(special.values()), unk_token=special["unk"], show_progress=False
    )
    return framed(trained._tokenizer, special)


def framed(backend: Tokenizer, special: dict[str, str]) -> PreTrainedTokenizerFast:
    """The tokenizer with its special tokens around a sequence."""
    cls, sep = ((special[name], backend.token_to_id(special[name])) for name in ("cls", "sep"))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls[0]} $A {sep[0]}", pair=f"{cls[0]} $A {sep[0]} $B {sep[0]}", special_tokens=[cls, sep]
    )
    names = {f"{name}_token": token for name, token in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=MAX_LENGTH, **names)


def ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }


def bert(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = word_piece(text)
    return BertForMaskedLM(BertConfig(**SIZE, **ids(tokenizer), max_position_embeddings=MAX_LENGTH)), tokenizer


def electra(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = word_piece(text)
    config = ElectraConfig(**SIZE, **ids(tokenizer), embedding_size=8, max_position_embeddings=MAX_LENGTH)
    return ElectraForMaskedLM(config), tokenizer


def distilbert(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = word_piece(text)
    size = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": MAX_LENGTH}
    return DistilBertForMaskedLM(DistilBertConfig(**size, **ids(tokenizer))), tokenizer


def roberta(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = byte_level(text, ROBERTA_SPECIAL)
    n_positions = MAX_LENGTH + tokenizer.pad_token_id + 1
    config = RobertaConfig(**SIZE, **ids(tokenizer), max_position_embeddings=n_positions, type_vocab_size=1)
    return RobertaForMaskedLM(config), tokenizer


def modernbert(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = byte_level(text, BERT_SPECIAL)
    config = ModernBertConfig(
        **SIZE,
        **ids(tokenizer),
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        max_position_embeddings=MAX_LENGTH,
        local_attention=16,
        global_attn_every_n_layers=2,
    )
    return ModernBertForMaskedLM(config), tokenizer


def xlm_r(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = unigram(text, ROBERTA_SPECIAL)
    n_positions = MAX_LENGTH + tokenizer.pad_token_id + 1
    config = XLMRobertaConfig(**SIZE, **ids(tokenizer), max_position_embeddings=n_positions, type_vocab_size=1)
    return XLMRobertaForMaskedLM(config), tokenizer


def deberta(text: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = unigram(text, BERT_SPECIAL)
    config = DebertaV2Config(
        **SIZE,
        **ids(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
    )
    return DebertaV2ForMaskedLM(config), tokenizer


FAMILIES: dict[str, Callable[[Sequence[str]], tuple[PreTrainedModel, PreTrainedTokenizerFast]]] = {
    "bert": bert,
    "roberta": roberta,
    "electra": electra,
    "distilbert": distilbert,
    "deberta-v2": deberta,
    "xlm-r": xlm_r,
    "modernbert": modernbert,
}


TOKENIZER_CLASSES = {
    "bert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "electra": "ElectraTokenizer",
    "distilbert": "DistilBertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "xlm-r": "XLMRobertaTokenizer",
    "modernbert": "PreTrainedTokenizerFast",
}
"""As the checkpoints of the hub have them."""


def model_batch(input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> ModelBatch:
    """A padded batch: int64 [n, longest] and int64 [n, longest], or None where nothing is padded."""
    n, longest = input_ids.shape
    lengths = [longest] * n if attention_mask is None else attention_mask.sum(1).tolist()
    inputs = {"input_ids": input_ids} | ({} if attention_mask is None else {"attention_mask": attention_mask})
    return ModelBatch(inputs, np.array(lengths), np.arange(n) * longest)


def selection(batch: ModelBatch, positions: torch.Tensor, others: torch.Tensor | None = None) -> Selection:
    """The selection of these positions of a batch, as tensors."""
    chosen = Selection.of(batch, positions.numpy(), None if others is None else others.numpy())
    return chosen.mapped(torch.from_numpy)


def save(family: str, text: Sequence[str], folder: Path) -> Path:
    """Save a tiny encoder with its MLM head and its tokenizer in ``folder``."""
    torch.manual_seed(0)
    model, tokenizer = FAMILIES[family](text)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    options = json.loads(path.read_text()) | {"tokenizer_class": TOKENIZER_CLASSES[family]}
    path.write_text(json.dumps(options))
    return folder


@functools.cache
def deterministic(family: str) -> PreTrainedModel:
    """A model of the family without dropout, whose attention does something; copy it before changing it."""
    torch.manual_seed(0)
    model, _ = FAMILIES[family](
        ["the familial breast cancer gene", "patients treated with aspirin had acute renal failure"]
    )
    with torch.no_grad():
        for parameter in model.parameters():  # fresh weights are so small that attention does next to nothing
            if parameter.ndim > 1:
                parameter.mul_(8)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()
