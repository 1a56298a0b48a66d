"""Bad input ends in one clear line on stderr, with the right exit code, and leaves nothing half-written."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]
Tree = dict[str, str]

USAGE, DATA, ARTIFACT, ENVIRONMENT = 2, 3, 4, 5
FINETUNE = "finetune --train train.tsv --dev dev.tsv --model adapted --epochs 1 --threads 1 -o out"
COMMANDS = {
    "extract-terms": "extract-terms text.txt -o out",
    "preprocess": "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o out",
    "adapt": "adapt shards --model encoder --epochs 1 --threads 1 -o out",
    "finetune": FINETUNE,
    "eval": "eval ner --data test.tsv --threads 1 -o out",
}
READS_TEXT = ["extract-terms", "preprocess"]
READS_TAGS = {"finetune --train": "train.tsv", "finetune --dev": "dev.tsv", "eval": "test.tsv"}


def tree(folder: Path) -> Tree:
    """Every file and folder below ``folder``, hidden ones too, with its content's hash."""
    return {str(p.relative_to(folder)): sha256_of(p) if p.is_file() else "" for p in folder.rglob("*")}


@pytest.fixture
def refused(workplace: Path, mslm: Mslm) -> Callable[..., None]:
    """Run a command line and see it refused: exit code, what the one line says, and nothing written."""

    def run(command: str, exit_code: int, *said: str, stdin: str | bytes | None = None) -> None:
        before = tree(workplace)
        result = mslm(*command.split(), stdin=stdin)
        assert_one_line(result, exit_code, *said)
        assert tree(workplace) == before, "something was left behind"

    return run


def assert_one_line(result: Result, exit_code: int, *said: str) -> None:
    assert result.exit_code == exit_code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.lower().startswith(("error", "usage", "traceback"))] == lines[-1:]
    assert lines[-1].startswith("error: ")
    for part in said:
        assert part in lines[-1]


Refused = Callable[..., None]


@pytest.mark.parametrize("command", READS_TEXT)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ["text.txt: ", "empty"]),
        (b"\n \n", ["text.txt: ", "no text"]),
        (b"the heart\n\nthe caf\xe9\n", ["text.txt:3: ", "0xe9", "--encoding", "--errors"]),
        (b"the heart\n\x7fELF\x00\x00", ["text.txt:2: ", "binary"]),
        (gzip.compress(b"the heart failure\n" * 1000, mtime=0)[:-20], ["text.txt:", "truncated gzip"]),
    ],
    ids=["empty", "blank", "not-utf8", "binary", "truncated-gzip"],
)
def test_text_that_cannot_be_read(refused: Refused, command: str, content: bytes, said: list[str]) -> None:
    Path("text.txt").write_bytes(content)
    refused(COMMANDS[command], DATA, *said)


@pytest.mark.parametrize("command", READS_TAGS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", [": ", "empty"]),
        (b"heart\tB-D\nfailure\n", [":2: ", "expected 2 columns", "found 1"]),
        (b"heart\tB-D\nfailure\tX-D\n", [":2: ", "unknown tag 'X-D'"]),
        (b"heart\tB-D\n\nfailure\tI\n", [":3: ", "bare tag"]),
        (b"heart\tB-D\ncaf\xe9\tO\n", [":2: ", "0xe9", "--encoding", "--errors"]),
        (b"heart\tB-D\n\x00\tO\n", [":2: ", "binary"]),
        (gzip.compress(b"heart\tB-D\n" * 1000, mtime=0)[:-20], [":", "truncated gzip"]),
    ],
    ids=["empty", "column", "unknown-tag", "mixed-tags", "not-utf8", "binary", "truncated-gzip"],
)
def test_tags_that_cannot_be_read(refused: Refused, command: str, content: bytes, said: list[str]) -> None:
    file = READS_TAGS[command]
    Path(file).write_bytes(content)
    refused(COMMANDS[command.split()[0]], DATA, file + said[0], *said[1:])


