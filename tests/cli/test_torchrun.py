"""Two processes that torchrun starts, or that have what it tells them, do what one does."""

import json
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import child_process
import pytest
import torch
from conftest import make_bert
from safetensors.torch import load_file

ENVIRONMENT = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
OPTIONS = "--threads 1 --precision fp32 --tokens-per-step 256"


def torchrun(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    start = "torch.distributed.run --master-addr 127.0.0.1 --master-port 0 --rdzv-backend c10d"
    start += " --rdzv-endpoint 127.0.0.1:0 --nproc-per-node 2 -m mslm_cli"
    arguments = [sys.executable, "-m", *start.split(), *command.split()]
    done = subprocess.run(arguments, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
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
    command = f"adapt shards --model encoder --epochs 1 {OPTIONS} --checkpoint-every 2steps -o"
    assert child_process.run(*f"{command} alone".split(), folder=folder) == 0, (folder / "stderr").read_text()
    together = torchrun(folder, f"{command} together")
    assert together.stdout == "together\n", "only one of them prints"
    assert difference(folder / "together", folder / "alone") < 1e-5
    one, two = (
        [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "together")
    )
    assert [r["step"] for r in one] == [r["step"] for r in two], "only one of them writes"
    of_one, of_two = ([r["held_out"] for r in lines if "held_out" in r] for lines in (one, two))
    assert len(of_one) > 3
    assert [h["ds_term"]["n"] for h in of_one] == [h["ds_term"]["n"] for h in of_two], "of all processes"
    assert [h["loss"] for h in of_one] == pytest.approx([h["loss"] for h in of_two], rel=1e-4)
    one, two = ([r for r in lines if "held_out" not in r] for lines in (one, two))
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in two], rel=1e-4)
    assert [r["n_tokens"] for r in one] == [r["n_tokens"] for r in two], "of all processes"
    assert [r["ds_term"]["n"] for r in one if "ds_term" in r] == [r["ds_term"]["n"] for r in two if "ds_term" in r]
    assert not (folder / "together.work").exists()


def both(folder: Path, command: str, dies_after: str | None = None) -> list[int | None]:
    """The exit codes of two processes that work together in ``folder``; the second one's streams are in ``second``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared: dict[str, str | None] = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"
    }  # fmt: skip
    (folder / "second").mkdir(exist_ok=True)
    processes = [
        child_process.start(
            *command.split(),
            folder=folder / ("second" if rank else ""),
            dies_after=dies_after if rank == 0 else None,
            environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            prepare=None if rank == 0 else partial(os.chdir, folder),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]


def test_finetune(folder: Path) -> None:
    command = f"finetune --train train.tsv --dev dev.tsv --model encoder --epochs 1 {OPTIONS} -o"
    assert child_process.run(*command.split(), "ner-alone", folder=folder) == 0
    assert both(folder, f"{command} ner-together") == [0, 0], (folder / "stderr").read_text()
    assert (folder / "stdout").read_text() == "ner-together\n"
    assert difference(folder / "ner-together", folder / "ner-alone") < 1e-5


@pytest.mark.slow
def test_they_resume_over_many_shard_files(folder: Path, chain: Path) -> None:
    shutil.copyfile(chain / "text.txt", folder / "text.txt")
    preprocess = "preprocess text.txt --strategy token --model encoder --max-length 64 --block-chars 50 -o many"
    assert child_process.run(*preprocess.split(), folder=folder) == 0
    assert len(list((folder / "many").glob("data-*.arrow"))) >= 40
    command = f"adapt many --model encoder --epochs 2 {OPTIONS} --checkpoint-every 2steps -o"
    assert child_process.run(*command.split(), "many-alone", folder=folder) == 0
    assert both(folder, f"{command} many-together", dies_after="checkpoint-0000004")[0] == child_process.DIED
    assert both(folder, f"{command} many-together") == [0, 0], (folder / "stderr").read_text()
    assert difference(folder / "many-together", folder / "many-alone") < 1e-5


def test_a_different_number_of_processes_resumes_only_if_told_to(folder: Path) -> None:
    command = f"adapt shards --model encoder --epochs 1 {OPTIONS} --checkpoint-every 2steps -o"
    assert child_process.run(*command.split(), "whole", folder=folder) == 0
    ended = both(folder, f"{command} halves", dies_after="checkpoint-0000004")
    assert ended[0] == child_process.DIED
    assert ended[1], "the second does not wait for the first for ever"
    alone = [*command.split(), "halves"]
    assert child_process.run(*alone, folder=folder) == 2
    last = (folder / "stderr").read_text().splitlines()[-1]
    assert "checkpoint-0000004 was written in another environment (processes was 2, is 1)" in last
    assert child_process.run(*alone, "--resume-anyway", folder=folder) == 0
    assert difference(folder / "halves", folder / "whole") < 1e-5
