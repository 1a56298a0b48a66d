"""BERT's tokenizer read without transformers is the one that transformers loads, or none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mslm_cli import bert_tokenizer, fsio, models

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def copied(source: Path, folder: Path, change: Change | None = None) -> Path:
    """A copy of an encoder, with changed tokenizer.json and tokenizer_config.json."""
    shutil.copytree(source, folder)
    states = [json.loads((folder / name).read_bytes()) for name in ("tokenizer.json", "tokenizer_config.json")]
    if change is not None:
        change(*states)
    for name, state in zip(("tokenizer.json", "tokenizer_config.json"), states, strict=True):
        (folder / name).write_text(json.dumps(state), encoding="utf-8")
    return folder


def cut_and_filled(state: dict[str, Any], config: dict[str, Any]) -> None:
    backend = Tokenizer.from_str(json.dumps(state))
    backend.enable_truncation(16, stride=2, strategy="only_first", direction="left")
    backend.enable_padding(length=8, direction="left", pad_to_multiple_of=4)
    state |= json.loads(backend.to_str())


def with_a_word(state: dict[str, Any], config: dict[str, Any]) -> None:
    backend = Tokenizer.from_str(json.dumps(state))
    backend.add_tokens(["interleukin-2"])
    state |= json.loads(backend.to_str())


def rolled(state: dict[str, Any], config: dict[str, Any]) -> None:
    vocabulary = state["model"]["vocab"]
    words, ids = list(vocabulary), list(vocabulary.values())
    state["model"]["vocab"] = dict(zip(words, [*ids[-1:], *ids[:-1]], strict=True))


SAME: dict[str, Change | None] = {
    "as saved": None,
    "cut and filled": cut_and_filled,
    "without options": lambda s, c: [c.pop(name, None) for name in ("do_lower_case", "strip_accents", "backend")],
    "with a name": lambda s, c: c.update(name_or_path="someone/bert", never_split=None, do_basic_tokenize=True),
    "length": lambda s, c: c.update(model_max_length=48),
    "accents": lambda s, c: (c.update(strip_accents=False), s["normalizer"].update(strip_accents=False)),
}
OTHER: dict[str, Change] = {
    "case in one file": lambda s, c: s["normalizer"].update(lowercase=False),
    "case in the other": lambda s, c: c.update(do_lower_case=False),
    "pieces": lambda s, c: s["model"].update(continuing_subword_prefix="@@"),
    "a word": with_a_word,
    "ids": rolled,
    "white space": lambda s, c: s.update(pre_tokenizer={"type": "Whitespace"}),
    "frame": lambda s, c: s["post_processor"]["single"].pop(),
    "long words": lambda s, c: s["model"].update(max_input_chars_per_word=5),
    "an option": lambda s, c: c.update(split_special_tokens=True),
    "class": lambda s, c: c.update(tokenizer_class="PreTrainedTokenizerFast"),
    "a token less": lambda s, c: c.pop("mask_token"),
    "no length": lambda s, c: c.pop("model_max_length"),
    "not normalized": lambda s, c: s.update(normalizer=None),
    "code": lambda s, c: c.update(auto_map={"AutoTokenizer": ["x", "y"]}),
    "no vocabulary": lambda s, c: s.pop("model"),
}


def assert_same(folder: Path, target: Path, lowercase: bool | None = None) -> None:
    ours = models.load_text_tokenizer(folder, lowercase=lowercase)
    theirs = models.load_tokenizer(folder, lowercase=lowercase)
    assert isinstance(ours, bert_tokenizer.BertTokenizer)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    for name in ("mask_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert set(ours.all_special_ids) == set(theirs.all_special_ids)
    assert set(ours.all_special_tokens) == set(theirs.all_special_tokens)
    bare, framed = (theirs("x", add_special_tokens=special)["input_ids"] for special in (False, True))
    before, after = models.special_frame(ours)
    assert [*before, *bare, *after] == framed
    ours.save_pretrained(target / "ours")
    theirs.save_pretrained(target / "theirs")
    files = {path.name: path.read_bytes() for path in (target / "theirs").iterdir()}
    assert {path.name: path.read_bytes() for path in (target / "ours").iterdir()} == files


@pytest.mark.parametrize("name", SAME)
def test_it_is_the_tokenizer_of_transformers(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    assert_same(copied(tiny_encoder, tmp_path / "model", SAME[name]), tmp_path)


@pytest.mark.parametrize("offline", ["", "1", "true", "0"])
def test_it_is_saved_as_by_transformers_offline(
    offline: str, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline in ("1", "true"))
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    assert_same(tiny_encoder, tmp_path)


def test_the_choice_of_case_is_kept(tiny_encoder: Path, tmp_path: Path) -> None:
    assert_same(tiny_encoder, tmp_path, lowercase=False)
    assert models.load_text_tokenizer(tiny_encoder, lowercase=True).init_kwargs["do_lower_case"] is True


def test_minilm_needs_no_transformers(tmp_path: Path) -> None:
    folder = fsio.cache_folder() / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip("MiniLM is not on this machine")
    assert_same(folder, tmp_path)


@pytest.mark.parametrize("name", OTHER)
def test_what_transformers_may_read_otherwise_is_left_to_it(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    assert bert_tokenizer.read(copied(tiny_encoder, tmp_path / "model", OTHER[name])) is None


@pytest.mark.parametrize("name", ["added_tokens.json", "special_tokens_map.json", "chat_template.jinja"])
def test_more_files_are_left_to_transformers(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_encoder, tmp_path / "model")
    (folder / name).write_text("{}", encoding="utf-8")
    assert bert_tokenizer.read(folder) is None
    assert isinstance(models.load_text_tokenizer(folder), PreTrainedTokenizerFast)


def test_a_model_of_another_family_is_left_to_transformers(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_encoder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "electra"}), encoding="utf-8")
    assert bert_tokenizer.read(folder) is None