def test_other_encodings_can_be_named(workplace: Path, mslm: Mslm) -> None:
    text = Path("text.txt").read_text().replace("patients", "caf\xe9")
    Path("text.txt").write_bytes(text.encode("latin-1"))
    named = mslm(*COMMANDS["extract-terms"].split(), "--encoding", "latin-1")
    assert named.exit_code == 0, named.stderr
    replaced = mslm(*COMMANDS["preprocess"].replace("-o out", "-o replaced").split(), "--errors", "replace")
    assert replaced.exit_code == 0, replaced.stderr
    for name in ("train", "dev", "test"):
        tags = Path(f"{name}.tsv").read_text().replace("patients", "caf\xe9")
        Path(f"{name}.tsv").write_bytes(tags.encode("latin-1"))
    named = mslm(*FINETUNE.replace("-o out", "-o tuned").split(), "--encoding", "latin-1")
    assert named.exit_code == 0, named.stderr
    replaced = mslm("eval", "tuned", "--data", "test.tsv", "-o", "scores", "--errors", "replace")
    assert replaced.exit_code == 0, replaced.stderr
    assert "caf\ufffd" in Path("scores/predictions.jsonl").read_text(encoding="utf-8")


def test_an_unknown_encoding_is_a_usage_error(refused: Refused) -> None:
    for command in ("extract-terms", "preprocess", "finetune", "eval"):
        refused(COMMANDS[command] + " --encoding utf-99", USAGE, "--encoding", "utf-99")


def test_orphan_continuations_are_accepted_and_counted(workplace: Path, mslm: Mslm) -> None:
    block = "heart\tI-Disease\nfailure\tI-Disease\nthe\tO\nbreast\tB-Disease\ncancer\tI-Disease\n\n"
    for name in ("train", "dev", "test"):
        Path(f"{name}.tsv").write_text(block * 2)
    tuned = mslm(*FINETUNE.split())
    assert tuned.exit_code == 0, tuned.stderr
    assert "train.tsv: 2 mentions start with I-" in tuned.stderr
    assert "dev.tsv: 2 mentions start with I-" in tuned.stderr
    scored = mslm("eval", "out", "--data", "test.tsv", "-o", "scores", "--json")
    results = json.loads(scored.stdout)
    assert (results["n_orphan_tags"], results["exact_match"]["gold"]) == (2, 4)
    assert "test.tsv: 2 mentions start with I-" in scored.stderr


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        ("extract-terms nowhere.txt -o out", DATA, ["nowhere.txt: no such file or folder"]),
        ("extract-terms text.txt --terms nowhere.txt -o out", DATA, ["nowhere.txt: no such file"]),
        ("preprocess nowhere.txt --lexicon lexicon -o out", DATA, ["nowhere.txt: no such file or folder"]),
        ("preprocess text.txt --lexicon nowhere -o out", ARTIFACT, ["nowhere: no such lexicon", "mslm extract-terms"]),
        ("adapt nowhere -o out", ARTIFACT, ["nowhere: no such shards", "mslm preprocess"]),
        ("finetune --train nowhere.tsv --dev dev.tsv -o out", DATA, ["nowhere.tsv: no such file"]),
        ("finetune --train train.tsv --dev nowhere.tsv -o out", DATA, ["nowhere.tsv: no such file"]),
        ("eval nowhere --data test.tsv -o out", ARTIFACT, ["nowhere: no such ner", "mslm finetune"]),
        ("eval ner --data nowhere.tsv -o out", DATA, ["nowhere.tsv: no such file"]),
        ("adapt shards --model ./nowhere -o out", ENVIRONMENT, ["'./nowhere': no such folder", "minilm"]),
        ("adapt shards --model nowhere -o out", ENVIRONMENT, ["'nowhere'", "minilm"]),
        ("finetune --train train.tsv --dev dev.tsv --model nowhere -o out", ENVIRONMENT, ["'nowhere'", "minilm"]),
        ("preprocess text.txt --lexicon lexicon --model nowhere -o out", ENVIRONMENT, ["'nowhere'", "minilm"]),
        ("adapt shards --config nowhere.toml -o out", USAGE, ["nowhere.toml: cannot be read"]),
        ("adapt shards --model encoder --resume nowhere -o out", ARTIFACT, ["--resume nowhere"]),
        (FINETUNE + " --resume nowhere", ARTIFACT, ["--resume nowhere"]),
    ],
)
def test_missing_inputs(refused: Refused, command: str, exit_code: int, said: list[str]) -> None:
    refused(command, exit_code, *said)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("adapt lexicon --model encoder -o out", "lexicon: expected a shards artifact, found a lexicon artifact"),
        ("preprocess text.txt --lexicon shards -o out", "shards: expected a lexicon artifact, found a shards artifact"),
        ("eval adapted --data test.tsv -o out", "adapted: expected a ner artifact, found an encoder artifact"),
        ("eval encoder --data test.tsv -o out", "encoder: expected a ner artifact, found no manifest.json"),
        ("adapt shards --model lexicon -o out", "lexicon: not a model folder"),
        ("adapt text.txt -o out", "text.txt: expected a shards artifact, found a file"),
    ],
)
def test_an_artifact_of_another_kind(refused: Refused, command: str, said: str) -> None:
    refused(command, ARTIFACT, said)


