"""Two processes started by torchrun do what one does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_bert
from safetensors.torch import load_file

ENVIRONMENT = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
OPTIONS = "--threads 1 --precision fp32 --tokens-per-update 256"


def mslm(folder: Path, command: str, n_processes: int = 1) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "mslm_cli"]
    if n_processes > 1:
        torchrun = "torch.distributed.run --master-addr 127.0.0.1 --master-port 0 --rdzv-backend c10d"
        torchrun += f" --rdzv-endpoint 127.0.0.1:0 --nproc-per-node {n_processes} -m mslm_cli"
        start = [sys.executable, "-m", *torchrun.split()]
    done = subprocess.run(
        [*start, *command.split()], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(chain: Path, tiny_vocab: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("torchrun")
    make_bert(made / "encoder", tiny_vocab, with_head=True, dropout=0.0)
    for name in ("train.tsv", "dev.tsv"):
        shutil.copyfile(chain / name, made / name)
    (made / "shards").symlink_to(chain / "shards")
    return made


def difference(one: Path, other: Path) -> float:
    found, expected = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert found.keys() == expected.keys()
    whole = torch.cat([t.flatten() for t in expected.values()])
    return float((torch.cat([found[k].flatten() for k in expected]) - whole).norm() / whole.norm())


def test_adapt(folder: Path) -> None:
    command = f"adapt shards --model encoder {OPTIONS} --checkpoint-every 2u -o"
    mslm(folder, f"{command} alone")
    together = mslm(folder, f"{command} together", 2)
    assert together.stdout == "together\n", "only one of them prints"
    assert difference(folder / "together", folder / "alone") < 1e-5
    one, two = (
        [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "together")
    )
    assert [r["update"] for r in one] == [r["update"] for r in two], "only one of them writes"
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in two], rel=1e-4)
    assert [r["n_tokens"] for r in one] == [r["n_tokens"] for r in two], "of all processes"
    assert [r["entity"]["n"] for r in one if "entity" in r] == [r["entity"]["n"] for r in two if "entity" in r]
    assert not (folder / "together.work").exists()


def test_finetune(folder: Path) -> None:
    command = f"finetune --train train.tsv --dev dev.tsv --model encoder --epochs 1 {OPTIONS} -o"
    mslm(folder, f"{command} ner-alone")
    assert mslm(folder, f"{command} ner-together", 2).stdout == "ner-together\n"
    assert difference(folder / "ner-together", folder / "ner-alone") < 1e-5
