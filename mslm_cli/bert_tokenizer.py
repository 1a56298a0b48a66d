"""BERT's fast tokenizer straight from its files: transformers takes seconds to import for the same ids."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENIZER, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_SPECIAL = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OPTIONS = {"do_lower_case", "tokenize_chinese_chars", "strip_accents"}
_WITHOUT_EFFECT = {"backend", "do_basic_tokenize", "is_local", "local_files_only", "name_or_path", "never_split"}
_NOT_USED_HERE = {
    "max_length",
    "model_max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding_side",
    "stride",
    "tokenizer_class",
    "truncation_side",
    "truncation_strategy",
}
_KNOWN = {*_SPECIAL, *_OPTIONS, *_WITHOUT_EFFECT, *_NOT_USED_HERE}
_OTHER_FILES = ("added_tokens.json", "special_tokens_map.json", "chat_template.json", "chat_template.jinja")


class BertTokenizer:
    """What preparing text and prediction need of transformers' BertTokenizer, under the same names.

    Attributes:
        backend_tokenizer: the tokenizer itself.
        init_kwargs: the content of tokenizer_config.json.
    """

    def __init__(self, backend: "Tokenizer", config: dict[str, Any]) -> None:
        self.backend_tokenizer = backend
        self.init_kwargs = config
        self.all_special_tokens: list[str] = [config[name] for name in _SPECIAL]
        ids = map(backend.token_to_id, self.all_special_tokens)
        self.all_special_ids: list[int] = [i for i in ids if i is not None]
        self.unk_token_id, _, self.pad_token_id, _, self.mask_token_id = self.all_special_ids
        self.model_max_length: int = config["model_max_length"]

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def get_vocab(self) -> dict[str, int]:
        """The ids of all entries, added ones among them."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def save_pretrained(self, folder: Path) -> None:
        """Write the files that transformers would write."""
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps(self.init_kwargs, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / _CONFIG).write_text(config + "\n", encoding="utf-8")
        self.backend_tokenizer.save(str(folder / _TOKENIZER))


def read(folder: Path) -> BertTokenizer | None:
    """The tokenizer in ``folder``; None if transformers might make something else of its files.

    transformers builds BERT's tokenizer from the vocabulary and the options. So both are the same where tokenizer.json
    holds what it would build.
    """
    from tokenizers import Tokenizer

    try:
        config = json.loads((folder / _CONFIG).read_bytes())
        state = json.loads((folder / _TOKENIZER).read_bytes())
        if any((folder / name).exists() for name in _OTHER_FILES) or not _is_bert(folder, config):
            return None
        if state | _expected(config, state) != state:
            return None
        backend = Tokenizer.from_str(json.dumps(state))
    except Exception:  # tokenizers has no class of its own; transformers, next, says what is wrong
        return None
    return BertTokenizer(backend, _saved_config(config, backend))


def _is_bert(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the options are BERT's, with nothing unknown among them."""
    if (folder / "config.json").exists():
        encoder = json.loads((folder / "config.json").read_bytes())
        if encoder.get("model_type") != "bert" or {"auto_map", "tokenizer_class"} & encoder.keys():
            return False
    return (
        config.get("tokenizer_class") == "BertTokenizer"
        and config.keys() <= _KNOWN
        and isinstance(config.get("model_max_length"), int)
        and all(isinstance(config.get(name), str) for name in _SPECIAL)
    )


def _expected(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of tokenizer.json that transformers builds from the options and the vocabulary."""
    vocabulary: dict[str, int] = state["model"]["vocab"]
    cls, sep = config["cls_token"], config["sep_token"]
    special = sorted({config[name] for name in _SPECIAL}, key=lambda token: vocabulary[token])
    one = [_special(cls, 0), _sequence("A", 0), _special(sep, 0)]
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "added_tokens": [{"id": vocabulary[t], "content": t, **plain, "special": True} for t in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": one,
            "pair": [*one, _sequence("B", 1), _special(sep, 1)],
            "special_tokens": {t: {"id": t, "ids": [vocabulary[t]], "tokens": [t]} for t in (cls, sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": config["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def _special(token: str, type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": type_id}}


def _sequence(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _saved_config(config: Mapping[str, Any], backend: "Tokenizer") -> dict[str, Any]:
    """The options as transformers saves them, with what it adds: how they were loaded, truncation and padding."""
    is_offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    defaults: dict[str, Any] = {
        "backend": "tokenizers",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
    }
    if (cut := backend.truncation) is not None:
        defaults |= {
            "max_length": cut["max_length"],
            "truncation_side": cut["direction"],
            "stride": cut["stride"],
            "truncation_strategy": cut["strategy"],
        }
    if (filled := backend.padding) is not None:
        defaults |= {
            "pad_token_type_id": filled["pad_type_id"],
            "padding_side": filled["direction"],
            "pad_to_multiple_of": filled["pad_to_multiple_of"],
        }
        defaults.setdefault("max_length", filled["length"])
    loaded = {"is_local": True, "local_files_only": is_offline.upper() in {"1", "ON", "YES", "TRUE"}}
    return {name: value for name, value in {**defaults, **config, **loaded}.items() if name != "name_or_path"}