def test_a_damaged_artifact(refused: Refused) -> None:
    for folder, file, command in (
        ("shards", "data-00000.arrow", "adapt"),
        ("shards", "masks-000-00000.arrow", "adapt"),
        ("lexicon", "terms.jsonl", "preprocess"),
        ("adapted", "model.safetensors", "finetune"),
        ("ner", "model.safetensors", "eval"),
    ):
        path = Path(folder, file)
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        refused(COMMANDS[command], ARTIFACT, f"{path}: damaged", "--overwrite")
        path.write_bytes(whole[:middle])
        refused(COMMANDS[command], ARTIFACT, f"{path}: damaged", f"{len(whole):,} bytes", f"{middle:,}")
        path.unlink()
        refused(COMMANDS[command], ARTIFACT, f"{path}: missing")
        path.write_bytes(whole)


def test_shards_of_another_tokenizer(
    refused: Refused, tiny_vocab: list[str], make_encoder: Callable[..., Path]
) -> None:
    make_encoder(Path("other"), [*tiny_vocab, "warfarins"])
    refused(
        "adapt shards --model other -o out", ARTIFACT, "shards", "a different tokenizer", "'other'", "mslm preprocess"
    )


def test_an_output_that_exists(refused: Refused, workplace: Path) -> None:
    shutil.copytree("shards", "out")
    preprocess = COMMANDS["preprocess"]
    refused(preprocess + " --seed 7", USAGE, "out exists", "seed was 0, is 7", "--overwrite")
    for command in COMMANDS.values():
        if command != preprocess:
            refused(command, USAGE, "out exists", "shards artifact")
            refused(command + " --overwrite", USAGE, "out exists", "shards artifact")
    shutil.rmtree("out")
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("years of work")
    for command in COMMANDS.values():
        refused(command, USAGE, "out exists", "not an mslm artifact")
        refused(command + " --overwrite", USAGE, "out exists", "not an mslm artifact")
    shutil.rmtree("out")
    Path("out").write_text("a file")
    for command in COMMANDS.values():
        refused(command + " --overwrite", USAGE, "out exists", "not an mslm artifact")


