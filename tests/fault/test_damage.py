"""A flipped byte, a lost file, a newer form: every command that reads an artifact finds it and leaves nothing.

MSLM_ALL_FAULTS=1 flips three times as many bytes of a manifest.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from mslm_cli.artifacts import SCHEMA_VERSION

Mslm = Callable[..., Result]

READERS = {
    "lexicon": [
        "preprocess text.txt --lexicon lexicon --model encoder --max-length 64",
        "match text.txt --lexicon lexicon",
        "probe adapted text.txt --lexicon lexicon",
    ],
    "shards": ["adapt shards --model encoder", "show-masks shards"],
    "adapted": [
        "finetune --train train.tsv --dev dev.tsv --model adapted",
        "adapt shards --model adapted",
        "preprocess text.txt --strategy token --model adapted --max-length 64",
        "probe adapted text.txt --lexicon lexicon",
    ],
    "ner": [
        "eval ner --data test.tsv",
        "predict ner text.txt --to json",
        "probe ner text.txt --lexicon lexicon",
    ],
    "scores": ["compare scores again"],
}
MAKERS = {
    "lexicon": "extract-terms text.txt -o lexicon",
    "shards": "preprocess text.txt --lexicon lexicon --model encoder --max-length 64 -o shards",
    "adapted": "adapt shards --model encoder --epochs 1 --tokens-per-step 128 --head-warmup-steps 3"
    " --threads 1 -o adapted",
    "ner": "finetune --train train.tsv --dev dev.tsv --model adapted --epochs 1 --threads 1 -o ner",
    "scores": "eval ner --data test.tsv -o scores",
}
CASES = [(artifact, command) for artifact, commands in READERS.items() for command in commands]
WITHOUT_OUTPUT = ("match", "probe", "show-masks", "predict", "compare")


@pytest.fixture(scope="module")
def place(chain: Path, mslm: Mslm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder, which every test leaves as it was."""
    folder = tmp_path_factory.mktemp("damage")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert mslm(*MAKERS["scores"].split()).exit_code == 0
        shutil.copytree("scores", "again")
        yield folder


def assert_found(mslm: Mslm, command: str, *named: str) -> None:
    arguments = command.split()
    before = sorted(Path().iterdir())
    if arguments[0] not in WITHOUT_OUTPUT and "-o" not in arguments:
        arguments += ["-o", "out"]
    found = mslm(*arguments)
    assert (found.exit_code, found.stdout) == (4, ""), found.stderr
    line = found.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert [name for name in named if name not in line] == [], line
    assert "make" in line, "says what mends it"
    assert sorted(Path().iterdir()) == before


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Have ``content`` in a file during the block, or with None no file."""
    before = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(path: Path, position: int) -> bytes:
    """The content of a file with one bit of it another."""
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    return bytes(content)


def with_fields(path: Path, **fields: object) -> bytes:
    """The content of a JSON file with other fields."""
    return json.dumps(json.loads(path.read_bytes()) | fields).encode()


@pytest.mark.parametrize(("artifact", "command"), CASES)
def test_a_flipped_byte_in_any_file(place: Path, mslm: Mslm, artifact: str, command: str) -> None:
    files = sorted(p for p in Path(artifact).rglob("*") if p.is_file() and p.stat().st_size)
    assert len(files) > 2
    for number, path in enumerate(files):
        with changed(path, flipped(path, 7919 * (number + 1))):
            assert_found(mslm, command, str(path), "damaged")


@pytest.mark.parametrize("artifact", READERS)
def test_a_flipped_byte_in_an_existing_output(place: Path, mslm: Mslm, artifact: str) -> None:
    """It is not said to be up to date."""
    assert "up to date" in mslm(*MAKERS[artifact].split()).stderr
    for path in sorted(p for p in Path(artifact).rglob("*") if p.is_file() and p.stat().st_size):
        if path.name != "manifest.json":
            with changed(path, flipped(path, -1)):
                assert_found(mslm, MAKERS[artifact], str(path), "damaged", "--overwrite")


@pytest.mark.parametrize("artifact", READERS)
def test_a_flipped_byte_anywhere_in_a_manifest(place: Path, mslm: Mslm, artifact: str) -> None:
    path = Path(artifact, "manifest.json")
    command = READERS[artifact][-1]
    for position in range(0, path.stat().st_size, 61 if os.environ.get("MSLM_ALL_FAULTS") else 181):
        with changed(path, flipped(path, position)):
            assert_found(mslm, command, artifact)


@pytest.mark.parametrize(("artifact", "command"), CASES)
def test_a_missing_file(place: Path, mslm: Mslm, artifact: str, command: str) -> None:
    path = min(p for p in Path(artifact).rglob("*") if p.suffix in (".arrow", ".safetensors", ".jsonl"))
    with changed(path, None):
        assert_found(mslm, command, str(path), "missing")


@pytest.mark.parametrize(("artifact", "command"), CASES)
def test_a_newer_schema(place: Path, mslm: Mslm, artifact: str, command: str) -> None:
    path = Path(artifact, "manifest.json")
    with changed(path, with_fields(path, schema_version=SCHEMA_VERSION + 1, license="what nobody knows of yet")):
        assert_found(
            mslm,
            command,
            artifact,
            f"expected schema version {SCHEMA_VERSION}, found {SCHEMA_VERSION + 1}",
            "another release",
        )


def test_options_of_another_release(place: Path, mslm: Mslm) -> None:
    path = Path("shards/manifest.json")
    options = json.loads(path.read_bytes())["config"] | {"flavour": "new"}
    with changed(path, with_fields(path, config=options, digest=None)):
        for command in READERS["shards"]:
            assert_found(mslm, command, "shards/manifest.json", "does not know: flavour")


@pytest.mark.parametrize("command", [READERS["lexicon"][0], "finetune --train train.tsv --dev dev.tsv --model encoder"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_truncated_model_file_outside_artifacts(place: Path, mslm: Mslm, command: str, name: str) -> None:
    path = Path("encoder", name)
    with changed(path, path.read_bytes()[: path.stat().st_size // 2]):
        done = mslm(*command.split(), "-o", "out")
    shutil.rmtree("out", ignore_errors=True)
    reads_it_not = command.startswith("preprocess") and name == "model.safetensors"
    assert done.exit_code == (0 if reads_it_not else 5), done.stderr
    assert reads_it_not or "encoder" in done.stderr.splitlines()[-1]
