"""``--backend onnx``: it predicts what torch does, from an export that is made once, for these weights, as a whole."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import child_process
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

from mslm_cli.fsio import sha256_of
from mslm_cli.training import onnx

Mslm = Callable[..., Result]

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra mslm[onnx] is not installed"
)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, chain: Path, mslm: Mslm) -> Path:
    """A cache that holds an export of the model of ``chain``, in fp32."""
    cache = tmp_path_factory.mktemp("cached")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSLM_CACHE", str(cache))
        made = mslm("predict", chain / "ner", chain / "test.tsv", "--backend", "onnx", "--threads", 1)
    assert made.exit_code == 0, made.stderr
    return cache


@pytest.fixture
def cache(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSLM_CACHE", str(in_tmp / "cache"))
    return in_tmp / "cache" / "onnx"


@pytest.fixture
def filled(cached: Path, cache: Path) -> Path:
    """A copy of ``cached`` that is in use."""
    shutil.copytree(cached / "onnx", cache)
    return cache


def found(mslm: Mslm, ner: Path, text: Path, *arguments: object) -> list[tuple[Any, ...]]:
    """The mentions in ``text``, readily found: (start, end, type, score)."""
    result = mslm("predict", ner, text, "--threads", 1, "--threshold", "0.05", *arguments)
    assert result.exit_code == 0, result.stderr
    return [(r["start"], r["end"], r["type"], r["score"]) for r in map(json.loads, result.stdout.splitlines())]


def close_to(mentions: list[tuple[Any, ...]], tolerance: float = 1e-4) -> list[tuple[Any, ...]]:
    return [(*span, pytest.approx(score, abs=tolerance)) for *span, score in mentions]


def exports(cache: Path) -> list[Path]:
    return [path for path in sorted(cache.iterdir()) if not path.name.startswith(".")]


@needs_onnx
def test_the_mentions_are_those_of_torch(chain: Path, filled: Path, mslm: Mslm) -> None:
    by_torch = found(mslm, chain / "ner", chain / "test.tsv")
    assert len(by_torch) > 10
    for batch_tokens in (16, 2048):  # of one sentence, and of many with padding
        arguments = ("--backend", "onnx", "--batch-tokens", batch_tokens)
        assert found(mslm, chain / "ner", chain / "test.tsv", *arguments) == close_to(by_torch)


@needs_onnx
def test_an_export_is_made_once(chain: Path, filled: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "export", lambda *_: pytest.fail("exported again"))
    found(mslm, chain / "ner", chain / "test.tsv", "--backend", "onnx")
    assert len(exports(filled)) == 1


@needs_onnx
def test_the_artifact_stays_as_it_is(workplace: Path, cache: Path, mslm: Mslm) -> None:
    before = {path: sha256_of(path) for path in Path("ner").rglob("*") if path.is_file()}
    found(mslm, Path("ner"), Path("test.tsv"), "--backend", "onnx")
    assert {path: sha256_of(path) for path in Path("ner").rglob("*") if path.is_file()} == before


@needs_onnx
def test_other_weights_have_an_export_of_their_own(workplace: Path, filled: Path, mslm: Mslm) -> None:
    before = found(mslm, Path("ner"), Path("test.tsv"), "--backend", "onnx")
    weights = Path("ner", "model.safetensors")
    torch.manual_seed(0)
    changed = {name: t + 0.3 * torch.randn_like(t) for name, t in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    manifest = json.loads(Path("ner", "manifest.json").read_text())
    entry = next(entry for entry in manifest["files"] if entry["path"] == weights.name)
    entry |= {"sha256": sha256_of(weights), "bytes": weights.stat().st_size}
    Path("ner", "manifest.json").write_text(json.dumps(manifest | {"digest": None}))
    after = found(mslm, Path("ner"), Path("test.tsv"), "--backend", "onnx")
    assert after != close_to(before)
    assert after == close_to(found(mslm, Path("ner"), Path("test.tsv")))
    assert len(exports(filled)) == 2


@needs_onnx
def test_a_damaged_export_is_made_again(chain: Path, filled: Path, mslm: Mslm) -> None:
    (weights,) = filled.glob("*/*.data")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    by_onnx = found(mslm, chain / "ner", chain / "test.tsv", "--backend", "onnx")
    assert by_onnx == close_to(found(mslm, chain / "ner", chain / "test.tsv"))
    assert weights.stat().st_size == len(whole)


def die_before_the_check() -> None:
    onnx.compare = lambda *_: os._exit(child_process.DIED)


@needs_onnx
@pytest.mark.slow
def test_a_kill_in_mid_export_leaves_none(workplace: Path, cache: Path, mslm: Mslm) -> None:
    command = ("predict", "ner", "test.tsv", "--backend", "onnx", "--threads", 1)
    environment: dict[str, str | None] = {"MSLM_CACHE": str(cache.parent)}
    died = child_process.run(*command, folder=workplace, environment=environment, prepare=die_before_the_check)
    assert died == child_process.DIED
    assert exports(cache) == []
    assert list(cache.glob(".*.partial/model.onnx"))
    by_onnx = found(mslm, Path("ner"), Path("test.tsv"), "--backend", "onnx")
    assert by_onnx == close_to(found(mslm, Path("ner"), Path("test.tsv")))
    assert len(exports(cache)) == 1
    assert not list(cache.glob(".*.partial"))


@needs_onnx
@pytest.mark.slow
def test_an_export_that_computes_something_else_is_refused(
    chain: Path, cache: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = onnx.export

    def export_another(model: Any, file: Path) -> None:
        bias = [p for p in model.parameters() if p.ndim == 1][-1]
        before = bias.detach().clone()
        with torch.no_grad():
            bias[0] += 0.1
        export(model, file)
        with torch.no_grad():
            bias.copy_(before)

    monkeypatch.setattr(onnx, "export", export_another)
    result = mslm("predict", chain / "ner", chain / "test.tsv", "--backend", "onnx")
    assert result.exit_code == 5
    assert "the ONNX export computes other logits than torch" in result.stderr
    assert "--backend torch" in result.stderr
    assert exports(cache) == []


@needs_onnx
def test_int8_says_how_many_labels_differ_and_eval_measures_it(chain: Path, cache: Path, mslm: Mslm) -> None:
    options = ("--backend", "onnx", "--precision", "int8", "--threads", 1)
    result = mslm("eval", chain / "ner", "--data", chain / "test.tsv", "-o", "scores", *options)
    assert result.exit_code == 0, result.stderr
    assert " % of the labels of " in result.stderr
    config = json.loads(Path("scores", "manifest.json").read_text())["config"]
    assert (config["backend"], config["precision"]) == ("onnx", "int8")
    plain = found(mslm, chain / "ner", chain / "test.tsv")
    quantized = found(mslm, chain / "ner", chain / "test.tsv", *options)
    assert quantized != close_to(plain, 1e-7)
    n_same = len({m[:3] for m in quantized} & {m[:3] for m in plain})
    assert n_same > 0.8 * len(plain)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_says_what_to_install(
    chain: Path, cache: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == package else np)
    result = mslm("predict", chain / "ner", chain / "test.tsv", "--backend", "onnx")
    assert result.exit_code == 5
    assert f"--backend onnx needs the package `{package}`" in result.stderr
    assert "pip install 'mslm[onnx]'" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--precision int8", "--precision int8 needs --backend onnx"),
        ("--backend onnx --precision bf16", "--backend onnx has no --precision bf16"),
        ("--backend onnx --device cuda", "--backend onnx runs on CPU"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(chain: Path, cache: Path, mslm: Mslm, options: str, said: str) -> None:
    result = mslm("predict", chain / "ner", chain / "test.tsv", *options.split())
    assert result.exit_code == 2
    assert said in result.stderr


def test_bf16_needs_a_processor_with_instructions_for_it(
    chain: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = found(mslm, chain / "ner", chain / "test.tsv", "--device", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    command = ("predict", chain / "ner", chain / "test.tsv", "--precision", "bf16", "--device", "cpu")
    result = mslm(*command)
    assert result.exit_code == 5
    assert "this processor has no bf16 instructions" in result.stderr
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    in_bf16 = found(mslm, chain / "ner", chain / "test.tsv", "--precision", "bf16", "--device", "cpu")
    assert in_bf16 != close_to(plain, 1e-6)
    assert len({m[:3] for m in in_bf16} & {m[:3] for m in plain}) > 0.8 * len(plain)