def test_an_output_that_cannot_be_created(refused: Refused) -> None:
    for command in COMMANDS.values():
        refused(command.replace("-o out", "-o ."), USAGE, ". exists")
        refused(command.replace("-o out", "-o text.txt/out"), USAGE, "text.txt/out: cannot be created")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("adapt shards -o out --epochs three", ["--epochs", "expected a whole number or 'auto'", "three"]),
        ("adapt shards -o out --epochs -1", ["--epochs", "-1"]),
        ("adapt shards -o out --device gpu", ["--device", "gpu", "cuda"]),
        ("adapt shards -o out --weights heavy", ["--weights", "heavy", "ratio:R"]),
        ("adapt shards -o out --checkpoint-every often", ["--checkpoint-every", "often", "5m"]),
        ("adapt shards -o out --devise cpu", ["--devise", "--device"]),
        ("adapt shards -o out --lr 1e-4", ["No such option: --lr", "did you mean --learning-rate?"]),
        ("finetune --batch-size 32 -o out", ["--batch-size", "did you mean --tokens-per-step?"]),
        ("finetune --num_train_epochs 3 -o out", ["--num_train_epochs", "did you mean --epochs?"]),
        ("adapt shards", ["--output"]),
        ("adapt -o out", ["SHARDS"]),
        ("adapt shards more -o out", ["more"]),
        ("adpt shards -o out", ["adpt", "adapt"]),
        ("preprocess text.txt -o out", ["--lexicon", "mslm extract-terms", "--strategy token"]),
        ("preprocess text.txt --lexicon lexicon --strategy words -o out", ["--strategy", "word"]),
        ("preprocess text.txt --lexicon lexicon --elm-rate 2 -o out", ["--elm-rate", "2"]),
        ("preprocess text.txt --lexicon lexicon --mask-replace 1,1 -o out", ["--mask-replace", "1,1"]),
        ("preprocess - --lexicon - -o out", ["standard input", "--lexicon"]),
        ("finetune --train - --dev dev.tsv --model - -o out", ["standard input", "--model"]),
        ("eval - --data - -o out", ["standard input", "--data"]),
        (COMMANDS["preprocess"] + " --max-length 65", ["--max-length 65", "at most 64 tokens"]),
    ],
)
def test_invalid_options(refused: Refused, command: str, said: list[str]) -> None:
    refused(command, USAGE, *said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epoch = 3\n", ["options.toml: ", "epoch"]),
        ("[adapt]\nepoch = 3\n", ["options.toml: ", "epoch"]),
        ('epochs = "three"\n', ["options.toml: ", "epochs", "three"]),
        ("epochs = 1\nseed =\n", ["options.toml:2: "]),
        ("[adatp]\nepochs = 3\n", ["options.toml: ", "adatp"]),
        ("seed = 1\n[adapt]\nepochs = 3\n", ["options.toml: ", "seed"]),
        ("adapt = 3\n", ["options.toml: ", "adapt"]),
    ],
)
def test_a_config_file_with_a_mistake(refused: Refused, content: str, said: list[str]) -> None:
    Path("options.toml").write_text(content)
    refused("adapt shards --config options.toml -o out", USAGE, *said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("options.toml", "a = " + "[" * 100_000, "not TOML: it is nested too deeply"),
        ("options.toml", "a" + ".a" * 5_000 + " = 1", "options.toml"),
        ("options.toml", 'model = "\\ud800"', "not TOML"),
        ("options.toml", "# " + "x" * (1 << 22), "so it is not a file of options"),
        ("options.toml", "learning_rate = inf", "learning_rate: expected a finite number or 'auto', found inf"),
        ("options.toml", "learning_rate = nan", "learning_rate: expected a finite number or 'auto', found nan"),
        ("options.toml", "epochs = true", "epochs: expected no truth value, found True"),
        ("options.toml", "learning_rate = true", "learning_rate: expected no truth value, found True"),
        ("options.toml", 'epochs = "ten"', "epochs: expected a whole number or 'auto', found 'ten'"),
        ("options.toml", "epochs = 1.5", "epochs: expected a whole number or 'auto', found 1.5"),
        ("options.toml", "model = 3", "model: expected text, found 3"),
        ("options.json", '{"config": ' + "[" * 100_000, "not a manifest.json"),
        ("options.json", '{"config": {"epochs": true}}', "epochs: expected no truth value"),
    ],
)
def test_a_hostile_config_file(refused: Refused, name: str, content: str, said: str) -> None:
    Path(name).write_text(content)
    refused(f"adapt shards --config {name} -o out", USAGE, said)


