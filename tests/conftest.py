"""Fixtures for all tests: no network, a tiny encoder, the real data where it is present."""

import ast
import os
import random
import shutil
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
import relation_data
from sample_data import ANN, PUBTATOR, TEXT
from typer.testing import CliRunner, Result

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

# a machine with other work on it is no reason to fail
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

HAS_TORCH = find_spec("torch") is not None
_NEED_TORCH = (
    "torch",
    "transformers",
    "encoders",
    "mslm_cli.training",
    "mslm_cli.stages",
    "mslm_cli.studies.cross_validation",
    "mslm_cli.studies.estimate",
    "mslm_cli.studies.ranking",
    "mslm_cli.studies.results",
    "mslm_cli.studies.sweep",
    "mslm_cli.studies.verdict",
    "mslm_cli.tasks",
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out files that import what needs torch, where there is none."""
    if HAS_TORCH or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    imported: list[str] = []
    for node in ast.parse(collection_path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    needed = any(name == n or name.startswith(f"{n}.") for name in imported for n in _NEED_TORCH)
    return True if needed else None


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WORDS = """
the a of in and with for was were to is are patients treated disease kidney chronic heart failure acute
cancer breast gene mutation tumour syndrome type diabetes mellitus aspirin warfarin drug dose study had
showed risk colon familial polyposis cells protein therapy after before induced renal hepatic toxicity
""".split()  # noqa: SIM905 - a list of fifty quoted words reads worse


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)

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


@pytest.fixture(scope="session")
def make_encoder() -> Callable[..., Path]:
    """``make_bert``, for tests that want encoders of their own."""
    return make_bert


def make_bert(
    folder: Path, vocab: list[str], *, with_head: bool = False, dropout: float = 0.1, max_position_embeddings: int = 64
) -> Path:
    """Save a tiny random BERT in ``folder``."""
    if not HAS_TORCH:
        pytest.skip("torch is not installed")
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
        max_position_embeddings=max_position_embeddings,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    model = BertForMaskedLM(config) if with_head else BertModel(config)
    model.save_pretrained(folder)
    tokenizer.model_max_length = max_position_embeddings
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


DISEASES = ("chronic kidney disease", "heart failure", "breast cancer", "colon cancer", "diabetes mellitus")


@pytest.fixture(scope="session")
def mslm() -> Callable[..., Result]:
    """Run the command line in this process: ``mslm("adapt", "shards", "-o", "adapted")``."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        from mslm_cli.cli.app import app

        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)

    return run


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, mslm: Callable[..., Result]) -> Path:
    """A folder with text.txt, {train,dev,test}.tsv, encoder, and what the commands make of them.

    These are lexicon, shards, adapted and ner, of a few dozen short sentences. Not to be written to: see ``workplace``.
    """
    folder = tmp_path_factory.mktemp("chain")
    sentences = [_sentence(random.Random(i)) for i in range(60)]
    (folder / "text.txt").write_text("\n\n".join(" ".join(word for word, _ in s) for s in sentences) + "\n")
    for name, part in (("train", sentences[:30]), ("dev", sentences[30:45]), ("test", sentences[45:])):
        blocks = ("".join(f"{word}\t{tag}\n" for word, tag in s) for s in part)
        (folder / f"{name}.tsv").write_text("\n".join(blocks))
    shutil.copytree(tiny_encoder, folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            "extract-terms text.txt -o lexicon",
            "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o shards",
            "adapt shards --model encoder --epochs 1 --tokens-per-step 128 --head-warmup-steps 3"
            " --threads 1 -o adapted",
            "finetune --train train.tsv --dev dev.tsv --model adapted --epochs 1 --threads 1 -o ner",
        ):
            made = mslm(*command.split())
            assert made.exit_code == 0, made.stderr
    return folder


@pytest.fixture
def workplace(chain: Path, in_tmp: Path) -> Path:
    """The working folder, with a copy of all that ``chain`` holds."""
    shutil.copytree(chain, in_tmp, dirs_exist_ok=True)
    return in_tmp


@pytest.fixture(scope="session")
def related(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, mslm: Callable[..., Result]) -> Path:
    """A folder with {train,dev,test}.pubtator, encoder, and a model of relations, rel. Not to be written to."""
    folder = tmp_path_factory.mktemp("related")
    relation_data.write(folder)
    shutil.copytree(tiny_encoder, folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = mslm(*relation_data.FINETUNE.split(), "-o", "rel")
    assert made.exit_code == 0, made.stderr
    return folder


@pytest.fixture
def related_workplace(related: Path, in_tmp: Path) -> Path:
    """The working folder, with a copy of all that ``related`` holds."""
    shutil.copytree(related, in_tmp, dirs_exist_ok=True)
    return in_tmp


def _sentence(rng: random.Random) -> list[tuple[str, str]]:
    """Words with tags: one sentence that names two diseases."""
    first, second = (
        [(w, f"{'I' if i else 'B'}-Disease") for i, w in enumerate(d.split())] for d in rng.sample(DISEASES, 2)
    )
    plain = [
        [(w, "O") for w in text.split()]
        for text in ("the patients with", f"were treated after {rng.randrange(99)} days for", ".")
    ]
    return [*plain[0], *first, *plain[1], *second, *plain[2]]


@pytest.fixture
def pubtator(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(PUBTATOR)
    return path


@pytest.fixture
def brat(tmp_path: Path) -> Path:
    folder = tmp_path / "brat"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "a.ann").write_text(ANN)
    (folder / "annotation.conf").write_text("[entities]\nDisease\nDrug\n")
    return folder