def test_a_config_file_without_end(refused: Refused) -> None:
    refused("adapt shards --config /dev/zero -o out", USAGE, "/dev/zero: has more than")


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": True},
        {"schema_version": 2.0},
        {"files": [{"path": "a\0b", "bytes": 1, "sha256": "0"}]},
        {"files": [{"path": "", "bytes": 1, "sha256": "0"}]},
        {"files": 3},
    ],
)
def test_a_hostile_manifest(refused: Refused, change: dict[str, object]) -> None:
    path = Path("shards/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change | {"digest": None}))
    refused("adapt shards -o out", ARTIFACT, "shards")


def test_a_config_file_that_is_not_a_manifest(refused: Refused) -> None:
    for content in ("[]", "{", '{"config": 3}', "\xff"):
        Path("options.json").write_text(content, encoding="latin-1")
        refused("adapt shards --config options.json -o out", USAGE, "options.json")


def test_a_model_folder_without_what_it_needs(refused: Refused) -> None:
    commands = [
        COMMANDS["preprocess"].replace("encoder", "bare"),
        COMMANDS["adapt"].replace("encoder", "bare"),
        FINETUNE.replace("adapted", "bare"),
    ]
    shutil.copytree("encoder", "bare")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        Path("bare", name).unlink()
    for command in commands:
        refused(command, ENVIRONMENT, "bare", "tokenizer")
    shutil.copytree("encoder", "bare", dirs_exist_ok=True)
    Path("bare/model.safetensors").unlink()
    for command in commands[1:]:
        refused(command, ENVIRONMENT, "bare", "model.safetensors")
    Path("bare/model.safetensors").write_bytes(b"\0" * 100)
    for command in commands[1:]:
        refused(command, ENVIRONMENT, "bare", "cannot load an encoder")
    Path("bare/config.json").write_text("{")
    for command in commands:
        refused(command, ENVIRONMENT, "bare", "config.json")
    Path("bare/config.json").unlink()
    for command in commands:
        refused(command, ARTIFACT, "bare", "config.json")


@pytest.mark.parametrize("command", ["adapt", "finetune", "eval"])
def test_cuda_without_a_device(refused: Refused, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(COMMANDS[command] + " --device cuda", ENVIRONMENT, "--device cuda", "--device cpu")


def test_shards_that_are_too_long_for_the_encoder(
    refused: Refused, workplace: Path, tiny_vocab: list[str], make_encoder: Callable[..., Path]
) -> None:
    make_encoder(Path("short"), tiny_vocab, max_position_embeddings=12)
    refused("adapt shards --model short -o out", ARTIFACT, "shards", "tokens", "12")


def test_data_without_mentions_are_refused(refused: Refused) -> None:
    Path("train.tsv").write_text("the\tO\nheart\tO\n")
    refused(FINETUNE, DATA, "train.tsv", "no mention")


@pytest.mark.parametrize("content", ["{", "[1]", '{"term": 3}', "\udcff"])
def test_bad_terms_behind_right_hashes_are_a_bad_artifact(refused: Refused, content: str) -> None:
    file, path = Path("lexicon/terms.jsonl"), Path("lexicon/manifest.json")
    file.write_bytes(content.encode("utf-8", "surrogateescape") + b"\n")
    manifest = json.loads(path.read_text())
    for entry in manifest["files"]:
        if entry["path"] == file.name:
            entry |= {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    path.write_text(json.dumps(manifest | {"digest": None}))
    for command in ("match text.txt --lexicon lexicon", COMMANDS["preprocess"]):
        refused(command, ARTIFACT, "lexicon/terms.jsonl", "make it again with `mslm extract-terms")


@pytest.mark.parametrize(
    ("artifact", "said"), [("lexicon", "--lexicon?"), ("adapted", "--model?"), ("shards", "made from")]
)
def test_an_artifact_given_as_text_is_named(refused: Refused, artifact: str, said: str) -> None:
    refused(f"match {artifact} --lexicon lexicon", DATA, "artifact of mslm", said)


READING = ("inspect train.tsv", "match text.txt --lexicon lexicon", "eval --predictions dev.tsv --data dev.tsv")


@pytest.mark.parametrize("command", [*READING, "convert dev.tsv --to jsonl"])
def test_an_unreadable_file_is_an_error_of_reading_named_or_in_a_folder(
    workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Options are not where files are opened: who may not read a file learns it from its reader (exit 3)."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: mode != os.R_OK and real(path, mode, **how))
    done = mslm(*command.split())
    assert done.exit_code == 0, done.stderr
